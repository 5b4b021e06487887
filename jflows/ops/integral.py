"""Monotone functions as integrals of a positive one, by a quadrature that is itself an increasing function.

The integrand is known at fixed, evenly spaced nodes and taken as linear between them, and constant beyond the last:
the composite trapezoidal rule, carried on to any upper limit. So the integral, its derivative and its inverse are exact
for each other whatever the integrand is, which a Gauss or Clenshaw-Curtis rule that is scaled to the upper limit is
not: its derivative differs from the integrand, and may be negative where the rule is too coarse.
"""

import jax.numpy as jnp
import numpy as np

from jflows.ops.numerics import EXACT
from jflows.typing import Array


def quadrature_nodes(num_nodes: int, bound: float) -> np.ndarray:
    """Evenly spaced nodes on [-bound, bound]; with an odd number of them, 0 is one."""
    return np.linspace(-bound, bound, num_nodes)


def integral(x: Array, integrand: Array, bound: float) -> tuple[Array, Array]:
    """int_0^x f(t) dt and f(x).

    Args:
      x: upper limits.
      integrand: positive values of f at `quadrature_nodes`, an odd number of them.
      bound: half-width of the interval of the nodes.
    Shapes:
      x: [..., dim], integrand: [..., num_nodes, dim], with or without the leading axes -> both [..., dim].
    """
    nodes, width, left, right, areas = _panels(x, integrand, bound)
    share = jnp.clip((x[..., None, :] - nodes[:-1]) / width, 0, 1)  # of each panel, how much lies below x
    area = width * jnp.sum(share * (left * (1 - 0.5 * share) + right * (0.5 * share)), axis=-2)
    below = jnp.minimum(x + bound, 0) * integrand[..., 0, :]
    above = jnp.maximum(x - bound, 0) * integrand[..., -1, :]
    # Weights of the nodes around x, all positive: adding up differences of f would lose the digits of a small f(x).
    before = jnp.concatenate([jnp.ones_like(share[..., :1, :]), share], axis=-2)
    after = jnp.concatenate([share, jnp.zeros_like(share[..., :1, :])], axis=-2)
    return area - _at_0(areas) + below + above, jnp.sum(integrand * before * (1 - after), axis=-2)


def integral_inverse(z: Array, integrand: Array, bound: float) -> Array:
    """The upper limit x at which `integral` is z: a quadratic equation between two nodes, a linear one beyond them.

    Shapes:
      z: [..., dim], integrand: [..., num_nodes, dim], with or without the leading axes -> x: [..., dim].
    """
    nodes, width, left, right, areas = _panels(z, integrand, bound)
    at_0, zeros = _at_0(areas), jnp.zeros_like(areas[..., :1, :])
    low, high = -at_0, areas[..., -1, :] - at_0
    starts = jnp.concatenate([zeros, areas[..., :-1, :]], axis=-2) - at_0[..., None, :]

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


def _panels(like: Array, integrand: Array, bound: float) -> tuple[Array, float, Array, Array, Array]:
    """Nodes, their distance, f at the left and right end of every panel, and the integral up to its right end."""
    num_nodes = integrand.shape[-2]
    nodes, width = quadrature_nodes(num_nodes, bound), 2 * bound / (num_nodes - 1)
    left, right = integrand[..., :-1, :], integrand[..., 1:, :]
    # As a product: XLA's cumulative sum is slow on a CPU, and slow to compile.
    up_to = jnp.tri(num_nodes - 1, dtype=integrand.dtype)
    areas = jnp.einsum("kj,...jd->...kd", up_to, 0.5 * width * (left + right), precision=EXACT)
    return jnp.asarray(nodes[:, None], like.dtype), width, left, right, areas


def _at_0(areas: Array) -> Array:
    return areas[..., areas.shape[-2] // 2 - 1, :]  # the middle node is 0
