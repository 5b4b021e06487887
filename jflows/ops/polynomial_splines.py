"""Monotone splines of [0, 1] onto itself whose pieces are polynomials of degree 1, 2 and 3.

Each is a pair of unit maps as in `jflows/ops/splines.py`, from raw parameters [..., rows, dim]. Zero raw parameters
give the identity.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jflows.ops import splines, varying
from jflows.ops.masks import cut_rows
from jflows.ops.splines import raw_limit, slope_from_raw
from jflows.typing import Array

MIN_END_SHARE = 0.01  # of the interval (0, 3 s) in which the end slope of a monotone cubic may lie
NEWTON_STEPS = 16  # doubles need 6 once Newton's method is at home; bisections before that are few


def sizes_from_raw(raw: Array, min_size: float) -> Array:
    """Sizes of bins that add up to 1, each at least min_size: a softmax.

    Shapes:
      raw: [..., K, dim] -> the same.
    """
    # Not exp(raw) over its sum: where all raw sizes are far below 0, the derivative of this quotient overflows.
    return min_size + (1 - raw.shape[-2] * min_size) * jax.nn.softmax(raw, axis=-2)


def linear_spline(u: Array, widths: Array, heights: Array) -> tuple[Array, Array]:
    """Piecewise-linear map; with the two sizes exchanged it is its own inverse.

        v = y_k + (u - x_k) h_k / w_k

    Source: Müller et al. 2019, arXiv:1808.03856, section 4.1. Differs: bins may have learned widths.

    Shapes:
      u: [..., dim], widths and heights: [..., K, dim], each adding up to 1 -> v, log dv/du: [..., dim].
    """
    index = splines.bin_index(u, splines.rows_of(widths))
    slope = splines.pick(index, heights) / splines.pick(index, widths)
    v = splines.sum_before(index, heights) + (u - splines.sum_before(index, widths)) * slope
    return v, jnp.log(slope)


class Pieces(NamedTuple):
    """Widths, heights and end slopes of all bins: [..., K, dim] each."""

    widths: Array
    heights: Array
    left: Array
    right: Array


def quadratic_pieces(raw: Array, min_width: float, min_slope: float) -> Pieces:
    """Bins of a quadratic spline whose slope is 1 at both ends, as tails that are the identity need.

    The slope is piecewise linear. Inner slopes u_j are scaled so that the area is 1 with 1 at both ends:
    scale = (1 - (w_0 + w_last) / 2) / sum_j u_j (w_j-1 + w_j) / 2.

    Shapes:
      raw: [..., K widths + (K - 1) inner slopes, dim] -> [..., K, dim] each.
    """
    num_bins = (raw.shape[-2] + 1) // 2
    raw_widths, raw_inner = cut_rows(raw, num_bins, num_bins - 1)
    widths = sizes_from_raw(raw_widths, min_width)
    inner = slope_from_raw(raw_inner, min_slope)
    area = jnp.sum(inner * (widths[..., :-1, :] + widths[..., 1:, :]) / 2, axis=-2, keepdims=True)
    inner = inner * (1 - (widths[..., :1, :] + widths[..., -1:, :]) / 2) / area
    one = jnp.ones_like(inner[..., :1, :])
    left, right = jnp.concatenate([one, inner], axis=-2), jnp.concatenate([inner, one], axis=-2)
    return Pieces(widths, widths * (left + right) / 2, left, right)


def cubic_pieces(raw: Array, min_width: float, min_height: float) -> Pieces:
    """Bins of a monotone cubic spline: Steffen's slopes at inner knots, learned ones at the ends.

        d_j = 2 min(s_j-1, s_j, p_j / 2),  p_j = (s_j-1 w_j + s_j w_j-1) / (w_j-1 + w_j)

    Source: Durkan et al. 2019, arXiv:1906.02145, section 3; Steffen 1990. Differs: end slopes stay inside (0, 3 s) by
    1 part in 100, so that no slope is 0.

    Shapes:
      raw: [..., K widths + K heights + 2 end slopes, dim] -> [..., K, dim] each.
    """
    num_bins = (raw.shape[-2] - 2) // 2
    raw_widths, raw_heights, raw_ends = cut_rows(raw, num_bins, num_bins, 2)
    widths, heights = sizes_from_raw(raw_widths, min_width), sizes_from_raw(raw_heights, min_height)
    chords = heights / widths
    before, after = chords[..., :-1, :], chords[..., 1:, :]
    parabola = before * widths[..., 1:, :] + after * widths[..., :-1, :]
    parabola = parabola / (widths[..., :-1, :] + widths[..., 1:, :])
    inner = 2 * jnp.minimum(jnp.minimum(before, after), parabola / 2)
    # A share of 1/3 makes the end slope that of the chord, which is where raw 0 has to lead.
    limit, inside = raw_limit(raw.dtype), 1 - 2 * MIN_END_SHARE
    offset = -math.log(inside / (1 / 3 - MIN_END_SHARE) - 1)
    share = MIN_END_SHARE + inside / (1 + jnp.exp(-jnp.clip(raw_ends + offset, -limit, limit)))
    first, last = 3 * chords[..., :1, :] * share[..., :1, :], 3 * chords[..., -1:, :] * share[..., 1:, :]
    left, right = jnp.concatenate([first, inner], axis=-2), jnp.concatenate([inner, last], axis=-2)
    return Pieces(widths, heights, left, right)


def polynomial_spline(u: Array, pieces: Pieces, degree: int) -> tuple[Array, Array]:
    """Quadratic (degree 2) or cubic Hermite (degree 3) spline.

        v = y_k + w_k c(t),  t = (u - x_k) / w_k,  dv/du = c'(t)
        degree 2:  c'(t) = d_k (1 - t) + d_k+1 t
        degree 3:  c'(t) = d_k (1 - t)^2 + 2 m t (1 - t) + d_k+1 t^2,  m = 3 s_k - d_k - d_k+1

    Source: Durkan et al. 2019, arXiv:1906.02145, section 3; Müller et al. 2019, arXiv:1808.03856, section 4.2.

    Shapes:
      u: [..., dim] -> v, log dv/du: [..., dim].
    """
    index = splines.bin_index(u, splines.rows_of(pieces.widths))
    width, height, left, right = (splines.pick(index, rows) for rows in pieces)
    t = splines.rounded_into((u - splines.sum_before(index, pieces.widths)) / width, 1, u)
    y, slope = _CURVES[degree](t, height / width, left, right)
    return splines.sum_before(index, pieces.heights) + width * y, jnp.log(slope)


def polynomial_spline_inverse(v: Array, pieces: Pieces, degree: int) -> tuple[Array, Array]:
    """Inverse of `polynomial_spline`: the stable root of a quadratic, or Newton's method kept inside a bracket.

    Shapes:
      v: [..., dim] -> u, log du/dv: [..., dim].
    Numerics: the root is exact to rounding; its derivatives are those of the implicit function theorem.
    """
    index = splines.bin_index(v, splines.rows_of(pieces.heights))
    width, height, left, right = (splines.pick(index, rows) for rows in pieces)
    chord = height / width
    rest = splines.rounded_into(v - splines.sum_before(index, pieces.heights), height, v) / width
    curve, solve = _CURVES[degree], _ROOTS[degree]
    t = splines.implicit_root(solve, curve, rest, chord, left, right)
    u = splines.sum_before(index, pieces.widths) + width * t
    return u, -jnp.log(curve(t, chord, left, right)[1])


def _quadratic_curve(t, chord, left, right):
    return t * (left + (right - left) * t / 2), left * (1 - t) + right * t


def _cubic_curve(t, chord, left, right):
    rest = 1 - t
    slope = left * rest * rest + 2 * (3 * chord - left - right) * t * rest + right * t * t
    return t * (left * rest * rest + t * (chord * (3 - 2 * t) - right * rest)), slope


def _quadratic_root(rest, chord, left, right):
    # Both terms of the denominator are positive; the discriminant is right^2 at t = 1, where rounding may lose it.
    root = jnp.sqrt(jnp.maximum(left * left + 2 * (right - left) * rest, 0))
    return jnp.where(rest >= chord, 1, jnp.clip(2 * rest / (left + root), 0, 1))


def _cubic_root(rest, chord, left, right):
    tolerance = 100 * float(jnp.finfo(rest.dtype).eps)

    def step(_, state):
        t, low, high = state
        value, slope = _cubic_curve(t, chord, left, right)
        is_low = value < rest
        low, high = jnp.where(is_low, t, low), jnp.where(is_low, high, t)
        newton = t - (value - rest) / slope
        # Newton's method alone could run in a circle between the ends of the bracket. A last step of rounding size may
        # leave the bracket, and must not be answered by a bisection.
        accepted = ((newton > low) & (newton < high)) | (jnp.abs(newton - t) <= tolerance)
        return jnp.where(accepted, newton, (low + high) / 2), low, high

    start = jnp.clip(rest / chord, 0, 1)
    t = varying.fori_loop(0, NEWTON_STEPS, step, (start, jnp.zeros_like(start), jnp.ones_like(start)))[0]
    return jnp.where(rest >= chord, 1, jnp.clip(t, 0, 1))


_CURVES = {2: _quadratic_curve, 3: _cubic_curve}
_ROOTS = {2: _quadratic_root, 3: _cubic_root}
