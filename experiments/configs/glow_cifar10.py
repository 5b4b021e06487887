"""Glow on CIFAR-10: a small run for two CPU cores; `--num-bits 5` trains on 5-bit images.

Expected: 3.895 test bits/dim at 8 bits after 1,500 steps (6 minutes), one epoch.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=3, num_steps=8, width=64, preprocess="centred"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        steps=1500,
        batch_size=32,
        learning_rate=2e-3,
        clip_norm=10000.0,
        mirror=True,
        log_every=50,
        checkpoint_every=500,
    ),
)
