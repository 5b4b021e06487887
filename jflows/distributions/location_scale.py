"""`LocationScale`: any base moved and scaled in every dimension."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.distributions.base import Base
from jflows.errors import InvalidValueError, check_event_shape
from jflows.ops.domain import REALS, Domain
from jflows.ops.numerics import sum_event
from jflows.typing import Array, Key, Shape


class LocationScale(Base):
    """The density of mean + exp(log_std) v, where v follows another base; both are learned, and start at 0.

        log p(z) = log p_v((z - mean) exp(-log_std)) - sum_i log_std_i       [nats per event]

    It gives `StudentT`, `Laplace` and `StandardLogistic` a place and a scale of their own, as `DiagonalNormal` has.

    Args:
      event_shape: shape of z.
      base: the base of v, on all real numbers, of the same event shape.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `params`: mean and log_std, both [*event_shape], and those of base.
    Raises:
      InvalidValueError: if the base is of another event shape, or has no density in places.
    """

    base: Base

    def _check(self) -> None:
        check_event_shape("LocationScale", "base", self.base.event_shape, self.event_shape)
        if self.base.domain != REALS:
            rule, got = "must have a density on all real numbers", f"one on {self.base.domain}"
            raise InvalidValueError("LocationScale", "base", rule, got)

    @property
    def domain(self) -> Domain:
        return self.base.domain

    @property
    def needs_key(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.needs_key

    @property
    def is_reparameterized(self) -> bool:
        return self.base.is_reparameterized

    def setup(self):
        zeros = nn.initializers.zeros
        self.loc = self.param("mean", zeros, self.event_shape)
        self.log_std = self.param("log_std", zeros, self.event_shape)

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws mean + exp(log_std) * a draw of the base at this temperature: -> [*shape, *event_shape]."""
        return self.loc + jnp.exp(self.log_std) * self.base.sample(key, shape, context, temperature)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        inner = self.base.log_prob((z - self.loc) * jnp.exp(-self.log_std), context)
        return inner - sum_event(self.log_std, len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return self.base.has_pit

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return self.base.pit((z - self.loc) * jnp.exp(-self.log_std), context)

    def mean(self, context: Array | None = None) -> Array:
        return self.loc + jnp.exp(self.log_std) * self.base.mean(context)

    def mode(self, context: Array | None = None) -> Array:
        return self.loc + jnp.exp(self.log_std) * self.base.mode(context)

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.exp(self.log_std) * self.base.deviation(context)
