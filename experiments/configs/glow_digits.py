"""Glow on scikit-learn's 8x8 digits: the smallest real run, which needs no network (`make glow DATA=digits`).

Expected: about 2.47 test bits/dim of 4-bit pixels, in well under a minute of training.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=4, width=32, num_bits=4),
    data=DataConfig(name="digits"),
    train=TrainConfig(steps=600, batch_size=32, warmup_steps=20, log_every=20, checkpoint_every=200),
)
