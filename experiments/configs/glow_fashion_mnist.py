"""Glow on Fashion-MNIST, with the settings of `glow_mnist`: the partner for out-of-distribution scores."""

import dataclasses

from jflows.train import GlowConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowFashionMnist(GlowConfig):
    """Not yet run to a quoted result; the settings are those of `glow_mnist`, so that scores compare."""

    data: str = "fashion_mnist"
    num_levels: int = 2
    num_steps: tuple[int, ...] = (8,)
    width: int = 64
    preprocess: str = "logit"
    alpha: float = 1e-5
    batch_size: int = 32
    steps: int = 2000
    learning_rate: float = 2e-3
    clip_norm: float = 2000.0
    log_every: int = 50
    checkpoint_every: int = 500
