"""`MixtureStructure`: the parts of a `MixtureOfFlows`, and what follows from them before there are any variables.

Read next: `jflows/flows/mixture.py`, which documents the parts, and computes with them.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from flax import linen as nn

from jflows.data.reading import Reading
from jflows.flows.density import Density
from jflows.flows.dequantize import Dequantize
from jflows.flows.flow import Flow
from jflows.flows.mixture_encoder import Encoder
from jflows.flows.mixture_parts import check_parts, check_weights
from jflows.options import Checked, Option
from jflows.typing import Array, Shape

STARTS = ("same", "kmeans")


@dataclasses.dataclass(frozen=True, repr=False)
class MixtureStructure(Checked, Density):
    """The fields of `MixtureOfFlows`, their checks, and the answers to all that `Density` asks of a structure."""

    components: tuple[Flow, ...]
    num_components: Annotated[int, Option(low=2)]
    encoder: nn.Module | None = None
    weights: str | tuple[float, ...] = "uniform"
    trunk: Flow | None = None
    start: Annotated[str, Option(choices=STARTS)] = "same"

    objective: ClassVar[str] = "mixture"
    encodes: ClassVar[bool] = False
    takes_keys: ClassVar[bool] = False

    def _check(self) -> None:
        check_parts(self.components, self.num_components, self.trunk)
        check_weights(self.weights, self.num_components)

    def __repr__(self) -> str:
        """One line; `mixture.summary()` is the whole table."""
        copies = f"{self.num_components} x " if len(self.components) == 1 else ""
        parts = [f"{copies}{flow!r}" for flow in self.components]
        parts += [] if self.encoder is None else [f"encoder {type(self.encoder).__name__}"]
        parts += [] if self.trunk is None else [f"trunk {self.trunk!r}"]
        return f"MixtureOfFlows({', '.join(parts)})"

    @property
    def event_shape(self) -> Shape:
        """Shape of one event, as the trunk or, without a trunk, the components take it."""
        return self._front.event_shape

    @property
    def dequantize(self) -> Dequantize | None:
        """How integers become floats, as the trunk or, without a trunk, the components do it."""
        return self._front.dequantize

    @property
    def reading(self) -> Reading:
        """How data are handed over: as to a flow; labels that are no context of it are 0..K-1, for loss and scores."""
        own = self._front.reading
        return own if own.context == "labels" else dataclasses.replace(own, num_classes=self.num_components)

    @property
    def before_standardizing(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """What rows are mapped to before encoder, trunk or components standardise them."""
        return self._front.before_standardizing

    @property
    def reports(self) -> tuple[str, ...]:
        """Names of the reports that a run writes: a learning curve, pairs of columns, and, where the components take no
        context, clusters and each component.
        """
        of_parts = ("clusters", "component_samples") if self.context_shape is None else ()
        return ("learning_curve", "pairs", *of_parts)

    @property
    def standardizes(self) -> bool:
        """Whether any part standardises: an encoder always does; see `Flow.standardizes`."""
        return self.encoder is not None or any(flow.standardizes for flow in self._flows)

    @property
    def whitens(self) -> bool:
        """Whether what meets the data first whitens them, see `Density.whitens`."""
        return self._front.whitens

    @property
    def needs_key(self) -> bool:
        """Whether any part needs a key, see `Density.needs_key`."""
        return any(flow.needs_key for flow in self._flows)

    @property
    def estimates_log_det(self) -> bool:
        """Whether any part's log-det is estimated with noise, for which `log_prob` must be given a key."""
        return any(flow.estimates_log_det for flow in self._flows)

    @property
    def is_restricted(self) -> bool:
        """Whether a part is, see `Density.is_restricted`."""
        return any(flow.is_restricted for flow in self._flows)

    @property
    def uses_invertible_backprop(self) -> bool:
        """Whether any part uses invertible back-propagation, see `Flow.uses_invertible_backprop`."""
        return any(flow.uses_invertible_backprop for flow in self._flows)

    @property
    def context_shape(self) -> Shape | None:
        """Event shape of the context of trunk and components; None if they take none."""
        return self._front.context_shape

    @property
    def _front(self) -> Flow:
        """What meets the data first."""
        return self.components[0] if self.trunk is None else self.trunk

    @property
    def _flows(self) -> tuple[Flow, ...]:
        return self.components if self.trunk is None else (self.trunk, *self.components)

    def context_of(self, flow: Flow, context: Array | None) -> Array | None:
        """The context for one component, which may take none although the trunk takes one."""
        return None if flow.context_shape is None else context

    def encoder_module(self, network: nn.Module) -> Encoder:
        """The encoder that a network is part of; it is conditioned on contexts that are vectors."""
        num_bits = None if self.dequantize is None else self.dequantize.bits
        takes_context = self.context_shape is not None and len(self.context_shape) == 1
        before = self._front.to_reals
        return Encoder(network, self.num_components, len(self.event_shape), num_bits, takes_context, before)
