"""Glow on 320 ORL faces at 56x44: latents of real faces for edits, of a flow that learns its few images by heart.

Expected: not yet measured.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=8, width=64, num_bits=6, preprocess="centred"),
    data=DataConfig(name="orl_faces_small", num_validation=40),
    train=TrainConfig(
        steps=2500,
        batch_size=32,
        learning_rate=1e-3,
        clip_norm=2000.0,
        mirror=True,
        log_every=50,
        eval_every=250,
        checkpoint_every=500,
    ),
)
