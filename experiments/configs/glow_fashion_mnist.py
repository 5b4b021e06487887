"""Glow on Fashion-MNIST with the settings of `glow_mnist`, to score each flow on the other's images.

Expected: no result is quoted yet. The settings are those of `glow_mnist`, so that scores can be compared.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=8, width=64, preprocess="logit", alpha=1e-5),
    data=DataConfig(name="fashion_mnist"),
    train=TrainConfig(
        steps=2000,
        batch_size=32,
        learning_rate=2e-3,
        clip_norm=2000.0,
        log_every=50,
        checkpoint_every=500,
    ),
)
