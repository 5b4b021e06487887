"""One MADE on red wine, its conditionals mixtures of logistics: a RNADE that shares its weights."""

import dataclasses

from jflows.train import MafConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MafRedWine(MafConfig):
    """Expected over ten folds: above -9.46 nats, that of RNADE with mixtures of logistics."""

    data: str = "red_wine"
    num_validation: int = 144
    num_layers: int = 1
    inner: str = "mixture"
    max_log_scale: float = 6.0
    hidden_sizes: tuple[int, ...] = (64,)
    activation: str = "tanh"
    optimizer: str = "adamw"
    weight_decay: float = 0.3
    schedule: str = "constant"
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    ema_decay: float = 0.995
    clip_norm: float = 10.0
    batch_size: int = 128
    steps: int = 6000
    steps_per_call: int = 100
    log_every: int = 100
    eval_every: int = 100
    patience: int = 15
    checkpoint_every: int = 1000
