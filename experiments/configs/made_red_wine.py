"""MADE MoG on red wine: each column is a mixture of normals given the columns before it (`--folds 10`).

Expected over ten folds: -9.17 nats. The aim was to be above -9.46, that of RNADE with mixtures of logistics.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, made

config = Recipe(
    flow=partial(made, num_components=20, hidden_sizes=(64,), activation="tanh"),
    data=DataConfig(name="red_wine", num_validation=144),
    train=TrainConfig(
        steps=6000,
        batch_size=128,
        optimizer="adamw",
        learning_rate=2e-3,
        warmup_steps=50,
        schedule="constant",
        weight_decay=1.0,
        clip_norm=10.0,
        ema_decay=0.995,
        init_batch=4096,
        log_every=50,
        eval_every=50,
        patience=20,
        checkpoint_every=1000,
        eval_batch_size=4096,
    ),
)
