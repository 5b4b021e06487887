"""Mixture of five Glows on MNIST digits 0 to 4, with a convolutional encoder.

The data and the 100 epochs are those of Pires and Figueiredo 2020, arXiv:2009.00585; the components there are MAFs of
rows of pixels (`vmonf_mnist`), here flows of images, which the paper leaves open.

Expected: after `--epochs 1.5`, which take 3.5 minutes of one core, one component has taken all rows, with a bound of
-799 nats (1.471 bits/dim). All epochs were not run.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow, vmonf

config = Recipe(
    flow=partial(
        vmonf,
        num_components=5,
        component=partial(glow, num_levels=2, num_steps=4, width=32, preprocess="logit", alpha=1e-5),
        encoder_sizes=(32, 64),
        start="kmeans",
    ),
    data=DataConfig(name="mnist", classes=(0, 1, 2, 3, 4)),
    train=TrainConfig(
        epochs=100,
        batch_size=100,
        learning_rate=1e-3,
        schedule="constant",
        warmup_steps=100,
        clip_norm=2000.0,
        init_batch=500,
        log_every=50,
        checkpoint_every=300,
        eval_batch_size=250,
    ),
)
