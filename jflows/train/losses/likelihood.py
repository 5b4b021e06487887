"""`NegativeLogLikelihood`: the loss by which flows are trained if no other is chosen."""

import dataclasses
from typing import ClassVar

from jflows.flows import Density
from jflows.flows.density import example_keys
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood(Loss):
    """-log p(x) in nats per event; dequantization noise is drawn per example, which makes it an upper bound.

    Shapes:
      per row: [batch].
    """

    name: ClassVar[str] = "likelihood"
    unit: ClassVar[str | None] = "nats"

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and the updated collections (batch statistics), {} for most flows."""
        keys = example_keys(key, batch.index) if flow.needs_key else None
        log_prob, updates = flow.apply_loss(variables, batch.x, batch.context, keys)
        return -log_prob, updates
