"""Directions along which latents may show modes: random ones, principal axes, and those of extreme kurtosis."""

import functools

import jax
import jax.numpy as jnp

from jflows.ops import varying
from jflows.ops.factorisations import eigh, qr
from jflows.ops.numerics import EXACT
from jflows.typing import Array, Key

NUM_RANDOM, NUM_PRINCIPAL, NUM_STARTS = 24, 8, 4
MOST_AXES = 64  # in which directions of extreme kurtosis are searched
ROWS_PER_AXIS = 8  # at least
SCREENED = 256  # random directions, of which the most extreme are starts
STEPS, POWER_STEPS = 60, 4
SHIFT = 6.0  # twice the kurtosis of a normal, which keeps steps downwards from going too far


@functools.partial(jax.jit, static_argnames=("dim", "num"))
def random_directions(key: Key, dim: int, num: int) -> Array:
    """Directions drawn evenly from the sphere: [dim, num], columns of length 1."""
    return _unit(jax.random.normal(key, (dim, num)))


@jax.jit
def chosen_directions(key: Key, z: Array) -> tuple[Array, Array]:
    """Principal axes of rows z [num, dim], and directions of extreme kurtosis among these axes.

    Rows along the leading axes are scaled to variance 1. Directions are searched in the first eight of these, where
    modes that are far apart lie, and in up to 64, or as many as have eight rows each.

    Returns:
      principal: [dim, at most 8]; found: [dim, 16], directions of least kurtosis first; of length 1 along the axes.
    """
    num, dim = z.shape
    axes_key, *keys = jax.random.split(key, 3)
    count = max(1, min(dim, MOST_AXES, num // ROWS_PER_AXIS))
    axes = leading_axes(axes_key, z, count)
    along = jnp.matmul(z - z.mean(axis=0), axes, precision=EXACT)
    spread = along.std(axis=0)
    scaled, axes = along / jnp.where(spread > 0, spread, 1.0), axes / jnp.where(spread > 0, spread, 1.0)
    parts = []
    for own, size in zip(keys, (min(count, NUM_PRINCIPAL), count), strict=True):
        parts.append(axes[:, :size] @ extreme_kurtosis(own, scaled[:, :size]))
    least, most = zip(*(jnp.split(part, 2, axis=1) for part in parts), strict=True)
    return _unit(axes[:, :NUM_PRINCIPAL]), _unit(jnp.concatenate([*least, *most], axis=1))


def leading_axes(key: Key, z: Array, count: int) -> Array:
    """The leading principal axes of rows [num, dim], by largest variance first: [dim, count], orthonormal.

    Of many dimensions, they are approximate: a random subspace is multiplied by the covariance four times.

    Source: Halko, Martinsson and Tropp 2011, SIAM Review 53, algorithm 4.4.
    """
    centred = z - z.mean(axis=0)
    covary = lambda w: jnp.matmul(centred.T, jnp.matmul(centred, w, precision=EXACT), precision=EXACT) / len(z)
    if z.shape[1] <= 2 * MOST_AXES:
        return eigh(covary(jnp.eye(z.shape[1], dtype=z.dtype)))[1][:, ::-1][:, :count]
    subspace = qr(jax.random.normal(key, (z.shape[1], count), z.dtype))[0]
    for _ in range(POWER_STEPS):
        subspace = qr(covary(subspace))[0]
    turn = eigh(jnp.matmul(subspace.T, covary(subspace), precision=EXACT))[1][:, ::-1]
    return jnp.matmul(subspace, turn, precision=EXACT)


def extreme_kurtosis(key: Key, z: Array) -> Array:
    """Directions of least kurtosis, then of largest, that are reached from the most extreme of 256 random ones.

        down: w <- (6 w - E[z (w z)^3]) / |.|,      up: w <- E[z (w z)^3] / |.|

    Two modes of about equal weight have a kurtosis down to 1; that of a small mode apart from a large one is above 3 if
    its share is below 0.21. More dimensions than the root of the number of rows hide both among chance extremes.

    Source: Pena and Prieto 2001, Journal of the American Statistical Association 96, 1433-1445, sections 3 and 4 (both
    extremes); the step upwards is that of Hyvarinen and Oja 1997, Neural Computation 9, eq. 17, without a shift.

    Args:
      z: rows of mean 0 and covariance 1, [num, dim].
    Returns:
      [dim, 8], columns of length 1.
    """
    cubes = lambda w: jnp.matmul(z.T, jnp.matmul(z, w, precision=EXACT) ** 3, precision=EXACT) / len(z)
    tried = random_directions(key, z.shape[1], SCREENED).astype(z.dtype)
    order = jnp.argsort(jnp.sum(tried * cubes(tried), axis=0))

    def step(_: Array, both: tuple[Array, Array]) -> tuple[Array, Array]:
        return _unit(SHIFT * both[0] - cubes(both[0])), _unit(cubes(both[1]))

    starts = tried[:, order[:NUM_STARTS]], tried[:, order[-NUM_STARTS:]]
    return jnp.concatenate(varying.fori_loop(0, STEPS, step, starts), axis=1)


def _unit(w: Array) -> Array:
    length = jnp.linalg.norm(w, axis=0)
    return w / jnp.where(length > 0, length, 1.0)
