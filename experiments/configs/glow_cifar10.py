"""Glow on CIFAR-10, a small run for two CPU cores; 5-bit images with `--num-bits 5`."""

import dataclasses

from jflows.train import GlowConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowCifar10(GlowConfig):
    """Expected: 3.895 test bits/dim at 8 bits after 1,500 steps (6 minutes), one epoch."""

    data: str = "cifar10"
    mirror: bool = True
    num_levels: int = 3
    num_steps: tuple[int, ...] = (8,)
    width: int = 64
    preprocess: str = "centred"
    batch_size: int = 32
    steps: int = 1500
    learning_rate: float = 2e-3
    clip_norm: float = 10000.0
    log_every: int = 50
    checkpoint_every: int = 500
