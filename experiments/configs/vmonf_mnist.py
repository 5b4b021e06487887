"""Mixture of five MAFs on MNIST digits 0 to 4, in logit space.

The sizes are those of Pires and Figueiredo 2020, arXiv:2009.00585: MAFs of five layers of 200, an encoder of 512.

Expected: an accuracy of 0.73 (ones and threes share a component, one is unused); 0.96 with 100 labels per class
(`--labels-per-class 100 --labelled-share 0.3 --supervised 100 --temperature 100 --temperature-decay 200 --start same`).
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, maf, vmonf

config = Recipe(
    flow=partial(
        vmonf,
        num_components=5,
        component=partial(maf, num_layers=5, hidden_sizes=(200,), permutation="reverse"),
        encoder_sizes=(512,),
        start="kmeans",
    ),
    data=DataConfig(name="mnist_logit", classes=(0, 1, 2, 3, 4)),
    train=TrainConfig(
        steps=1200,
        batch_size=100,
        optimizer="adamw",
        learning_rate=1e-4,
        warmup_steps=0,
        schedule="constant",
        weight_decay=1e-6,
        clip_norm=5.0,
        init_batch=2000,
        steps_per_call=10,
        log_every=50,
        checkpoint_every=300,
        eval_batch_size=500,
    ),
)
