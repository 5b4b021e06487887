"""Glow on MNIST, sized for ten minutes on two CPU cores: `make glow`.

Expected: 1.163 test bits/dim after 6,000 steps (5.4 minutes); 1.130 after 20,000.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=8, width=64, preprocess="logit", alpha=1e-5),
    data=DataConfig(name="mnist"),
    train=TrainConfig(
        steps=6000,
        batch_size=32,
        learning_rate=2e-3,
        clip_norm=2000.0,
        log_every=50,
        checkpoint_every=1000,
    ),
)
