"""Maps from the reals to the domain of a column: `Interval`, `Circle`, and `StickBreaking` for columns that sum to 1.

`Exp` of `pointwise.py` is the map to positive numbers. `Stack` deals columns to maps. Read next:
`jflows/flows/columns.py`, which puts these together for a table.
"""

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, sigmoid

from jflows.bijectors.base import Bijector
from jflows.bijectors.pointwise import POSITIVE, Pointwise
from jflows.errors import InvalidValueError
from jflows.ops.domain import Domain
from jflows.ops.numerics import sum_event
from jflows.options import SUM_TOLERANCE
from jflows.typing import Array, Shape


class Interval(Pointwise):
    """x = low + (high - low) / (1 + exp(-z)), onto (low, high): a scaled `Sigmoid`.

    Args:
      low, high: the ends, which do not belong to the interval.
      event_ndims: how many trailing axes form one event; 1 for vectors, 3 for images.
    Raises:
      InvalidValueError: unless low < high, both finite.
    Numerics: both ways measure from the nearer end, so that neither loses digits beyond those of x itself: x - low near
      low, high - x near high.
    """

    low: float = 0.0
    high: float = 1.0

    def _check(self) -> None:
        check_ends("Interval", self.low, self.high)

    @property
    def x_domain(self) -> Domain:
        return Domain(self.low, self.high)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        width = self.high - self.low
        x = jnp.where(z < 0, self.low + width * sigmoid(z), self.high - width * sigmoid(-z))
        return x, math.log(width) + log_sigmoid(z) + log_sigmoid(-z)

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        from_low, from_high = jnp.log(x - self.low), jnp.log(self.high - x)
        return from_low - from_high, math.log(self.high - self.low) - from_low - from_high


class Circle(Pointwise):
    """Numbers of period high - low as angles z in [-pi, pi), both ways modulo the period.

        z = 2 pi ((x - low) / (high - low) mod 1) - pi
        x = low + (high - low) ((z + pi) / (2 pi) mod 1)      in [low, high)

    Args:
      low, high: where the numbers begin, and where they begin again; data may lie in any other period.
      event_ndims: how many trailing axes form one event; 1 for vectors, 3 for images.
    Raises:
      InvalidValueError: unless low < high, both finite.
    """

    low: float = 0.0
    high: float = 2 * math.pi

    def _check(self) -> None:
        check_ends("Circle", self.low, self.high)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        period = self.high - self.low
        turn = z / (2 * math.pi) + 0.5
        x = self.low + period * (turn - jnp.floor(turn))
        x = jnp.where(x >= self.high, jnp.asarray(self.low, x.dtype), x)  # rounded up to the end, which is the start
        return x, jnp.full_like(z, math.log(period / (2 * math.pi)))

    def _inverse(self, x: Array) -> tuple[Array, Array]:
        period = self.high - self.low
        turn = (x - self.low) / period
        z = 2 * math.pi * (turn - jnp.floor(turn) - 0.5)
        return z, jnp.full_like(x, math.log(2 * math.pi / period))


class StickBreaking(Bijector):
    """Positive columns that sum to 1, from one latent dimension less: parts are broken off a stick, one after another.

        z_k = log x_k - log(x_k+1 + ... + x_D) + log(D - k)           k = 1..D-1
        log_det = log|det dz/d(x_1, ..., x_D-1)| = -sum_i log x_i     over all D columns     [nats per event]

    z = 0 is the point whose columns are all 1 / D. The density of a flow that ends here is one over the first D - 1
    columns, as the last one follows from them. Rows are divided by their sum, which may miss 1 by 0.001, as numbers in
    files are rounded; where it misses by more, there is no density, and log_det is -inf.

    Source: the Stan reference manual, "Simplex transforms". Differs: rests are added up from the last column instead of
    subtracted from 1, so that small ones keep their digits.

    Shapes:
      x: [*batch, D] <-> z: [*batch, D - 1], D >= 2; log_det: [*batch].
    Raises:
      InvalidValueError: if x has fewer than two columns.
    Numerics: a column that is 0 has no latent. Round trip in float32 about 1e-6 for |z| <= 10.
    """

    x_event_ndims: ClassVar[int] = 1
    z_event_ndims: ClassVar[int] = 1
    x_domain: ClassVar[Domain] = POSITIVE

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(D,) for (D - 1,)."""
        return (z_event_shape[-1] + 1,)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(D - 1,) for (D,)."""
        if x_event_shape[-1] < 2:
            rule = "must have at least 2 columns, which sum to 1"
            raise InvalidValueError("StickBreaking", "x", rule, f"shape {tuple(x_event_shape)}")
        return (x_event_shape[-1] - 1,)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        logits = z - _offsets(z)
        log_rest = jnp.cumsum(log_sigmoid(-logits), axis=-1)  # of the stick, after each break
        before = jnp.concatenate([jnp.zeros_like(z[..., :1]), log_rest], axis=-1)
        broken = jnp.concatenate([log_sigmoid(logits), jnp.zeros_like(z[..., :1])], axis=-1)
        log_x = before + broken
        return jnp.exp(log_x), sum_event(log_x, 1)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        total = jnp.sum(x, axis=-1, keepdims=True)
        log_x = jnp.log(x / total)
        rest = jnp.cumsum(x[..., ::-1], axis=-1)[..., -2::-1]  # x_k+1 + ... + x_D
        z = jnp.log(x[..., :-1]) - jnp.log(rest)
        misses = jnp.abs(total[..., 0] - 1) > SUM_TOLERANCE
        return z + _offsets(z), jnp.where(misses, -jnp.inf, -sum_event(log_x, 1))


def check_ends(where: str, low: float, high: float) -> None:
    """Raises `InvalidValueError` unless low < high, as numbers of float32 too."""
    if not np.float32(low) < np.float32(high):
        raise InvalidValueError(where, ("low", "high"), "must hold low < high", (low, high))


def _offsets(z: Array) -> Array:
    """log(D - k) for k = 1..D-1."""
    return jnp.log(jnp.arange(z.shape[-1], 0, -1, dtype=z.dtype))
