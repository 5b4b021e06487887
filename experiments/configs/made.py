"""MADE MoG on a table: each column a mixture of normals given those before it."""

import dataclasses

from jflows.train import MadeConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made(MadeConfig):
    """For two moons, unless `--data` says otherwise; any other table by its name or path."""

    steps: int = 5000
    log_every: int = 250
    eval_every: int = 250
    checkpoint_every: int = 1000
