"""The study of coherence on MNIST (docs/coherence.md): Glow without learned priors, and `--base` as its one question.

Expected: 1.1904 ± 0.0027 test bits/dim (diagonal 1.1895, student_t 1.1898) in 5 minutes of one core.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=8, width=64, preprocess="logit", alpha=1e-5, prior="none"),
    data=DataConfig(name="mnist", num_validation=2000),
    train=TrainConfig(
        steps=4000,
        batch_size=32,
        optimizer="adamw",
        weight_decay=0.1,
        learning_rate=1e-3,
        schedule="plateau",
        plateau_factor=0.8,
        plateau_window=64,
        plateau_patience=6,
        plateau_growth=1.3,
        clip_norm=2000.0,
        log_every=50,
        eval_every=500,
        checkpoint_every=500,
    ),
)
