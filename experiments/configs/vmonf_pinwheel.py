"""Mixture of five flows on pinwheel, which finds a cluster for each wing without labels.

Sizes and schedule are those of Pires and Figueiredo 2020, arXiv:2009.00585: 5 x 512 points, 400 epochs.

Expected: an accuracy of 0.946 for the restart with the highest bound (`--restarts 5`; the five reach 0.73 to 0.96).
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, realnvp, vmonf

config = Recipe(
    flow=partial(
        vmonf,
        num_components=5,
        component=partial(realnvp, num_layers=8, hidden_sizes=(8,), activation="tanh"),
        encoder_sizes=(3,),
        activation="tanh",
    ),
    data=DataConfig(name="pinwheel", num_train=2560),
    train=TrainConfig(
        steps=2000,
        batch_size=512,
        learning_rate=1e-3,
        warmup_steps=0,
        schedule="constant",
        clip_norm=5.0,
        ema_decay=0.99,
        init_batch=2560,
        log_every=100,
        eval_batch_size=4096,
    ),
)
