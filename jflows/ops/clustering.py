"""K-means: where the components of a mixture start."""

import jax
import jax.numpy as jnp
from jax import lax

from jflows.ops import varying
from jflows.ops.numerics import EXACT
from jflows.typing import Array, Key


def kmeans(key: Key, points: Array, num_clusters: int, num_iterations: int = 10) -> tuple[Array, Array]:
    """Lloyd's iterations from centres drawn by k-means++. A cluster that loses all its points keeps its centre.

    Source: Lloyd 1982 (Trans. Inf. Theory 28); Arthur and Vassilvitskii 2007 (SODA), section 2.2, for the start.

    Args:
      key: key by which the first centres are drawn.
      points: the points to cluster, at least one.
      num_clusters: K >= 1.
      num_iterations: number of Lloyd's iterations.
    Shapes:
      points: [count, dim] -> centres [K, dim], cluster of each point int [count].
    """
    count = points.shape[0]

    def squared_distances(centre: Array) -> Array:
        return jnp.sum((points - centre) ** 2, axis=-1)

    def add_centre(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centres, nearest = carry
        # Proportional to the squared distance from the centres so far; log(0) = -inf is never drawn unless all are.
        row = jax.random.categorical(jax.random.fold_in(key, index), jnp.log(nearest))
        return centres.at[index].set(points[row]), jnp.minimum(nearest, squared_distances(points[row]))

    first = points[jax.random.randint(key, (), 0, count)]
    centres = jnp.zeros((num_clusters, points.shape[1]), points.dtype).at[0].set(first)
    centres, _ = varying.fori_loop(1, num_clusters, add_centre, (centres, squared_distances(first)))

    def assign(centres: Array) -> Array:
        return jnp.argmin(lax.map(squared_distances, centres), axis=0)

    def update(_, centres: Array) -> Array:
        members = jax.nn.one_hot(assign(centres), num_clusters, dtype=points.dtype)
        sizes = members.sum(axis=0)[:, None]
        means = jnp.matmul(members.T, points, precision=EXACT) / jnp.maximum(sizes, 1)
        return jnp.where(sizes > 0, means, centres)

    centres = varying.fori_loop(0, num_iterations, update, centres)
    return centres, assign(centres)
