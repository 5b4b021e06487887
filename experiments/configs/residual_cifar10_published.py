"""Residual flow on CIFAR-10 at the size of Chen et al. 2019: three scales of sixteen blocks of 512 channels.

It has 25,174,130 parameters, and the published code has 25,174,233, the 25.2 million of the paper: it holds two numbers
more for each block that are not trained, and its first block has no activation in front. Epochs, batches, rate,
clipping (a norm of 1 in bits/dim, which is 2,129 in nats) and the bound of 0.98 for each of three layers are those of
the code; norms come from power iteration. Adapted: the number of terms beyond the first two is
geometric, and norms of convolutions are those on the infinite plane.

Expected: 3.28 bits/dim are published. This was not run: a step takes about 11 TFLOP, so that it wants an accelerator.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import residual_images

config = Recipe(
    flow=partial(residual_images, num_scales=3, num_blocks=16, width=512, coefficient=0.98**3, backprop="remat"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        epochs=1000,
        batch_size=64,
        learning_rate=1e-3,
        b2=0.99,
        schedule="constant",
        warmup_steps=1000,
        clip_norm=2129.0,
        mirror=True,
        steps_per_call=10,
        log_every=100,
        checkpoint_every=2000,
    ),
)
