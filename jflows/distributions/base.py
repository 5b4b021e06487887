"""`Base`: the contract of a base distribution."""

import abc
from typing import ClassVar

import jax.numpy as jnp

from jflows.errors import InvalidValueError
from jflows.modules import Module
from jflows.ops.domain import REALS, Domain
from jflows.options import EventShape
from jflows.typing import Array, Key, Shape


class Base(Module, abc.ABC):
    """The density that a flow starts from, over events of shape `event_shape`.

    A concrete base is a Linen module, so it may own parameters. `context` arrives with the batch axes in front, or as
    None. Temperature multiplies the deviation of a sample from the mean, and `log_prob` is always the density at
    temperature 1. Data-dependent initialisation happens in `log_prob`, which `Flow.init` runs on data; `mean`, `mode`,
    `deviation` and `pit` are optional.

    Args:
      event_shape: shape of z.
    """

    event_shape: EventShape

    @property
    def domain(self) -> Domain:
        """Where each element of z must lie to have a density above 0."""
        return REALS

    needs_key: ClassVar[bool] = False
    """Whether `log_prob` should be given noise in training, by the random stream "fresh"; elsewhere it has none."""

    @property
    def is_reparameterized(self) -> bool:
        """Whether samples are differentiable in parameters and context, without random choices between components."""
        return True

    @abc.abstractmethod
    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws `shape` samples: -> [*shape, *event_shape]. With a context, `shape` ends with its batch shape."""

    @abc.abstractmethod
    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """log density in nats: [*batch, *event_shape] -> [*batch], float32 or wider. It may exceed 0."""

    @property
    def has_pit(self) -> bool:
        """Whether `pit` is known."""
        return False

    def pit(self, z: Array, context: Array | None = None) -> Array:
        """The probability integral transform: of draws of the base, entries that are uniform on (0, 1) and independent.

        It is the distribution function of each dimension, where dimensions are independent: u_i = F_i(z_i).

        Source: Rosenblatt 1952, Annals of Mathematical Statistics 23, 470-472, eq. 1.

        Shapes:
          z: [*batch, *event_shape], context: [*batch, context_dim] or None -> [*batch, *event_shape].
        """
        fix = "Take a base that is a product over dimensions."
        raise InvalidValueError(type(self).__name__, "pit", "is not known for this base", None, fix)

    def mean(self, context: Array | None = None) -> Array:
        """The sample at temperature 0: [*event_shape], or [*batch, *event_shape] if it depends on the context."""
        raise InvalidValueError(type(self).__name__, "mean", "has no closed form", None, "Average samples.")

    def mode(self, context: Array | None = None) -> Array:
        """The point of largest density, of the same shape as `mean`."""
        raise InvalidValueError(
            type(self).__name__, "mode", "is not unique or has no closed form", None, "Compare log_prob of samples."
        )

    def deviation(self, context: Array | None = None) -> Array:
        """The standard deviation of each dimension, of the same shape as `mean`; infinite where there is none."""
        raise InvalidValueError(type(self).__name__, "deviation", "has no closed form", None, "Average samples.")


class StandardBase(Base):
    """A base that is symmetric about 0 and densest there, so that mean and mode are 0."""

    def mean(self, context: Array | None = None) -> Array:
        return jnp.zeros(self.event_shape)

    def mode(self, context: Array | None = None) -> Array:
        return jnp.zeros(self.event_shape)
