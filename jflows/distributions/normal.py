"""Normal base distributions: standard, diagonal, full, and one per class."""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.special import ndtr
from jax.scipy.stats import norm

from jflows.distributions.base import Base, StandardBase
from jflows.errors import InvalidValueError
from jflows.ops.factorisations import solve_triangular
from jflows.ops.numerics import EXACT, sum_event
from jflows.options import Option
from jflows.typing import Array, Key, Shape


class StandardNormal(StandardBase):
    """N(0, I) over an event.

        log p(z) = -1/2 sum_i (z_i^2 + log 2 pi)             [nats per event]

    Args:
      event_shape: shape of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws temperature * N(0, I): -> [*shape, *event_shape]."""
        return temperature * jax.random.normal(key, (*shape, *self.event_shape))

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        return sum_event(norm.logpdf(z), len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return ndtr(z)

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.ones(self.event_shape)


class DiagonalNormal(Base):
    """N(mean, diag(exp(2 log_std))) with a learned mean and log_std per dimension, starting at N(0, I).

    Args:
      event_shape: shape of z.
      spread: deviation of N(0, spread^2 I), from which the initial mean is drawn; above 0 it lets the members of a
        mixture start apart.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `params`: mean and log_std, both [*event_shape].
    Raises:
      InvalidValueError: if spread is negative.
    """

    spread: Annotated[float, Option(low=0)] = 0.0

    def setup(self):
        zeros = nn.initializers.zeros
        drawn = nn.initializers.normal(self.spread) if self.spread else zeros
        self.loc = self.param("mean", drawn, self.event_shape)
        self.log_std = self.param("log_std", zeros, self.event_shape)

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws mean + temperature * exp(log_std) * N(0, I): -> [*shape, *event_shape]."""
        noise = jax.random.normal(key, (*shape, *self.event_shape), self.loc.dtype)
        return self.loc + temperature * jnp.exp(self.log_std) * noise

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        standardised = (z - self.loc) * jnp.exp(-self.log_std)
        return sum_event(norm.logpdf(standardised) - self.log_std, len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return ndtr((z - self.loc) * jnp.exp(-self.log_std))

    def mean(self, context: Array | None = None) -> Array:
        return self.loc

    mode = mean

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.exp(self.log_std)


class FullNormal(Base):
    """N(mean, L L^T) with a learned mean and a learned lower-triangular L, starting at N(0, I).

        log p(z) = log N(L^-1 (z - mean); 0, I) - sum_i log L_ii             [nats per event]

    Args:
      event_shape: shape of z, of D dimensions in all; cost and memory grow with D^2.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `params`: mean [*event_shape] and cholesky [D, D], which holds L
      below the diagonal and log L_ii on it; what is above is not used.
    """

    def setup(self):
        zeros, dim = nn.initializers.zeros, math.prod(self.event_shape)
        self.loc = self.param("mean", zeros, self.event_shape)
        self.cholesky = self.param("cholesky", zeros, (dim, dim))

    def _factor(self) -> Array:
        return jnp.tril(self.cholesky, -1) + jnp.diag(jnp.exp(jnp.diagonal(self.cholesky)))

    def _standardised(self, z: Array) -> Array:
        """L^-1 (z - mean), a row for each event: [num, D]."""
        rows = (z - self.loc).reshape(-1, len(self.cholesky))
        return solve_triangular(self._factor(), rows.T, lower=True).T

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws mean + temperature * L N(0, I): -> [*shape, *event_shape]."""
        noise = jax.random.normal(key, (*shape, len(self.cholesky)), self.loc.dtype)
        deviation = jnp.matmul(noise, self._factor().T, precision=EXACT)
        return self.loc + temperature * deviation.reshape(*shape, *self.event_shape)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        batch_shape = z.shape[: z.ndim - len(self.event_shape)]
        log_prob = sum_event(norm.logpdf(self._standardised(z)), 1) - sum_event(jnp.diagonal(self.cholesky), 1)
        return log_prob.reshape(batch_shape)

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return ndtr(self._standardised(z)).reshape(z.shape)

    def mean(self, context: Array | None = None) -> Array:
        return self.loc

    mode = mean

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.linalg.norm(self._factor(), axis=1).reshape(self.event_shape)


class ClassConditionalNormal(Base):
    """A diagonal normal whose mean and log_std are linear in the context, from zero.

        mean = sum_k context_k M_k,   log_std = sum_k context_k S_k

    With one-hot classes (`ClassEmbed`) every class owns a mean and a deviation; a context of zeros is N(0, I).

    Source: the class-conditional prior of Kingma and Dhariwal 2018, arXiv:1807.03039, published code.

    Args:
      event_shape: shape of z.
    Shapes:
      z: [*batch, *event_shape], context: [*batch, context_dim], log_prob: [*batch].
      `params`: mean and log_std, both [context_dim, *event_shape].
    Raises:
      InvalidValueError: without a context.
    """

    @nn.compact
    def _mean_and_log_std(self, context: Array | None) -> tuple[Array, Array]:
        if context is None:
            fix = "Give the flow context_shape, and embed=ClassEmbed(num_classes) for labels."
            raise InvalidValueError("ClassConditionalNormal", "context", "must be given", None, fix)

        def term(name: str) -> Array:
            weights = self.param(name, nn.initializers.zeros, (context.shape[-1], *self.event_shape))
            return jnp.tensordot(context, weights, 1, precision=EXACT)

        return term("mean"), term("log_std")

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws mean + temperature * exp(log_std) * N(0, I): -> [*shape, *event_shape]."""
        mean, log_std = self._mean_and_log_std(context)
        return mean + temperature * jnp.exp(log_std) * jax.random.normal(key, (*shape, *self.event_shape), mean.dtype)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        mean, log_std = self._mean_and_log_std(context)
        return sum_event(norm.logpdf((z - mean) * jnp.exp(-log_std)) - log_std, len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        mean, log_std = self._mean_and_log_std(context)
        return ndtr((z - mean) * jnp.exp(-log_std))

    def mean(self, context: Array | None = None) -> Array:
        return self._mean_and_log_std(context)[0]

    mode = mean

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.exp(self._mean_and_log_std(context)[1])
