"""`Density`: the base class of flows and mixtures of flows, with all that training, evaluation and sampling use."""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors.base import OUTSIDE
from jflows.data.reading import Reading, Statistics
from jflows.errors import InvalidValueError
from jflows.flows.dequantize import Dequantize
from jflows.ops.numerics import log_mixture
from jflows.options import Count, check_call
from jflows.typing import Array, Key, Shape, Variables

Score = TypeVar("Score", float, Array, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Unit:
    """The unit in which the score of a density is given.

    Attributes:
      key: name of the score in metrics: "bits_per_dim" or "nats".
      label: name of the unit in text and figures: "bits/dim" or "nats".
      lower_is_better: True for code lengths, False for log-likelihoods.
      curve_key: name in metrics of the training loss in this unit.
      curve_label: what a learning curve in this unit shows.
    """

    key: str
    label: str
    lower_is_better: bool
    curve_key: str
    curve_label: str

    @property
    def is_beside_loss(self) -> bool:
        """Whether training logs its loss in this unit too, beside the loss in nats."""
        return self.curve_key != "loss"

    def as_loss(self, score: Score) -> Score:
        """A score in this unit with the sign by which lower is better."""
        return score if self.lower_is_better else -score

    def score(self, log_prob: Score, num_dims: int) -> Score:
        """The score in this unit of a log-likelihood in nats per event."""
        return -log_prob / (num_dims * math.log(2)) if self is BITS_PER_DIM else log_prob

    def log_prob(self, score: Score, num_dims: int) -> Score:
        """The log-likelihood in nats per event of a score in this unit: the inverse of `score`."""
        return -score * (num_dims * math.log(2)) if self is BITS_PER_DIM else score

    def curve(self, nll: Score, num_dims: int) -> Score:
        """A negative log-likelihood in nats per event, in the unit of learning curves; lower is always better."""
        return nll / (num_dims * math.log(2)) if self is BITS_PER_DIM else nll


BITS_PER_DIM = Unit("bits_per_dim", "bits/dim", True, "bits_per_dim", "bits per dimension")
NATS = Unit("nats", "nats", False, "loss", "negative log-likelihood, nats")
UNITS = {unit.key: unit for unit in (BITS_PER_DIM, NATS)}


class Density(abc.ABC):
    """A density over events of shape `event_shape`, with methods that are pure functions of explicit variables.

    Training, evaluation, reports and the command line never ask for the class of a density: what they need to know is
    stated by `unit`, `reading`, `objective`, `encodes` and `reports`.
    """

    event_shape: Shape
    dequantize: Dequantize | None
    context_shape: Shape | None

    objective: ClassVar[str]
    """Name in `jflows.train.LOSSES` of the loss that trains this density if no other is given."""
    encodes: ClassVar[bool]
    """Whether the density has one latent space, with `encode`, `decode` and `latent_shape`."""
    takes_keys: ClassVar[bool]
    """Whether `sample` takes one key for each sample; else it takes one for all."""

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """How many entries of the latent belong to each level of a multi-scale flow, finest first; () without levels.

        The latent is then a vector, in which the levels follow each other.
        """
        return ()

    @property
    def unit(self) -> Unit:
        """The unit of scores: bits per dimension for images of integers, nats for tables and for floats."""
        return NATS if self.reading.num_bits is None else BITS_PER_DIM

    @property
    @abc.abstractmethod
    def standardizes(self) -> bool:
        """Whether the density standardises data or contexts, for which `init` takes statistics of all training rows."""

    @property
    def whitens(self) -> bool:
        """Whether these statistics must hold the covariance of whole events, for a `Whiten`."""
        return False

    @property
    def before_standardizing(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The fixed map of rows before they are standardised or whitened, for `Data.statistics`; None for no map."""
        return None

    @property
    @abc.abstractmethod
    def is_restricted(self) -> bool:
        """Whether the density is 0 for some finite events, so that data must be checked before training."""

    @property
    @abc.abstractmethod
    def reading(self) -> Reading:
        """How the density wants data handed over."""

    @property
    @abc.abstractmethod
    def reports(self) -> tuple[str, ...]:
        """Names in `jflows.runs.reports.REPORTS` of the reports that a run writes about this density."""

    @property
    @abc.abstractmethod
    def needs_key(self) -> bool:
        """Whether `bits_per_dim` and losses must be given a key.

        True where data are dequantized, as `log_prob` bounds the log-likelihood only with noise from a key, and where
        the log-det or the density of the base is estimated with noise.
        """

    @property
    @abc.abstractmethod
    def estimates_log_det(self) -> bool:
        """Whether the log-det is estimated with noise, for which `log_prob` must be given a key."""

    @property
    @abc.abstractmethod
    def uses_invertible_backprop(self) -> bool:
        """Whether gradients use activations that are rebuilt from outputs, so that rounding errors must be watched."""

    @abc.abstractmethod
    def reconstruction_error(self, variables: Variables, x: Array, context: Array | None = None) -> Array:
        """The largest |rebuilt x - x| after a round trip to the latent space, in units of x: a scalar.

        Integers are taken at the centres of their bins. For a mixture, it is the largest error of its parts.
        """

    @abc.abstractmethod
    def init(
        self,
        key: Key,
        x: Array | None = None,
        context: Array | None = None,
        statistics: Statistics | None = None,
    ) -> Variables:
        """Creates the variables, with data-dependent initialisation from a batch [batch, *event_shape].

        A flow that standardises uses `statistics`, those of all training rows; None takes the batch's.
        """

    @abc.abstractmethod
    def log_prob(self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """log density of x in nats: [*batch, *event_shape] -> [*batch]; -inf outside the support, NaN only for NaN."""

    @abc.abstractmethod
    def apply_loss(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Variables]:
        """`log_prob` for training, and the updated collections (batch statistics)."""

    @abc.abstractmethod
    def sample(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws events in the form of the data: [*sample_shape, *batch, *event_shape]."""

    @abc.abstractmethod
    def recorded(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> dict[str, Array]:
        """What bijectors record while x is encoded, by the path of the bijector and the name of the record.

        "max_abs" is the largest |output|, "inverse_residual" the largest error of a numerical inverse, and "outside"
        says which elements of its input lie outside of its domain in any row.
        """

    def activations(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> dict[str, Array]:
        """The recorded sizes of numbers, by path, to find where they grow; see `recorded`."""
        found = self.recorded(variables, x, context, key)
        return {path: size for path, size in found.items() if not path.endswith(f"/{OUTSIDE}")}

    @abc.abstractmethod
    def summary(self, batch_size: int = 64, num_devices: int = 1) -> object:
        """A table of layers, shapes, parameters and planned memory, to be printed."""

    @property
    def num_dims(self) -> int:
        """Number of dimensions of an event, without padding."""
        return math.prod(self.event_shape)

    def bits_per_dim(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None, num_draws: Count = 1
    ) -> Array:
        """Bits per dimension, -log2 p(x) / D: an upper bound on the code length of integer data.

        A uniform model over 8-bit pixels scores exactly 8. D counts the data's own dimensions, without any padding.

        Args:
          x: [*batch, *event_shape].
          key: must be given if the flow dequantizes, or if its log-det is estimated.
          num_draws: M noise draws give the importance-weighted bound log 1/M sum_m p(x + u_m), tighter than one draw.
        Returns:
          [*batch].
        Raises:
          InvalidValueError: if a key is needed and not given, or if num_draws > 1 with an estimated log-det, whose
            noise would raise the bound.
        """
        where = f"{type(self).__name__}.bits_per_dim"
        if self.dequantize is not None and key is None:
            rule, fix = "must be given, as this flow dequantizes", "Pass key=jax.random.key(seed)."
            raise InvalidValueError(where, "key", rule, None, fix)
        check_call(where, Density.bits_per_dim, {"num_draws": num_draws})
        if num_draws > 1 and self.estimates_log_det:
            rule, fix = "must be 1, as the log-det is estimated", "Use an exact estimator for this bound."
            raise InvalidValueError(where, "num_draws", rule, repr(num_draws), fix)
        if num_draws == 1 or key is None:
            return self.to_bits_per_dim(self.log_prob(variables, x, context, key))
        fold = functools.partial(jax.random.fold_in, key) if key.ndim == 0 else None

        def draw(index: Array) -> Array:
            folded = fold(index) if fold else jax.vmap(lambda k: jax.random.fold_in(k, index))(key.reshape(-1))
            return self.log_prob(variables, x, context, folded if fold else folded.reshape(key.shape))

        log_probs = jax.lax.map(draw, jnp.arange(num_draws))
        return self.to_bits_per_dim(log_mixture(jnp.moveaxis(log_probs, 0, -1)) - math.log(num_draws))

    def to_bits_per_dim(self, log_prob: Array) -> Array:
        """Converts a log-likelihood in nats per event to bits per dimension."""
        return -log_prob / (self.num_dims * math.log(2))
