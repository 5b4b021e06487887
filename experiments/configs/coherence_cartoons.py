"""The study of coherence on cartoon faces at 32x32 (docs/coherence.md): Glow without learned priors, mirrored images.

Expected: 3.008 ± 0.008 test bits/dim (diagonal 3.001, student_t 2.997) in 4 minutes of one core.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=3, num_steps=8, width=64, preprocess="logit", alpha=0.05, prior="none"),
    data=DataConfig(name="cartoon_faces", num_validation=500),
    train=TrainConfig(
        steps=4000,
        batch_size=16,
        optimizer="adamw",
        weight_decay=0.1,
        learning_rate=1e-3,
        schedule="plateau",
        plateau_factor=0.8,
        plateau_window=64,
        plateau_patience=6,
        plateau_growth=1.3,
        clip_norm=2000.0,
        mirror=True,
        log_every=50,
        eval_every=500,
        checkpoint_every=500,
    ),
)
