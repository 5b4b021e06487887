"""Mixture of two flows on two circles, trained with 16 labels per class.

The first 300 steps see the 32 labelled points alone (each about 480 times); then labelled and unlabelled steps take
turns.

Expected: an accuracy of at least 0.95 for the restart with the highest bound (`--restarts 5`); `--labels-per-class 0
--labelled-share 0 --pretrain-steps 0 --interleave-every 0` trains without labels, and cuts both circles in halves.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, realnvp, vmonf
from jflows.train import MixtureLoss

config = Recipe(
    flow=partial(
        vmonf,
        num_components=2,
        component=partial(realnvp, num_layers=8, hidden_sizes=(32,)),
        encoder_sizes=(64, 64),
    ),
    data=DataConfig(name="circles", num_train=1024, labels_per_class=16, labelled_share=0.2),
    loss=MixtureLoss(pretrain_steps=300, interleave_every=4),
    train=TrainConfig(
        steps=3000,
        batch_size=256,
        learning_rate=1e-3,
        warmup_steps=0,
        schedule="constant",
        clip_norm=5.0,
        ema_decay=0.99,
        init_batch=1024,
        log_every=100,
        eval_batch_size=4096,
    ),
)
