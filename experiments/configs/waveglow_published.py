"""WaveGlow at the size of its published code, Prenger et al. 2018: twelve flow steps whose networks have 256 channels.

It has 86,044,840 parameters, and the published code has 87,879,272; docs/speech.md says how they differ. With
`--width 512 --skip-width 256`, as the paper's text has it, there are 253,637,800. Steps, batches and rate are those of
the paper, which trained on LJ Speech, clips of 16,000 samples at 22,050 Hz, which cannot be had here. Adapted: clips of
speech_espeak have 4,096 samples at 16 kHz, and gradients are clipped.

Expected: a mean opinion score of 3.961 ± 0.134 on LJ Speech is published, and no likelihood. This was not run: a
gradient of one clip takes about 0.25 TFLOP, so that it wants an accelerator.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import waveglow

config = Recipe(
    flow=partial(waveglow, num_levels=3, num_steps=4, width=256, num_layers=8, context_width=640),
    data=DataConfig(name="speech_espeak"),
    train=TrainConfig(
        steps=580_000,
        batch_size=24,
        learning_rate=1e-4,
        schedule="constant",
        clip_norm=2000.0,
        init_batch=24,
        steps_per_call=10,
        log_every=100,
        checkpoint_every=2000,
    ),
)
