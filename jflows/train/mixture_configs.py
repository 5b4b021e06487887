"""Settings of mixtures of flows of tables, and of the one flow with a mixture as its base. See `MixtureLoss`."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from jflows.data import Data, hide_labels
from jflows.errors import InvalidValueError, check_choice, check_positive
from jflows.flows import (
    MixtureOfFlows,
    maf,
    mixture_of_flows,
    nice,
    nsf_autoregressive,
    nsf_coupling,
    realnvp,
    with_mixture_base,
)
from jflows.flows.mixture import STARTS
from jflows.flows.mixture_parts import WEIGHTS
from jflows.nn import MLP
from jflows.train.mixture import MixtureLoss
from jflows.train.step import Loss
from jflows.train.table_configs import LayersConfig
from jflows.typing import Shape

COMPONENTS: Mapping[str, Callable] = MappingProxyType(
    {preset.__name__: preset for preset in (realnvp, maf, nice, nsf_coupling, nsf_autoregressive)}
)
KINDS = ("flows", "base")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig(LayersConfig):
    """`jflows.mixture_of_flows` with an MLP as its encoder, or `jflows.flow_gmm`, trained by `MixtureLoss`."""

    kind: str = "flows"
    """flows (VMoNF: a flow for each component) or base (FlowGMM: one flow, and a normal for each component)."""
    component: str = "realnvp"
    """Preset of each flow: realnvp, maf, nice, nsf_coupling or nsf_autoregressive."""
    num_components: int = 5
    """Components, of one architecture."""
    encoder_sizes: tuple[int, ...] = (32, 32)
    """Hidden units of the encoder q(k | x), of kind flows."""
    weights: str = "uniform"
    """Of components: uniform or learned."""
    start: str = "same"
    """Rows that initialise a component: same (all) or kmeans (those of its cluster)."""
    spread: float = 1.0
    """Deviation of the means at the start, of kind base."""
    permutation: str = "swap"
    """Between layers: swap (the halves), reverse, shuffle or linear (learned)."""

    temperature: float = MixtureLoss.temperature
    """Softmax temperature of the encoder at step 0; it falls to 1."""
    temperature_decay: float = MixtureLoss.temperature_decay
    """Steps by which temperature - 1 falls to 1/e."""
    supervised: float = MixtureLoss.supervised
    """Weight of the encoder's cross-entropy on rows with a label."""
    consistency: float = MixtureLoss.consistency
    """Weight of the encoder's consistency under noise."""
    consistency_noise: float = MixtureLoss.consistency_noise
    """Deviation of that noise, in units of x."""
    pretrain_steps: int = MixtureLoss.pretrain_steps
    """First steps, on rows with a label alone."""
    interleave_every: int = MixtureLoss.interleave_every
    """Steps on rows with, then as many on rows without a label; 0 for all rows in every step."""

    labels_per_class: int = 0
    """Training rows of each class whose label is kept; 0 trains without labels."""
    labelled_share: float = 0.0
    """Share of training rows with a label, by repeating them; 0 repeats none."""

    def __post_init__(self):
        where = type(self).__name__
        check_choice(where, "kind", self.kind, KINDS)
        check_choice(where, "component", self.component, tuple(COMPONENTS))
        check_choice(where, "weights", self.weights, WEIGHTS)
        check_choice(where, "start", self.start, STARTS)
        check_positive(where, "spread", self.spread)
        if self.num_components < 2:
            raise InvalidValueError(where, "num_components", "must be at least 2", repr(self.num_components))
        if not self.encoder_sizes or min(self.encoder_sizes) < 1:
            rule = "must hold at least one positive size"
            raise InvalidValueError(where, "encoder_sizes", rule, repr(self.encoder_sizes))
        if not 0 <= self.labelled_share < 1:
            raise InvalidValueError(where, "labelled_share", "must lie in [0, 1)", repr(self.labelled_share))
        if self.labels_per_class < 0:
            raise InvalidValueError(where, "labels_per_class", "must be at least 0", repr(self.labels_per_class))
        if self.pretrain_steps >= self.steps:
            rule = f"must be below steps={self.steps}, to see rows without a label"
            raise InvalidValueError(where, "pretrain_steps", rule, repr(self.pretrain_steps))
        if (self.pretrain_steps or self.interleave_every or self.labelled_share) and not self.labels_per_class:
            rule, fix = "must be positive to train on rows with a label", "Set it, such as 16."
            raise InvalidValueError(where, "labels_per_class", rule, 0, fix)
        super().__post_init__()
        self.loss  # noqa: B018 - its settings are checked where it is made

    @property
    def wants_labels(self) -> bool:
        """Whether labels take part in the loss."""
        return self.labels_per_class > 0

    @property
    def loss(self) -> Loss:
        """`MixtureLoss` with these settings."""
        return MixtureLoss(**{field.name: getattr(self, field.name) for field in dataclasses.fields(MixtureLoss)})

    def for_training(self, data: Data) -> Data:
        """The rows, all but a few of which lose their label; as they are, if some have none already."""
        if not self.labels_per_class or data.partly_labelled:
            return data
        return hide_labels(data, self.labels_per_class, share=self.labelled_share or None, seed=self.seed)

    def build(self, event_shape: Shape, num_classes: int | None) -> MixtureOfFlows:
        """The mixture with these settings."""
        flow = self._build(COMPONENTS[self.component], event_shape)
        if self.kind == "base":
            return with_mixture_base(flow, self.num_components, spread=self.spread, weights=self.weights)
        encoder = MLP(self.encoder_sizes, self.activation)
        return mixture_of_flows(flow, encoder, self.num_components, weights=self.weights, start=self.start)
