"""Monotone functions as integrals of a positive one, by a quadrature that is itself an increasing function.

The integrand is known at fixed, evenly spaced nodes and taken as linear between them, and constant beyond the last:
the composite trapezoidal rule, carried on to any upper limit. So the integral, its derivative and its inverse are exact
for each other whatever the integrand is, which a Gauss or Clenshaw-Curtis rule that is scaled to the upper limit is
not: its derivative differs from the integrand, and may be negative where the rule is too coarse.
"""

import jax.numpy as jnp

from jflows.typing import Array


def quadrature_nodes(num_nodes: int, bound: float, dtype=jnp.float32) -> Array:
    """Evenly spaced nodes on [-bound, bound]; with an odd number of them, 0 is one."""
    return jnp.linspace(-bound, bound, num_nodes, dtype=dtype)


def integral(x: Array, integrand: Array, bound: float) -> tuple[Array, Array]:
    """int_0^x f(t) dt and f(x).

    Written as a sum over the nodes, each with the hat function that is 1 there and 0 at the other nodes; the first and
    the last hat stay 1 beyond. So nothing is searched or gathered.

    Args:
      x: upper limits.
      integrand: positive values of f at `quadrature_nodes`, an odd number of them.
      bound: half-width of the interval of the nodes.
    Shapes:
      x: [..., dim], integrand: [..., num_nodes, dim], with or without the leading axes -> both [..., dim].
    """
    num_nodes = integrand.shape[-2]
    nodes = quadrature_nodes(num_nodes, bound, x.dtype)[:, None]
    width = 2 * bound / (num_nodes - 1)
    areas, hats = _hats((x[..., None, :] - nodes) / width)
    areas_at_0, _ = _hats(-nodes / width)
    return width * jnp.sum(integrand * (areas - areas_at_0), axis=-2), jnp.sum(integrand * hats, axis=-2)


def integral_inverse(z: Array, integrand: Array, bound: float) -> Array:
    """The upper limit x at which `integral` is z: a quadratic equation between two nodes, a linear one beyond them.

    Shapes:
      z: [..., dim], integrand: [..., num_nodes, dim], with or without the leading axes -> x: [..., dim].
    """
    num_nodes = integrand.shape[-2]
    nodes = quadrature_nodes(num_nodes, bound, z.dtype)[:, None]
    width = 2 * bound / (num_nodes - 1)
    left, right = integrand[..., :-1, :], integrand[..., 1:, :]
    from_first = jnp.cumsum(0.5 * width * (left + right), axis=-2)
    at_0 = from_first[..., num_nodes // 2 - 1, :]  # the middle node is 0
    low, high = -at_0, from_first[..., -1, :] - at_0
    starts = jnp.concatenate([jnp.zeros_like(left[..., :1, :]), from_first[..., :-1, :]], axis=-2) - at_0[..., None, :]

    inside = jnp.clip(z, low, high)
    reached = inside[..., None, :] >= starts
    panel = reached & ~jnp.concatenate([reached[..., 1:, :], jnp.zeros_like(reached[..., :1, :])], axis=-2)
    start, f_left, f_right, node = (
        jnp.sum(jnp.where(panel, values, 0), axis=-2) for values in (starts, left, right, nodes[:-1])
    )
    rest = inside - start  # = f_left u + (f_right - f_left) u^2 / (2 width), for x = node + u
    square = f_left**2 + 2 * rest * (f_right - f_left) / width  # of f(x), which lies between its neighbours
    f = jnp.sqrt(jnp.maximum(square, jnp.minimum(f_left, f_right) ** 2))
    beyond = jnp.minimum(z - low, 0) / integrand[..., 0, :] + jnp.maximum(z - high, 0) / integrand[..., -1, :]
    return node + 2 * rest / (f_left + f) + beyond


def _hats(offset: Array) -> tuple[Array, Array]:
    """The hat functions' integrals, up to constants, and values; offset [..., num_nodes, dim] in units of the width."""
    index = jnp.arange(offset.shape[-2])[:, None]
    is_first, is_last = index == 0, index == offset.shape[-2] - 1
    rising, falling = jnp.clip(1 + offset, 0, 1), 1 - jnp.clip(offset, 0, 1)
    area_left = jnp.where(is_first, jnp.minimum(offset, 0), 0.5 * rising**2)
    area_right = jnp.where(is_last, jnp.maximum(offset, 0), -0.5 * falling**2)
    return area_left + area_right, jnp.where(is_first, 1, rising) * jnp.where(is_last, 1, falling)
