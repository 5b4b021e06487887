"""Monotone splines on an interval: how they are extended to the line or the circle, and the rational-quadratic one.

A *unit map* is a monotone map of [0, 1] onto itself, u -> (v, log dv/du). `on_interval` rescales it to [-bound, bound]
and says what happens outside. Every function is elementwise over the last axis, `dim`; parameters are
[..., rows, dim], so that each step runs over a contiguous axis.
Read next: `jflows/ops/polynomial_splines.py`, `jflows/bijectors/spline.py`.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jflows.ops.masks import cut_rows
from jflows.ops.numerics import promoting
from jflows.typing import Array

BOUNDARIES = ("linear", "learned", "circular")
UnitMap = Callable[[Array], tuple[Array, Array]]


def on_interval(values: Array, bound: Array | float, unit_map: UnitMap, boundary: str) -> tuple[Array, Array]:
    """Applies a unit map on [-bound, bound] and extends it to all reals.

    | boundary | outside |
    |---|---|
    | "linear" | the identity |
    | "learned" | a straight line with the slope of the unit map at that end |
    | "circular" | values are angles of period 2 * bound and are first wrapped into [-bound, bound) |

    What is outside is clipped before the unit map sees it, so that its gradients stay finite; a `where` behind would
    not help, as 0 * inf is NaN.

    Args:
      values: any reals.
      bound: half-width B > 0, in the units of `values`; a number or an array that broadcasts.
      unit_map: works in both directions: hand in the inverse to invert.
      boundary: one of `BOUNDARIES`.
    Shapes:
      values: [..., dim] -> the same, and the elementwise log-derivative.
    """
    if boundary == "circular":
        values = wrap(values, bound)
    inside = jnp.clip(values, -bound, bound)
    unit, log_slope = unit_map(inside / (2 * bound) + 0.5)
    mapped = (2 * unit - 1) * bound
    if boundary == "circular":
        return mapped, log_slope
    is_outside = jnp.abs(values) >= bound
    if boundary == "learned":
        return jnp.where(is_outside, inside + (values - inside) * jnp.exp(log_slope), mapped), log_slope
    return jnp.where(is_outside, values, mapped), jnp.where(is_outside, 0, log_slope)


def wrap(angle: Array, bound: Array | float) -> Array:
    """The angle of period 2 * bound in [-bound, bound); the remainder is exact, also of angles of many turns."""
    rest = lax.rem(angle, jnp.broadcast_to(jnp.asarray(2 * bound, angle.dtype), angle.shape))  # of the sign of angle
    return rest + jnp.where(rest < -bound, 2 * bound, 0) - jnp.where(rest >= bound, 2 * bound, 0)


def raw_limit(dtype) -> float:
    """How far raw parameters are clipped: exp of it, summed over bins, stays finite; 40 in float32."""
    return 0.45 * math.log(float(jnp.finfo(dtype).max))


def slope_from_raw(raw: Array, min_slope: float) -> Array:
    """A slope in [min_slope, inf): softplus, offset so that raw 0 gives slope 1 exactly.

    The logarithm comes last, which makes the compiler store the result: see `bin_index`.
    """
    limit = raw_limit(raw.dtype)
    return jnp.log1p(jnp.exp(jnp.clip(raw + slope_offset(min_slope), -limit, limit))) + min_slope


def slope_offset(min_slope: float) -> float:
    """What is added to a raw slope, so that log(1 + exp(offset)) + min_slope = 1."""
    return math.log(math.expm1(1 - min_slope))


def rounded_into(part: Array, end: Array | float, unit: Array) -> Array:
    """The part of a bin before `unit`, in [0, end] despite rounding, and exactly `end` where `unit` is 1.

    Without the latter the slope of the right tail would be taken a rounding error before the last knot, where a spline
    of a small end slope is several times steeper. The derivative is that of `part` everywhere.
    """
    return part + lax.stop_gradient(jnp.where(unit >= 1, end, jnp.clip(part, 0, end)) - part)


class Bin(NamedTuple):
    """The bin that holds a value: left knot, size, and the slopes at its ends. Each is [..., dim]."""

    x: Array
    width: Array
    y: Array
    height: Array
    left: Array
    right: Array


def rational_quadratic(
    u: Array, raw: Array, num_bins: int, min_sizes: tuple[float, float], min_slope: float
) -> tuple[Array, Array]:
    """Monotone rational-quadratic spline of [0, 1] onto itself.

        t = (u - x_k) / w_k,  s = h_k / w_k,  a = t (1 - t)
        v = y_k + h_k (s t^2 + d_k a) / (s + (d_k + d_k+1 - 2 s) a)

    Source: Durkan et al. 2019, arXiv:1906.04032, eqs. 4-5. Differs: sizes and slopes are bounded below, and raw
    parameters are clipped (at +-40 in float32) instead of having their maximum subtracted.

    Args:
      u: in [0, 1].
      raw: widths, heights (before the softmax), then slopes (before the softplus) at all knots, or at the inner ones
        only: the slope is then 1 at both ends.
      num_bins: K.
      min_sizes: least width and least height, as fractions of the interval.
      min_slope: in (0, 1).
    Shapes:
      u: [..., dim], raw: [..., 3 K + 1 or 3 K - 1, dim] -> v, log dv/du: [..., dim].
    Numerics: all derivatives are finite for all finite parameters; first derivatives are hand-written.
    """
    chosen = _locate(lax.stop_gradient(u), raw, num_bins, min_sizes, min_slope, False)
    t = rounded_into((u - chosen.x) / chosen.width, 1, u)
    y, log_slope = _rational_quadratic_bin(t, chosen.height / chosen.width, chosen.height, chosen.left, chosen.right)
    return chosen.y + y, log_slope


def rational_quadratic_inverse(
    v: Array, raw: Array, num_bins: int, min_sizes: tuple[float, float], min_slope: float
) -> tuple[Array, Array]:
    """Inverse of `rational_quadratic`, by the stable root of a quadratic; v -> (u, log du/dv).

    Source: Durkan et al. 2019, arXiv:1906.04032, eqs. 6-8.

    Shapes:
      v: [..., dim], parameters as in `rational_quadratic` -> u, log du/dv: [..., dim].
    """
    chosen = _locate(lax.stop_gradient(v), raw, num_bins, min_sizes, min_slope, True)
    coefficients = (chosen.height / chosen.width, chosen.height, chosen.left, chosen.right)
    rest = rounded_into(v - chosen.y, chosen.height, v)
    t = implicit_root(_rational_quadratic_root, _rational_quadratic_curve, rest, *coefficients)
    _, log_slope = _rational_quadratic_bin(t, *coefficients)
    return chosen.x + chosen.width * t, -log_slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit_root(solve: Callable, curve: Callable, target: Array, *coefficients: Array) -> Array:
    """The t in [0, 1] at which a rising curve reaches `target`, differentiated by the implicit function theorem.

    A square root has an infinite derivative where the discriminant vanishes, though t itself has not.

    Args:
      solve: (target, *coefficients) -> t; never differentiated.
      curve: (t, *coefficients) -> (value, derivative by t), the derivative positive.
    """
    return solve(target, *coefficients)


@implicit_root.defjvp
@promoting
def _implicit_root_jvp(solve, curve, primals, tangents):
    t = implicit_root(solve, curve, *primals)
    _, moved = jax.jvp(lambda *c: curve(t, *c)[0], primals[1:], tangents[1:])
    return t, (tangents[0] - moved) / curve(t, *primals[1:])[1]


def _bin_sums(t, s, left, right):
    """N, D and M of v = y_k + h N / D and dv/du = s^2 M / D^2; all three are positive."""
    a, rest = t * (1 - t), 1 - t
    return s * t * t + left * a, s + (left + right - 2 * s) * a, right * t * t + 2 * s * a + left * rest * rest


@jax.custom_jvp
def _rational_quadratic_bin(t, s, h, left, right):
    """h N / D and log(s^2 M / D^2) inside one bin, of chord slope s and height h."""
    n, d, m = _bin_sums(t, s, left, right)
    return h * n / d, jnp.log(s * s * m / (d * d))


@_rational_quadratic_bin.defjvp
@promoting
def _rational_quadratic_bin_jvp(primals, tangents):
    # Autodiff would give three times as many operations; this is linear in the tangents, so it transposes as it is.
    t, s, h, left, right = primals
    t_dot, s_dot, h_dot, left_dot, right_dot = tangents
    n, d, m = _bin_sums(t, s, left, right)
    a, rest, over_d, over_m = t * (1 - t), 1 - t, 1 / d, 1 / m
    outer = h * a * over_d * over_d
    y_dot = (
        h * s * m * over_d * over_d * t_dot
        + n * over_d * h_dot
        + outer * ((right * t * t - left * rest * rest) * s_dot + (d - n) * left_dot - n * right_dot)
    )
    log_slope_dot = (
        2 * ((right * t + s * (rest - t) - left * rest) * over_m - (left + right - 2 * s) * (rest - t) * over_d) * t_dot
        + 2 * (1 / s + a * over_m - (1 - 2 * a) * over_d) * s_dot
        + (rest * rest * over_m - 2 * a * over_d) * left_dot
        + (t * t * over_m - 2 * a * over_d) * right_dot
    )
    return _rational_quadratic_bin(*primals), (y_dot, log_slope_dot)


def _rational_quadratic_curve(t, s, h, left, right):
    _, d, m = _bin_sums(t, s, left, right)
    return _rational_quadratic_bin(t, s, h, left, right)[0], h * s * m / (d * d)


def _rational_quadratic_root(rest, s, h, left, right):
    """Root of (s - b) t^2 + b t - q s = 0 with b = left - q (left + right - 2 s), q = rest / h."""
    q = rest / h
    b = left - q * (left + right - 2 * s)
    # The discriminant is a square of a positive number; rounding may turn it negative.
    root = jnp.sqrt(jnp.maximum(b * b + 4 * (s - b) * q * s, 0))
    # Of the two forms of the same root, the one that does not subtract nearly equal numbers.
    positive = b >= 0
    t = jnp.where(positive, 2 * q * s, root - b) / jnp.where(positive, b + root, 2 * (s - b))
    return jnp.where(q >= 1, 1, jnp.clip(t, 0, 1))


def rows_of(array: Array) -> list[Array]:
    """[..., K, dim] as K arrays [..., dim]."""
    return [array[..., row, :] for row in range(array.shape[-2])]


def bin_index(value: Array, sizes: list[Array]) -> Array:
    """Number of the bin that holds a value >= 0, as a float32; the last bin takes all that is above.

    Found by squares and a square root, which is exact, because XLA stores a shared intermediate only if it ends in an
    operation it counts as expensive, and otherwise computes it again for each of its readers: every row of every
    gradient here. For the same reason whatever is read more than once in this file ends in a division or a logarithm.

    Shapes:
      value: [..., dim], sizes: one [..., dim] per bin -> [..., dim].
    """
    value, sizes = lax.stop_gradient((value, sizes))
    knot, index_squared = jnp.zeros_like(value), jnp.zeros(value.shape, jnp.float32)
    for number, size in enumerate(sizes[:-1], start=1):
        knot = knot + size
        index_squared = jnp.where(value >= knot, float(number**2), index_squared)
    return jnp.sqrt(index_squared)


def _pick(index: Array, rows: list[Array]) -> Array:
    picked = rows[0]
    for number, row in enumerate(rows[1:]):
        picked = jnp.where(index > number, row, picked)
    return picked


def _sum_before(index: Array, rows: list[Array]) -> Array:
    return functools.reduce(jnp.add, [jnp.where(index > number, row, 0) for number, row in enumerate(rows[:-1])])


@jax.custom_jvp
def pick(index: Array, rows: Array) -> Array:
    """rows[index], by a chain of selects, as a gather would not vectorise; its derivative goes by a mask.

    Shapes:
      index: [..., dim], rows: [..., K, dim] -> [..., dim].
    """
    return _pick(index, rows_of(rows))


@pick.defjvp
@promoting
def _pick_jvp(primals, tangents):
    index, rows = primals
    is_at = _numbers(rows.shape[-2]) == index[..., None, :]
    return pick(index, rows), jnp.sum(jnp.where(is_at, tangents[1], 0), axis=-2)


@jax.custom_jvp
def sum_before(index: Array, rows: Array) -> Array:
    """sum(rows[:index]): the left knot, if the rows are sizes of bins. Shapes as in `pick`."""
    return _sum_before(index, rows_of(rows))


@sum_before.defjvp
@promoting
def _sum_before_jvp(primals, tangents):
    index, rows = primals
    is_before = _numbers(rows.shape[-2]) < index[..., None, :]
    return sum_before(index, rows), jnp.sum(jnp.where(is_before, tangents[1], 0), axis=-2)


def _numbers(count: int) -> Array:
    return jnp.arange(count, dtype=jnp.float32)[:, None]


class _Located(NamedTuple):
    """A bin and what its derivative needs: index, exp(raw sizes), their scaled totals, exp(raw slopes) of the bin."""

    bin: Bin
    index: Array
    exps: tuple[Array, Array]
    totals: tuple[Array, Array]
    slope_exps: tuple[Array, Array]


def _locate_with_residuals(value, raw, num_bins: int, min_sizes, min_slope, by_height: bool) -> _Located:
    limit, offset = raw_limit(raw.dtype), slope_offset(min_slope)
    num_sizes, num_slopes = 2 * num_bins, raw.shape[-2] - 2 * num_bins
    offsets = jnp.asarray([0.0] * num_sizes + [offset] * num_slopes, raw.dtype)[:, None]
    # One exp over all rows, though it would do for one slope at each end of the bin: the compiler then stores them.
    # Selects among rows that it does not store (sums with a bias that a scan cuts out of a stack) do not vectorise.
    exps = jnp.exp(jnp.clip(raw + offsets, -limit, limit))
    rows = rows_of(exps)
    sizes_rows, slope_rows = (rows[:num_bins], rows[num_bins:num_sizes]), rows[num_sizes:]
    if num_slopes < num_bins:
        end = jnp.full_like(value, math.exp(offset))
        slope_rows = [end, *slope_rows, end]
    # Size j is (exp_j + least) / total, which is min_size + (1 - num_bins min_size) softmax_j.
    totals = tuple(functools.reduce(jnp.add, sizes_rows[axis]) / (1 - num_bins * min_sizes[axis]) for axis in (0, 1))
    least = [min_sizes[axis] * totals[axis] for axis in (0, 1)]

    axis = 1 if by_height else 0
    index = bin_index(value * totals[axis], [row + least[axis] for row in sizes_rows[axis]])
    count = index.astype(value.dtype)
    starts = [(_sum_before(index, sizes_rows[axis]) + count * least[axis]) / totals[axis] for axis in (0, 1)]
    sizes = [(_pick(index, sizes_rows[axis]) + least[axis]) / totals[axis] for axis in (0, 1)]
    slope_exps = _pick(index, slope_rows[:-1]), _pick(index, slope_rows[1:])
    left, right = (jnp.log1p(exp) + min_slope for exp in slope_exps)
    chosen = Bin(starts[0], sizes[0], starts[1], sizes[1], left, right)
    width_exps, height_exps, _ = cut_rows(exps, num_bins, num_bins, num_slopes)
    return _Located(chosen, index, (width_exps, height_exps), totals, slope_exps)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4, 5))
def _locate(value, raw, num_bins: int, min_sizes, min_slope, by_height: bool) -> Bin:
    """The bin that holds `value` in [0, 1], by widths or by heights.

    Constant in `value`. The derivative by the parameters is written by hand: each bin's tangent goes by a mask, where
    autodiff would walk back through the chain of selects. It is that of softmax and softplus also where a raw parameter
    is clipped, so that one out there can come back.

    Shapes:
      value: [..., dim], raw: [..., 3 K + 1 or 3 K - 1, dim].
    """
    return _locate_with_residuals(value, raw, num_bins, min_sizes, min_slope, by_height).bin


@_locate.defjvp
@promoting
def _locate_jvp(num_bins, min_sizes, min_slope, by_height, primals, tangents):
    value, raw = primals
    located = _locate_with_residuals(value, raw, num_bins, min_sizes, min_slope, by_height)
    chosen, index, exps, totals, slope_exps = located
    num_slopes = tangents[1].shape[-2] - 2 * num_bins
    *sizes_dot, slopes_dot = cut_rows(tangents[1], num_bins, num_bins, num_slopes)
    numbers, number = _numbers(num_bins), index[..., None, :]
    is_before, is_at = numbers < number, numbers == number
    knots = _numbers(num_slopes) + (num_bins + 1 - num_slopes) // 2

    def starts_and_sizes(axis, start, size):
        # d softmax_j = softmax_j (d raw_j - sum_i softmax_i d raw_i), summed over the bins before, or taken at one.
        weighted = exps[axis] * sizes_dot[axis]
        mean = jnp.sum(weighted, axis=-2) / (1 - num_bins * min_sizes[axis])
        start_share = start - index.astype(start.dtype) * min_sizes[axis]
        start_dot = jnp.sum(jnp.where(is_before, weighted, 0), axis=-2) - start_share * mean
        size_dot = jnp.sum(jnp.where(is_at, weighted, 0), axis=-2) - (size - min_sizes[axis]) * mean
        return start_dot / totals[axis], size_dot / totals[axis]

    x_dot, width_dot = starts_and_sizes(0, chosen.x, chosen.width)
    y_dot, height_dot = starts_and_sizes(1, chosen.y, chosen.height)
    left_rate, right_rate = (exp / (1 + exp) for exp in slope_exps)
    left_dot = left_rate * jnp.sum(jnp.where(knots == number, slopes_dot, 0), axis=-2)
    right_dot = right_rate * jnp.sum(jnp.where(knots == number + 1, slopes_dot, 0), axis=-2)
    return chosen, Bin(x_dot, width_dot, y_dot, height_dot, left_dot, right_dot)
