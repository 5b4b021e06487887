"""RealNVP on CIFAR-10, the setting of Dinh et al. 2017: one downscaling, networks of 8 residual blocks and 64 maps.

It has 18,424,204 parameters. As in the paper, batches are of 64 images, which are mirrored at random, and Adam starts
at 1e-3; weights decay by AdamW, where the paper adds 5e-5 times their squared norm to the loss, and the rate follows a
cosine. Weights are not averaged, as batch normalisation keeps the statistics of the last ones. The paper does not state
how long it trained; 500 epochs are our choice. A run for one core sets smaller networks.

Published: 3.49 bits/dim. Expected: 4.40 with `--num-blocks 2 --width 16 --batch-size 32 --steps 1000`, 8 minutes of one
core.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import realnvp_images

config = Recipe(
    flow=partial(realnvp_images, num_scales=2, num_blocks=8, width=64),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(
        epochs=500,
        batch_size=64,
        optimizer="adamw",
        weight_decay=5e-5,
        learning_rate=1e-3,
        ema_decay=0.0,
        mirror=True,
        steps_per_call=10,
        checkpoint_every=1000,
    ),
)
