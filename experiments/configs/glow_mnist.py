"""Glow on MNIST, sized for ten minutes on two CPU cores: `make glow`."""

import dataclasses

from jflows.train import GlowConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowMnist(GlowConfig):
    data: str = "mnist"
    num_levels: int = 2
    num_steps: tuple[int, ...] = (8,)
    width: int = 64
    preprocess: str = "logit"
    alpha: float = 1e-3
    batch_size: int = 32
    steps: int = 3000
    log_every: int = 20
    checkpoint_every: int = 500
