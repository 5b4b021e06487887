"""The study of coherence (docs/coherence.md) on CelebA at 128x128, in full: Glow of five scales, for accelerators.

53,408,768 parameters and 49,152 dimensions; `--base student_t` adds 147,456 parameters. The studied flow's number of
steps in a scale is not known to us: 32 is Glow's own. The rate is multiplied by 0.8 after 24 windows of 512 batches
without a lower loss, and this patience grows by 1.3 each time. Weights of networks decay, and nothing in the base does.
A gradient plans 7.3 GB of temporaries, or 0.5 GB with `--backprop invertible`, as counted on a CPU.

Expected: not yet trained, as no machine of ours has the data; a test takes two steps of a small one on stand-ins.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig, glow

config = Recipe(
    flow=partial(glow, num_levels=5, num_steps=32, width=256, num_bits=8, preprocess="logit", alpha=1e-5, prior="none"),
    data=DataConfig(name="celeb_a_128"),
    train=TrainConfig(
        epochs=42,
        batch_size=16,
        optimizer="adamw",
        weight_decay=0.1,
        learning_rate=5e-4,
        schedule="plateau",
        plateau_factor=0.8,
        plateau_window=512,
        plateau_patience=24,
        plateau_growth=1.3,
        mirror=True,
        init_batch=64,
        eval_batch_size=32,
        checkpoint_every=2500,
    ),
)
