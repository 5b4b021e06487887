"""Rank-one maps of Rezende and Mohamed: the planar map, a shear along one direction, and the radial map around a point.

Both are steered by numbers that stay positive whatever the raw parameters are, so that they are always invertible.
Read next: `jflows/ops/sylvester.py`, the planar map with more than one direction.
"""

import math

import jax
import jax.numpy as jnp

from jflows.ops.numerics import EXACT
from jflows.ops.root_finding import invert_increasing
from jflows.typing import Array


def positive(raw: Array, minimum: float) -> Array:
    """A number above `minimum` in (0, 1), that is 1 at raw = 0 and grows linearly for large raw.

        minimum + (1 - minimum) softplus(raw + log(e - 1))

    Shapes:
      raw: any -> the same.
    """
    return minimum + (1 - minimum) * jax.nn.softplus(raw + math.log(math.e - 1))


def tanh_shear(p: Array, slope: Array) -> Array:
    """q = p + (slope - 1) tanh(p): increasing in p, with the derivative `slope` at 0 and 1 far away."""
    return p + (slope - 1) * jnp.tanh(p)


def tanh_shear_log_slope(p: Array, slope: Array) -> Array:
    """log dq/dp of `tanh_shear`, without cancellation for small slopes nor for large ones.

    With t = exp(-2 |p|): tanh^2 = (1 - t)^2 / (1 + t)^2 and tanh' = 4 t / (1 + t)^2; dq/dp = tanh^2 + slope tanh'.
    """
    t = jnp.exp(-2 * jnp.abs(p))
    return jnp.log((1 - t) ** 2 + 4 * slope * t) - 2 * jnp.log1p(t)


def tanh_shear_inverse(q: Array, slope: Array) -> Array:
    """Solves `tanh_shear`(p, slope) = q, with implicit derivatives.

    Shapes:
      q: [...], slope: broadcasts to it -> p: [...].
    """
    reach = jnp.abs(slope - 1) + 1  # |p - q| <= |slope - 1|
    return invert_increasing(lambda p: tanh_shear(p, slope), q, q - reach, q + reach)


def along(w: Array, z: Array) -> Array:
    """w^T z of each example; one product for a vector that all share, which a CPU does in half the time of a sum.

    Shapes:
      w: [dim] or [*batch, dim]; z: [*batch, dim] -> [*batch].
    """
    return jnp.matmul(z, w, precision=EXACT) if w.ndim == 1 else jnp.sum(w * z, axis=-1)


def planar_direction(w: Array, u: Array, min_slope: float) -> tuple[Array, Array]:
    """The vector u^ nearest to u, along w, for which w^T u^ >= min_slope - 1.

        u^ = u + (m(w^T u) - w^T u) w / |w|^2,   m(a) = positive(a) - 1

    Source: Rezende and Mohamed 2015, arXiv:1505.05770, appendix A.1. Differs: m(0) = 0, so that u = 0 gives the
    identity and u^ stays bounded as w goes to 0; and m stays above -1 by min_slope.

    Shapes:
      w, u: [..., dim] -> u^: [..., dim], slope: [...] = 1 + w^T u^.
    """
    dot = jnp.sum(w * u, axis=-1)
    slope = positive(dot, min_slope)
    squared = jnp.sum(w**2, axis=-1)
    safe = jnp.where(squared > 0, squared, 1.0)  # w = 0 leaves u alone, and gradients finite
    return u + ((slope - 1 - dot) / safe)[..., None] * w, slope


def radial_forward(z: Array, centre: Array, alpha: Array, slope: Array) -> tuple[Array, Array]:
    """x = z + beta (z - centre) / (alpha + r), r = |z - centre|, beta = alpha (slope - 1), with its log-det.

    With a = alpha / (alpha + r) in (0, 1], lengths across the radius grow by 1 - a + slope a and along it by
    1 - a^2 + slope a^2.

    Source: Rezende and Mohamed 2015, arXiv:1505.05770, eq. 14 and appendix A.2.

    Args:
      z: any points.
      centre: z_0 of the paper.
      alpha: positive.
      slope: positive; the derivative at the centre.
    Shapes:
      z: [..., dim], centre: [..., dim], alpha and slope: [...] -> x: [..., dim], log_det: [...].
    """
    offset = z - centre
    stretch, log_det = _radial_stretch(_length(offset), z.shape[-1], alpha, slope)
    return centre + offset * stretch[..., None], log_det


def radial_inverse(x: Array, centre: Array, alpha: Array, slope: Array) -> tuple[Array, Array]:
    """The inverse of `radial_forward` in closed form, with log|det dz/dx|.

    The radius R = |x - centre| = r + beta r / (alpha + r) is a quadratic equation for r.
    """
    offset = x - centre
    outer = _length(offset)
    b = alpha * slope - outer  # r^2 + b r - alpha R = 0
    root = jnp.sqrt(b**2 + 4 * alpha * outer)
    # Of the two ways to write the positive root, the one that does not cancel.
    r = jnp.where(b > 0, 2 * alpha * outer / (jnp.maximum(b, 0) + root), 0.5 * (root - b))
    stretch, log_det = _radial_stretch(r, x.shape[-1], alpha, slope)
    return centre + offset / stretch[..., None], -log_det


def _radial_stretch(r: Array, dim: int, alpha: Array, slope: Array) -> tuple[Array, Array]:
    near, far = alpha / (alpha + r), r / (alpha + r)  # they add up to 1, and no sum below has a negative term
    across = far + slope * near
    along = far * (1 + near) + slope * near**2
    return across, (dim - 1) * jnp.log(across) + jnp.log(along)


def _length(offset: Array) -> Array:
    squared = jnp.sum(offset**2, axis=-1)
    inside = squared == 0  # the derivative of the square root is infinite there
    return jnp.where(inside, 0.0, jnp.sqrt(jnp.where(inside, 1.0, squared)))
