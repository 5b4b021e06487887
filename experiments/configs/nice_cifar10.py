"""NICE on CIFAR-10 with ZCA, at the size of Dinh et al. 2014: four couplings with four hidden layers of 2,000 units.

It has 72.6 million parameters, and 9.4 million constants of the whitening. It counts 1,500 epochs, as the paper does;
how Adam differs from the paper's stands in `nice_mnist`.

Published: 5,371.78 nats of dequantized pixels scaled to [-1, 1], which is 4.48 bits/dim; in nats of pixels scaled to
[0, 1] it would be 7,501.13. Expected: 4.467 bits/dim, or 5,394 nats of [-1, 1], after 2,000 steps of 64 with layers of
500 units, nearly all of it by the whitening (`experiments/README.md`).
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import nice_images

config = Recipe(
    flow=partial(nice_images, num_layers=4, hidden_sizes=(2000,) * 4, whitening="zca"),
    data=DataConfig(name="cifar10"),
    train=TrainConfig(epochs=1500, batch_size=128, learning_rate=1e-3, steps_per_call=10, checkpoint_every=1000),
)
