"""`FlowMatching`: trains a `Continuous` flow without solving its equation."""

import dataclasses
from typing import ClassVar

from jflows.bijectors import Continuous
from jflows.errors import InvalidTypeError
from jflows.flows import Density, Flow, flow_matching_loss
from jflows.flows.dequantize import example_keys
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class FlowMatching(Loss):
    """The squared error of the velocity field, see `jflows.flows.flow_matching_loss`; no likelihood, so without a unit.

    Shapes:
      per row: [batch].
    Raises:
      InvalidTypeError: by `check`, if the flow is not a `Flow` whose bijector is a `Continuous`.
    """

    name: ClassVar[str] = "flow_matching"

    def check(self, flow: Density) -> None:
        """Raises unless the flow is a `Continuous` one, as no other has a velocity field."""
        if not isinstance(flow, Flow) or not isinstance(flow.bijector, Continuous):
            rule, fix = "must be a Flow with a Continuous bijector", "Train other flows by NegativeLogLikelihood()."
            raise InvalidTypeError("FlowMatching", "flow", rule, repr(flow), fix)

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and no updated collections."""
        self.check(flow)
        assert isinstance(flow, Flow)
        return flow_matching_loss(flow, variables, batch.x, example_keys(key, batch.index), batch.context), {}
