"""WaveGlow on synthetic speech: a small vocoder for one CPU core.

It has 1,015,900 parameters: six flow steps, whose networks have six layers of 48 channels.

Expected: 14,514 test nats a clip of 4,096 samples, which are 3.54 nats per sample, after 6,000 steps (52 minutes of a
core shared with other work). Speech drawn from it has the loudness, formants and timing of what it is given, without a
clear pitch.
"""

from functools import partial

from jflows import DataConfig, Recipe, TrainConfig
from jflows.flows.presets import waveglow

config = Recipe(
    flow=partial(waveglow, num_levels=3, num_steps=2, width=48, num_layers=6, context_width=32),
    data=DataConfig(name="speech_espeak"),
    train=TrainConfig(
        steps=6000,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=200,
        clip_norm=2000.0,
        ema_decay=0.998,
        init_batch=32,
        eval_batch_size=16,
        steps_per_call=10,
        log_every=50,
        checkpoint_every=500,
    ),
)
