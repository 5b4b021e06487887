"""RealNVP on a table: affine couplings."""

import dataclasses

from jflows.train import RealNVPConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNVP(RealNVPConfig):
    """For two moons, unless `--data` says otherwise; any other table by its name or path."""

    steps: int = 5000
    log_every: int = 250
    eval_every: int = 250
    checkpoint_every: int = 1000
