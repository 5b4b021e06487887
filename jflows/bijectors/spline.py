"""Inner maps that are monotone splines on [-bound, bound]: linear, quadratic, cubic and rational-quadratic.

The mathematics is in `jflows/ops/splines.py` and `jflows/ops/polynomial_splines.py`; here raw parameters are cut into
widths, heights and slopes. All start at the identity: zero parameters give equal bins and slope 1.
"""

import abc
from typing import Annotated

import jax.numpy as jnp

from jflows.bijectors.inner import InnerMap
from jflows.errors import InvalidValueError
from jflows.ops import polynomial_splines as polynomial
from jflows.ops import splines
from jflows.ops.affine import bounded_log_scale
from jflows.ops.blocks import in_blocks
from jflows.ops.masks import cut_rows
from jflows.options import Fraction, HalfWidth, Option
from jflows.typing import Array

TOO_FEW = "With fewer bins the spline is a straight line."
MAX_LOG_BOUND_RATIO = 2.0  # a learned bound stays within exp(+-2) of the given one


class Spline(InnerMap):
    """The base of all splines: the number of bins, the interval, and how it is rescaled.

    A subclass writes `_num_unit_params` and the two unit maps, which see [0, 1] only. With a learned bound, the last
    row of the parameters sets it: B = bound * exp(2 tanh(raw / 2)).

    Args:
      num_bins: number of bins, K.
      bound: half-width B > 0 of the interval, in the units of z and x.
      learn_bound: whether each element has one more parameter, for a bound of its own.
    Raises:
      InvalidValueError: if there are too few bins or the bound is not positive.
    """

    num_bins: Annotated[int, Option(low=2, fix=TOO_FEW)] = 8
    bound: HalfWidth = 5.0
    learn_bound: bool = False

    @property
    @abc.abstractmethod
    def _num_unit_params(self) -> int:
        """Rows of raw parameters that the unit maps take."""

    @abc.abstractmethod
    def _unit_forward(self, u: Array, raw: Array) -> tuple[Array, Array]:
        """Maps u in [0, 1] to v in [0, 1] and log dv/du."""

    @abc.abstractmethod
    def _unit_inverse(self, v: Array, raw: Array) -> tuple[Array, Array]:
        """Maps v in [0, 1] to u in [0, 1] and log du/dv."""

    @property
    def _boundary(self) -> str:
        return "linear"

    @property
    def num_params(self) -> int:
        return self._num_unit_params + int(self.learn_bound)

    def _map(self, unit_map, values: Array, params: Array) -> tuple[Array, Array]:
        def run(values: Array, params: Array) -> tuple[Array, Array]:
            bound, raw = self.bound, params[..., : self._num_unit_params, :]
            if self.learn_bound:
                bound = bound * jnp.exp(bounded_log_scale(params[..., -1, :], "tanh", MAX_LOG_BOUND_RATIO))
            return splines.on_interval(values, bound, lambda unit: unit_map(unit, raw), self._boundary)

        return in_blocks(run, values, params)

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        return self._map(self._unit_forward, z, params)

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        return self._map(self._unit_inverse, x, params)


class LinearSpline(Spline):
    """Piecewise-linear spline on [-bound, bound], the identity outside.

        x = y_k + (z - x_k) h_k / w_k

    Its log-derivative is constant in each bin, so gradients of a log-likelihood do not see where in a bin x lies.

    Source: Müller et al. 2019, arXiv:1808.03856, section 4.1, whose bins are equal.

    Args:
      num_bins: K >= 2.
      bound: half-width B > 0 of the interval; x and z should be about standardised, so that few fall outside.
      learn_bound: whether each element has one more parameter, by which it learns its B, as `RationalQuadraticSpline`.
      bins: "equal" for bins of width 2 B / K, "learned" for widths that are parameters, like the heights.
      min_width, min_height: smallest width and height of a bin, as fractions of the interval.
    Shapes:
      z <-> x: [..., dim]; params: [..., K or 2 K (+ 1), dim].
    Raises:
      InvalidValueError: if an argument is out of range.
    """

    bins: Annotated[str, Option(choices=("equal", "learned"))] = "equal"
    min_width: Fraction = 1e-3
    min_height: Fraction = 1e-3

    def _check(self) -> None:
        _check_least("LinearSpline", self.num_bins, min_width=self.min_width, min_height=self.min_height)

    @property
    def _num_unit_params(self) -> int:
        return self.num_bins * (2 if self.bins == "learned" else 1)

    def _sizes(self, raw: Array) -> tuple[Array, Array]:
        *raw_widths, raw_heights = cut_rows(raw, *[self.num_bins] * (raw.shape[-2] // self.num_bins))
        heights = polynomial.sizes_from_raw(raw_heights, self.min_height)
        if self.bins == "equal":
            return jnp.full_like(heights, 1 / self.num_bins), heights
        return polynomial.sizes_from_raw(raw_widths[0], self.min_width), heights

    def _unit_forward(self, u: Array, raw: Array) -> tuple[Array, Array]:
        return polynomial.linear_spline(u, *self._sizes(raw))

    def _unit_inverse(self, v: Array, raw: Array) -> tuple[Array, Array]:
        return polynomial.linear_spline(v, *self._sizes(raw)[::-1])


class QuadraticSpline(Spline):
    """Piecewise-quadratic spline on [-bound, bound], the identity outside; its slope is continuous everywhere.

        dx/dz = d_k (1 - t) + d_k+1 t,  t = (z - x_k) / w_k,  and 1 at both ends

    Source: Müller et al. 2019, arXiv:1808.03856, section 4.2; with tails in Durkan et al. 2019, arXiv:1906.02145.

    Args:
      num_bins: K >= 3; two bins with slope 1 at both ends leave nothing to choose.
      bound: half-width B > 0 of the interval; x and z should be about standardised, so that few fall outside.
      learn_bound: whether each element has one more parameter, by which it learns its B, as `RationalQuadraticSpline`.
      min_width: smallest width of a bin, as a fraction of the interval.
      min_slope: smallest inner slope, before slopes are scaled to fill the interval.
    Shapes:
      z <-> x: [..., dim]; params: [..., 2 K - 1 (+ 1), dim]: widths, inner slopes.
    Raises:
      InvalidValueError: if an argument is out of range.
    """

    num_bins: Annotated[int, Option(low=3, fix=TOO_FEW)] = 8
    min_width: Fraction = 1e-3
    min_slope: Fraction = 1e-3

    def _check(self) -> None:
        _check_least("QuadraticSpline", self.num_bins, min_width=self.min_width)

    @property
    def _num_unit_params(self) -> int:
        return 2 * self.num_bins - 1

    def _unit_forward(self, u: Array, raw: Array) -> tuple[Array, Array]:
        return polynomial.polynomial_spline(u, polynomial.quadratic_pieces(raw, self.min_width, self.min_slope), 2)

    def _unit_inverse(self, v: Array, raw: Array) -> tuple[Array, Array]:
        pieces = polynomial.quadratic_pieces(raw, self.min_width, self.min_slope)
        return polynomial.polynomial_spline_inverse(v, pieces, 2)


class CubicSpline(Spline):
    """Monotone cubic spline on [-bound, bound], continued by straight lines; its slope is continuous everywhere.

    Inner slopes follow from the knots by Steffen's rule, which keeps every bin monotone; the two end slopes are
    learned, and are the slopes of the tails. The identity as a tail would need an end slope of 1, which a monotone
    cubic cannot have where the outer bin rises by less than a third of its width.

    Source: Durkan et al. 2019, arXiv:1906.02145, section 3. Differs: tails are lines instead of a logit before.

    Args:
      num_bins: K >= 2.
      bound: half-width B > 0 of the interval; x and z should be about standardised, so that few fall outside.
      learn_bound: whether each element has one more parameter, by which it learns its B, as `RationalQuadraticSpline`.
      min_width, min_height: smallest width and height of a bin, as fractions of the interval.
    Shapes:
      z <-> x: [..., dim]; params: [..., 2 K + 2 (+ 1), dim]: widths, heights, end slopes.
    Raises:
      InvalidValueError: if an argument is out of range.
    Numerics: the inverse runs Newton's method to rounding; its derivatives are implicit.
    """

    min_width: Fraction = 1e-3
    min_height: Fraction = 1e-3

    def _check(self) -> None:
        _check_least("CubicSpline", self.num_bins, min_width=self.min_width, min_height=self.min_height)

    @property
    def _num_unit_params(self) -> int:
        return 2 * self.num_bins + 2

    @property
    def _boundary(self) -> str:
        return "learned"

    def _unit_forward(self, u: Array, raw: Array) -> tuple[Array, Array]:
        return polynomial.polynomial_spline(u, polynomial.cubic_pieces(raw, self.min_width, self.min_height), 3)

    def _unit_inverse(self, v: Array, raw: Array) -> tuple[Array, Array]:
        pieces = polynomial.cubic_pieces(raw, self.min_width, self.min_height)
        return polynomial.polynomial_spline_inverse(v, pieces, 3)


class RationalQuadraticSpline(Spline):
    """Monotone rational-quadratic spline on [-bound, bound]: the inner map of neural spline flows.

        x = y_k + h_k (s t^2 + d_k a) / (s + (d_k + d_k+1 - 2 s) a),
        t = (z - x_k) / w_k,  s = h_k / w_k,  a = t (1 - t)

    | boundary | end slopes | outside | rows of params |
    |---|---|---|---|
    | "linear" | 1 | the identity | 3 K - 1 |
    | "learned" | learned | straight lines of these slopes | 3 K + 1 |
    | "circular" | equal | angles of period 2 B, wrapped; a learned phase is added to x | 3 K + 1 |

    Rows are widths, heights, slopes, then the phase or the raw bound.

    Source: Durkan et al. 2019, arXiv:1906.04032; Rezende et al. 2020, arXiv:2002.02428 for circles.

    Args:
      num_bins: K >= 2.
      bound: half-width B > 0 of the interval; x and z should be about standardised, so that few fall outside.
      learn_bound: whether each element has one more parameter, by which B = bound * exp(2 tanh(raw / 2)); not for
        angles.
      boundary: "linear", "learned" or "circular".
      min_width, min_height: smallest width and height of a bin, as fractions of the interval.
      min_slope: smallest slope at the knots, in (0, 1).
    Shapes:
      z <-> x: [..., dim]; params: [..., rows (+ 1), dim].
    Raises:
      InvalidValueError: if an argument is out of range.
    Numerics: float32 round trip about 1e-5 at slopes above 1e-2. Raw sizes are clipped at +-40 in float32.
    Example:
      >>> import jax.numpy as jnp
      >>> inner = RationalQuadraticSpline(num_bins=4, bound=3.0)
      >>> x, log_det = inner.forward_and_log_det(jnp.array([-9.0, 0.5]), jnp.zeros((inner.num_params, 2)))
      >>> x.round(3).tolist(), abs(log_det).round(3).tolist()
      ([-9.0, 0.5], [0.0, 0.0])
    """

    boundary: Annotated[str, Option(choices=splines.BOUNDARIES)] = "linear"
    min_width: Fraction = 1e-3
    min_height: Fraction = 1e-3
    min_slope: Fraction = 1e-3

    def _check(self) -> None:
        where = "RationalQuadraticSpline"
        _check_least(where, self.num_bins, min_width=self.min_width, min_height=self.min_height)
        if self.boundary == "circular" and self.learn_bound:
            rule = "must be False with boundary='circular', as the period is fixed"
            raise InvalidValueError(where, "learn_bound", rule, "True")

    @property
    def _num_unit_params(self) -> int:
        return 3 * self.num_bins + {"linear": -1, "learned": 1, "circular": 0}[self.boundary]

    @property
    def num_params(self) -> int:
        return super().num_params + int(self.boundary == "circular")

    @property
    def _boundary(self) -> str:
        return self.boundary

    def _arguments(self, raw: Array):
        """What the unit maps take: raw rows, and the bounds of sizes and slopes."""
        if self.boundary == "circular":
            first = 2 * self.num_bins
            raw = jnp.concatenate([raw, raw[..., first : first + 1, :]], axis=-2)
        return raw, self.num_bins, (self.min_width, self.min_height), self.min_slope

    def _unit_forward(self, u: Array, raw: Array) -> tuple[Array, Array]:
        return splines.rational_quadratic(u, *self._arguments(raw))

    def _unit_inverse(self, v: Array, raw: Array) -> tuple[Array, Array]:
        return splines.rational_quadratic_inverse(v, *self._arguments(raw))

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        x, log_det = super().forward_and_log_det(z, params)
        return (splines.wrap(x + params[..., -1, :], self.bound) if self.boundary == "circular" else x), log_det

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        if self.boundary == "circular":
            x = splines.wrap(x, self.bound) - params[..., -1, :]  # an angle of many turns would swallow the phase
        return super().inverse_and_log_det(x, params)


def _check_least(where: str, num_bins: int, **least: float) -> None:
    for argument, value in least.items():
        if value * num_bins >= 1:
            rule = f"must be below 1 / {num_bins}, as {num_bins} bins share the interval"
            raise InvalidValueError(where, argument, rule, repr(value), "Lower it, or take fewer bins.")
