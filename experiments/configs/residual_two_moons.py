"""Residual flow (i-ResNet) on two moons, with the exact log-det: one of the two toys of the figure of densities.

Behrmann et al. 2019, arXiv:1811.00995, show data, density and samples of flows of the plane side by side; `jflows
densities runs/residual_checkerboard runs/residual_two_moons` draws such a figure.

Expected: -1.03 nats on the test rows, as a RealNVP of six or more layers; about 2 minutes of one core.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, residual

config = Recipe(
    flow=partial(residual, num_layers=20, hidden_sizes=(64, 64), activation="elu"),
    data=DataConfig(name="two_moons", num_train=20000),
    train=TrainConfig(
        steps=3000,
        batch_size=256,
        learning_rate=2e-3,
        ema_decay=0.999,
        clip_norm=10.0,
        log_every=100,
        checkpoint_every=1000,
        eval_batch_size=2000,
    ),
)
