"""The uniform base, for flows on an interval."""

import math

import jax
import jax.numpy as jnp

from jflows.distributions.base import Base
from jflows.errors import InvalidValueError
from jflows.ops.domain import Domain
from jflows.ops.numerics import sum_event
from jflows.typing import Array, Key, Shape


class Uniform(Base):
    """The uniform density on [low, high] in every dimension; there is no mode.

        log p(z) = -D log(high - low) inside, -inf outside           [nats per event; D dimensions]

    Use it with maps whose latent stays inside, such as a spline on the same interval, as a loss is infinite outside.

    Args:
      event_shape: shape of z.
      low: lower end.
      high: upper end, above low.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    Raises:
      InvalidValueError: unless low < high, both finite.
    """

    low: float = 0.0
    high: float = 1.0

    def _check(self) -> None:
        if not self.low < self.high:
            raise InvalidValueError("Uniform", ("low", "high"), "must hold low < high", (self.low, self.high))

    @property
    def domain(self) -> Domain:
        return Domain(self.low, self.high, closed=True)

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws the centre + temperature * the deviation from it: -> [*shape, *event_shape]."""
        draw = jax.random.uniform(key, (*shape, *self.event_shape), minval=self.low, maxval=self.high)
        # Rounding may leave the interval, where a sample of this base would get the density 0.
        draw = jnp.clip(draw, self.low, self.high)
        mean = self.mean()
        return jnp.where(temperature == 1, draw, mean + temperature * (draw - mean))

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        outside = jnp.where(jnp.isnan(z), z, -jnp.inf)
        inside = jnp.asarray(-math.log(self.high - self.low), jnp.result_type(z))
        values = jnp.where(self.domain.contains(z), inside, outside)
        return sum_event(values, len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return (z - self.low) / (self.high - self.low)

    def mean(self, context: Array | None = None) -> Array:
        return jnp.full(self.event_shape, (self.low + self.high) / 2)
