"""The study of coherence on ORL faces at 56x44 (docs/coherence.md): Glow without learned priors, mirrored images.

Expected: 4.775 ± 0.028 test bits/dim (diagonal 4.768, student_t 4.762), chosen by validation, in 5 minutes of one core.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=2, num_steps=8, width=64, preprocess="logit", alpha=0.05, prior="none"),
    data=DataConfig(name="orl_faces_small", num_validation=40),
    train=TrainConfig(
        steps=5000,
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
