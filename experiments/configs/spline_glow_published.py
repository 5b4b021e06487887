"""Spline Glow on CIFAR-10 of 8 bits at the size of Durkan et al. 2019: RQ-NSF (C), 3 levels of 7 steps, 4 bins.

It has 11,860,884 parameters; the published code has 11,835,054, which the paper calls 11.8 million. Ours have besides
the lengths of normalised kernels, a normalisation before and a scale behind each network's last convolution, and lack
the biases of 1x1 convolutions. Steps, batches, rate and schedule are those of the published configuration, which has a
dropout of 0.2 in the networks, and ours none; gradients are clipped here.

Expected: 3.38 test bits/dim are published. This was not run: it wants an accelerator.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import spline_glow

config = Recipe(
    flow=partial(spline_glow, num_levels=3, num_steps=7, width=96, num_blocks=3, num_bins=4, bound=3.0, norm="batch"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        steps=200_000,
        batch_size=512,
        learning_rate=5e-4,
        clip_norm=2000.0,
        log_every=100,
        checkpoint_every=2000,
    ),
)
