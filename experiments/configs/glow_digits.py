"""Glow on scikit-learn's 8x8 digits: the smallest real run, which needs no network (`make glow DATA=digits`)."""

import dataclasses

from jflows.train import GlowConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowDigits(GlowConfig):
    """Expected: about 2.47 test bits/dim of 4-bit pixels, in well under a minute of training."""

    data: str = "digits"
    num_bits: int = 4
    num_levels: int = 2
    num_steps: tuple[int, ...] = (4,)
    width: int = 32
    batch_size: int = 32
    steps: int = 600
    warmup_steps: int = 20
    log_every: int = 20
    checkpoint_every: int = 200
