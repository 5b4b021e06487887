"""WaveGlow on synthetic speech: a small vocoder for one CPU core.

It has six flow steps whose networks have 48 channels. Expected: not yet measured.
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
