"""Pointwise bijectors: fixed functions of one number, applied to every element.

For functions with learned parameters, use `Elementwise` in `inner.py`. Functions that are not defined everywhere
state their domains.
"""

import abc
import math
from typing import ClassVar

import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid, softplus

from jflows.bijectors.base import SameShape
from jflows.ops.domain import Domain
from jflows.ops.numerics import sum_event
from jflows.options import Ndims, Positive
from jflows.typing import Array

POSITIVE = Domain(0.0, math.inf)


class Pointwise(SameShape, kw_only=True):
    """A fixed increasing function of one number, applied to every element of an event.

        x_i = f(z_i)
        log_det = sum_i log f'(z_i)                          [nats per event]

    A subclass writes `_forward` and `_inverse`, which return the value and the elementwise log-derivative.

    Args:
      event_ndims: how many trailing axes form one event; 1 for vectors, 3 for images.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    """

    event_ndims: Ndims = 1

    @abc.abstractmethod
    def _forward(self, z: Array) -> tuple[Array, Array]:
        """z -> x and log dx/dz, elementwise."""

    @abc.abstractmethod
    def _inverse(self, x: Array) -> tuple[Array, Array]:
        """x -> z and log dz/dx, elementwise."""

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_slope = self._forward(z)
        return x, sum_event(log_slope, self.event_ndims)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_slope = self._inverse(x)
        return z, sum_event(log_slope, self.event_ndims)


class Identity(Pointwise):
    """x = z; the part of a `Stack` that is left alone."""

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return z, jnp.zeros_like(z)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        return x, jnp.zeros_like(x)


class Exp(Pointwise):
    """x = exp(z), onto the positive numbers: with a normal base, a log-normal density."""

    x_domain: ClassVar[Domain] = POSITIVE

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return jnp.exp(z), z

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        z = jnp.log(x)
        return z, -z


class Softplus(Pointwise):
    """x = log(1 + exp(z)), onto the positive numbers; near z for large z, so that tails stay as they are.

    Numerics: z = x + log(1 - exp(-x)) keeps its digits at both ends.
    """

    x_domain: ClassVar[Domain] = POSITIVE

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return softplus(z), log_sigmoid(z)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        log_slope = -jnp.log(-jnp.expm1(-x))  # dz/dx = 1 / (1 - exp(-x))
        return x - log_slope, log_slope


class Sigmoid(Pointwise):
    """x = 1 / (1 + exp(-z)), onto (0, 1).

    Numerics: float32 cannot hold 1 - x for z > 17, so that x stays at the largest number below 1 from there.
    """

    x_domain: ClassVar[Domain] = Domain(0.0, 1.0)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return sigmoid(z), log_sigmoid(z) + log_sigmoid(-z)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        log_x, log_not_x = jnp.log(x), jnp.log1p(-x)
        return log_x - log_not_x, -log_x - log_not_x


class Logit(Pointwise):
    """x = log z - log(1 - z), from (0, 1) onto all reals; `Inverse(Sigmoid())` under its own name."""

    z_domain: ClassVar[Domain] = Domain(0.0, 1.0)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return Sigmoid(parent=None)._inverse(z)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        return Sigmoid(parent=None)._forward(x)


class Tanh(Pointwise):
    """x = tanh(z), onto (-1, 1).

    Numerics: log(1 - tanh(z)^2) = 2 (log 2 - z - softplus(-2 z)) is exact where tanh(z) has rounded to 1; its inverse
    is written with log1p, which keeps small x that atanh by a quotient would lose.
    """

    x_domain: ClassVar[Domain] = Domain(-1.0, 1.0)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return jnp.tanh(z), 2 * (math.log(2) - z - softplus(-2 * z))

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        log_plus, log_minus = jnp.log1p(x), jnp.log1p(-x)
        return 0.5 * (log_plus - log_minus), -log_plus - log_minus


class Softsign(Pointwise):
    """x = z / (1 + |z|), onto (-1, 1), with tails like 1 / |z| where tanh has exponential ones."""

    x_domain: ClassVar[Domain] = Domain(-1.0, 1.0)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return z / (1 + jnp.abs(z)), -2 * jnp.log1p(jnp.abs(z))

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        return x / (1 - jnp.abs(x)), -2 * jnp.log1p(-jnp.abs(x))


class LeakyReLU(Pointwise):
    """x = z for z >= 0, slope * z below. With a learned slope: `Elementwise(PReLU())`.

    Args:
      slope: positive.
      event_ndims: how many trailing axes form one event; 1 for vectors, 3 for images.
    Raises:
      InvalidValueError: if slope is not positive.
    """

    slope: Positive = 0.1

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return _two_slopes(z, jnp.asarray(self.slope, z.dtype))

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        return _two_slopes(x, jnp.asarray(1 / self.slope, x.dtype))


def _two_slopes(values: Array, slope: Array) -> tuple[Array, Array]:
    negative = values < 0
    return jnp.where(negative, slope * values, values), jnp.where(negative, jnp.log(slope), 0)


class ELU(Pointwise):
    """x = z for z >= 0, exp(z) - 1 below: onto (-1, inf), with a continuous derivative."""

    x_domain: ClassVar[Domain] = Domain(low=-1.0)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        below = jnp.minimum(z, 0)  # clipped before the maths: exp of a large z would make the gradient NaN
        return jnp.where(z < 0, jnp.expm1(below), z), below

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        below = jnp.log1p(jnp.minimum(x, 0))
        return jnp.where(x < 0, below, x), -below


class Power(Pointwise):
    """x = z^exponent, on the positive numbers.

    Args:
      exponent: positive; from latent to data, 1/3 spreads small values, and 2 crowds them.
      event_ndims: how many trailing axes form one event; 1 for vectors, 3 for images.
    Raises:
      InvalidValueError: if exponent is not positive and finite.
    """

    exponent: Positive = 2.0

    x_domain: ClassVar[Domain] = POSITIVE
    z_domain: ClassVar[Domain] = POSITIVE

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return _power(z, self.exponent)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        return _power(x, 1 / self.exponent)


def _power(values: Array, exponent: float) -> tuple[Array, Array]:
    log_values = jnp.log(values)
    return jnp.exp(exponent * log_values), math.log(exponent) + (exponent - 1) * log_values
