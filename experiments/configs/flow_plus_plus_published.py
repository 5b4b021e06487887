"""Flow++ at the size of its published code for CIFAR-10, Ho et al. 2019: nine couplings whose networks have ten blocks.

It has 31,420,928 parameters, and the published code has 31,443,440; a test of the preset accounts for the difference.
Batches, rate, warm-up and clipping are those of the published code, which trains until it is stopped. Adapted: there is
no dropout, and 400,000 steps, which are 512 epochs, are our choice.

Expected: 3.08 bits/dim are published. This was not run: by a count of its products, a gradient of one batch takes about
5 TFLOP, so that it wants accelerators.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import flow_plus_plus

config = Recipe(
    flow=partial(flow_plus_plus, num_couplings=(4, 2, 3), num_blocks=10, width=96, num_components=32),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        steps=400_000,
        batch_size=64,
        learning_rate=3e-4,
        schedule="constant",
        warmup_steps=2000,
        clip_norm=1.0,
        init_batch=128,
        log_every=100,
        checkpoint_every=2000,
    ),
)
