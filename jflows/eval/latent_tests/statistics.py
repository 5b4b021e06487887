"""What is measured of one set of latents: moments, Kolmogorov-Smirnov distances, correlations, a classifier's success.

Pure functions on arrays. The same are applied to draws of the base, see `null.py`, so that nothing here needs a formula
for its distribution. Read next: `classifier.py`, then `report.py`, which ranks latents among draws of the base.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc, ndtr

from jflows.eval.latent_tests.classifier import Rival, aurocs
from jflows.ops.numerics import EXACT
from jflows.typing import Array

MOMENTS = ("mean", "variance", "skewness", "kurtosis")


class Laws(NamedTuple):
    """The distribution functions of the base where no formula is known: sorted draws, of which ranks are read off.

    Attributes:
      dims: [dim, points] of each dimension; slices: [num_slices, points] along each direction; norms: [1, points].
      correlations: [dim, dim] of the dimensions with each other.
    """

    dims: Array
    slices: Array
    norms: Array
    correlations: Array


class Reference(NamedTuple):
    """What every set of latents is measured against, the same for all sets.

    Attributes:
      directions: [dim, num_slices], columns of length 1.
      laws: None for N(0, I), of which they are known.
      rival: draws of the base, from which a classifier is to tell the latents.
    """

    directions: Array
    laws: Laws | None
    rival: Rival


class Statistics(NamedTuple):
    """What was measured of one set of latents, or of several along the first axis: arrays of JAX or of NumPy.

    Attributes:
      moments: [4, dim], see `moments`.
      ks: [dim], Kolmogorov-Smirnov distances of each dimension.
      sliced_ks: [], the mean of the distances along all directions.
      radius: [], the distance of the norms.
      correlation: [], the largest |r_ij - that of the base|, i not j.
      classifier: [num_groups], areas under the curve of classifiers, of which the first is that of all rows.
    """

    moments: Any
    ks: Any
    sliced_ks: Any
    radius: Any
    correlation: Any
    classifier: Any


def measured(z: Array, reference: Reference) -> Statistics:
    """All statistics of one set of latents [num, dim]."""
    shadows, products = _products(z, reference)
    in_order = np.sort(np.asarray(shadows), axis=1)  # XLA's sort on a CPU takes 80 times as long
    ks, sliced_ks, radius = _distances(jnp.asarray(in_order), reference.laws, z.shape[1])
    return Statistics(products[0], ks, sliced_ks, radius, *products[1:])


@jax.jit
def _products(z: Array, reference: Reference) -> tuple[Array, tuple[Array, ...]]:
    """Dimensions, slices and norms, a row each; and the statistics that need no order."""
    slices = jnp.matmul(z, reference.directions, precision=EXACT)
    shadows = jnp.concatenate([z, slices, jnp.linalg.norm(z, axis=1, keepdims=True)], axis=1).T
    apart = correlations(z) - (0.0 if reference.laws is None else reference.laws.correlations)
    off = jnp.where(jnp.eye(z.shape[1], dtype=bool), 0.0, jnp.abs(apart))
    return shadows, (moments(z), off.max(), aurocs(z, reference.rival))


@functools.partial(jax.jit, static_argnames="dim")
def _distances(in_order: Array, laws: Laws | None, dim: int) -> tuple[Array, Array, Array]:
    """The distances of dimensions [dim], of slices on average [], and of norms [], from sorted values, a row each."""
    if laws is None:
        shares = jnp.concatenate([ndtr(in_order[:-1]), gammainc(0.5 * dim, 0.5 * in_order[-1:] ** 2)])
    else:
        shares = shares_below(in_order, jnp.concatenate([laws.dims, laws.slices, laws.norms]))
    found = ks_distances(shares)
    return found[:dim], found[dim:-1].mean(), found[-1]


def moments(z: Array) -> Array:
    """Mean, log variance, skewness and log kurtosis of every dimension: [num, dim] -> [4, dim].

        m_k = mean of (z - mean)^k,   skewness = m_3 / m_2^(3/2),   kurtosis = m_4 / m_2^2

    The logarithms make deviations to both sides alike: those of the sample kurtosis reach further up than down.
    A dimension that is constant has a skewness of 0, and finite logarithms.
    """
    mean = z.mean(axis=0)
    centred = z - mean
    tiny = jnp.finfo(z.dtype).tiny
    variance = jnp.maximum(jnp.mean(centred**2, axis=0), tiny)
    scaled = centred * jax.lax.rsqrt(variance)
    kurtosis = jnp.maximum(jnp.mean(scaled**4, axis=0), tiny)
    return jnp.stack([mean, jnp.log(variance), jnp.mean(scaled**3, axis=0), jnp.log(kurtosis)])


def ks_distances(shares: Array) -> Array:
    """The largest distance between an empirical distribution function and a given one: [k, num] -> [k].

        D = max_i max(i / n - F(z_(i)), F(z_(i)) - (i - 1) / n),   z_(1) <= ... <= z_(n)

    Source: Massey 1951, Journal of the American Statistical Association 46, section 2 (the statistic only).

    Args:
      shares: F(z_(i)), in rising order along the last axis.
    """
    num = shares.shape[-1]
    steps = jnp.arange(num + 1, dtype=shares.dtype) / num
    return jnp.maximum(jnp.max(steps[1:] - shares, axis=-1), jnp.max(shares - steps[:-1], axis=-1))


def shares_below(values: Array, law: Array) -> Array:
    """The distribution functions of sorted draws [k, points], straight between them, at values [k, num]."""
    shares = jnp.linspace(0.0, 1.0, law.shape[1], dtype=values.dtype)
    return jax.vmap(lambda at, points: jnp.interp(at, points, shares))(values, law)


@jax.jit
def correlations(z: Array) -> Array:
    """Pearson's correlations of all pairs of dimensions: [num, dim] -> [dim, dim]; 0 for constant dimensions."""
    centred = z - z.mean(axis=0)
    length = jnp.linalg.norm(centred, axis=0)
    unit = centred / jnp.where(length > 0, length, 1.0)
    return jnp.matmul(unit.T, unit, precision=EXACT)
