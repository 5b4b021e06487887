"""Bases with heavier tails than a normal: logistic, Laplace and Student's t. Each is a product over dimensions.

They have no location and scale of their own: `LocationScale` learns both.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc
from jax.scipy.stats import laplace, logistic

from jflows.distributions.base import StandardBase
from jflows.ops.numerics import sum_event
from jflows.ops.special import log_1p_square, log_gamma_half_step
from jflows.options import Positive
from jflows.typing import Array, Key, Shape


class StandardLogistic(StandardBase):
    """The logistic density of scale 1 in every dimension; deviation pi / sqrt(3).

        log p(z) = -sum_i (z_i + 2 log(1 + exp(-z_i)))       [nats per event]

    Source: Dinh et al. 2014, arXiv:1410.8516, section 3.4.

    Args:
      event_shape: shape of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws temperature * logistic: -> [*shape, *event_shape]."""
        return temperature * jax.random.logistic(key, (*shape, *self.event_shape))

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        return sum_event(logistic.logpdf(z), len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return jax.nn.sigmoid(z)

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.full(self.event_shape, math.pi / math.sqrt(3))


class Laplace(StandardBase):
    """The Laplace density of scale 1 in every dimension; deviation sqrt(2).

        log p(z) = -sum_i (|z_i| + log 2)                    [nats per event]

    Args:
      event_shape: shape of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws temperature * Laplace: -> [*shape, *event_shape]."""
        return temperature * jax.random.laplace(key, (*shape, *self.event_shape))

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        return sum_event(laplace.logpdf(z), len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return laplace.cdf(z)

    def deviation(self, context: Array | None = None) -> Array:
        return jnp.full(self.event_shape, math.sqrt(2))


class StudentT(StandardBase):
    """Student's t of scale 1 in every dimension, with fixed or learned degrees of freedom.

        log p(z) = sum_i [log Gamma((v_i + 1) / 2) - log Gamma(v_i / 2) - log(pi v_i) / 2
                          - (v_i + 1) / 2 * log(1 + z_i^2 / v_i)]            [nats per event]

    A Lipschitz flow of a light-tailed base has light tails, whatever it learns, so heavy-tailed data need a
    heavy-tailed base. Temperature multiplies the deviation from 0, the mean if v > 1; otherwise there is no mean.

    Source: Jaini et al. 2020, arXiv:1907.04481 (learned degrees of freedom).

    Args:
      event_shape: shape of z.
      df: degrees of freedom v > 0, at which learned ones start.
      learned: whether each dimension learns its own degrees of freedom.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `params`, if learned: log_df [*event_shape].
    Raises:
      InvalidValueError: if df is not positive.
    Numerics: exact to rounding for all z, and for large v, up to the normal limit.
    """

    df: Positive = 4.0
    learned: bool = False

    def setup(self):
        start = jnp.zeros(self.event_shape) + math.log(self.df)
        self.log_df = self.param("log_df", lambda _: start) if self.learned else start

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws temperature * t: -> [*shape, *event_shape]; differentiable in the degrees of freedom."""
        return temperature * jax.random.t(key, jnp.exp(self.log_df), (*shape, *self.event_shape), self.log_df.dtype)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        # In the dtype of z if the degrees of freedom are fixed.
        df = jnp.exp(self.log_df if self.learned else self.log_df.astype(jnp.promote_types(z.dtype, jnp.float32)))
        log_norm = log_gamma_half_step(df / 2) - 0.5 * jnp.log(math.pi * df)
        return sum_event(log_norm - 0.5 * (df + 1) * log_1p_square(z / jnp.sqrt(df)), len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        # P(|t| < |z|) = I_w(1 / 2, v / 2) with w = z^2 / (v + z^2), which has digits near 0 and for large v; and
        # P(|t| > |z|) = I_(1 - w)(v / 2, 1 / 2), which has them far out.
        df = jnp.exp(self.log_df)
        is_far = z**2 > df
        inside = 0.5 * betainc(0.5, df / 2, jnp.where(is_far, 0.0, z**2 / (df + z**2)))
        tail = jnp.where(is_far, 0.5 * betainc(df / 2, 0.5, df / (df + z**2)), 0.5 - inside)
        return jnp.where(z > 0, 1 - tail, tail)

    def mean(self, context: Array | None = None) -> Array:
        return jnp.where(self.log_df > 0, 0.0, jnp.nan)

    def deviation(self, context: Array | None = None) -> Array:
        df = jnp.exp(self.log_df)
        has_one = df > 2
        return jnp.where(has_one, jnp.sqrt(df / jnp.where(has_one, df - 2, 1.0)), jnp.inf)
