"""Normal base distributions."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.stats import norm

from jflows.distributions.base import Base
from jflows.ops.numerics import sum_event
from jflows.typing import Array, Key, Shape


class StandardNormal(Base):
    """N(0, I) over an event.

        log p(z) = -1/2 sum_i (z_i^2 + log 2 pi)             [nats per event]

    Args:
      event_shape: of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """temperature * N(0, I): -> [*shape, *event_shape]."""
        return temperature * jax.random.normal(key, (*shape, *self.event_shape))

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """-> [*batch], nats."""
        return sum_event(norm.logpdf(z), len(self.event_shape))


class DiagonalNormal(Base):
    """N(mean, diag(exp(2 log_std))) with a learned mean and log_std per dimension, starting at N(0, I).

    Args:
      event_shape: of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `params`: mean and log_std, both [*event_shape].
    """

    def setup(self):
        zeros = nn.initializers.zeros
        self.mean = self.param("mean", zeros, tuple(self.event_shape))
        self.log_std = self.param("log_std", zeros, tuple(self.event_shape))

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """mean + temperature * exp(log_std) * N(0, I): -> [*shape, *event_shape]."""
        noise = jax.random.normal(key, (*shape, *self.event_shape), self.mean.dtype)
        return self.mean + temperature * jnp.exp(self.log_std) * noise

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """-> [*batch], nats."""
        standardised = (z - self.mean) * jnp.exp(-self.log_std)
        return sum_event(norm.logpdf(standardised) - self.log_std, len(self.event_shape))
