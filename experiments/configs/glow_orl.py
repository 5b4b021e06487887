"""Glow on ORL faces at 56x44: real faces with attributes to edit, by a flow that soon learns its few images by heart.

Expected: 2.950 test bits/dim of 6-bit images by the weights of step 1,000, which validation chooses out of 2,500 (10
minutes of one core); 2.816 on the 280 training images.
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
