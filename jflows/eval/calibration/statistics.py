"""Width, place and ks of numbers that should be uniform, the same of sets that are, and how far out a set is."""

import functools
from typing import NamedTuple

import numpy as np

NARROW, WIDE, PLACE, KS = 0.7, 0.2, 0.05, 0.05  # shares of the level: a density that is too narrow misleads
MOST_SETS = 50_000  # of ranks
CHUNK = 4_000_000  # numbers that are drawn at once
RESOLUTION = 2.0**-24  # of u in float32; numbers nearer to 0 or 1 have the normal score of this


class UniformNull(NamedTuple):
    """Statistics of uniform sets: of each dimension [num_sets, dim, 3], and of all numbers together [num_sets, 3]."""

    dims: np.ndarray
    whole: np.ndarray


def of_uniforms(u: np.ndarray) -> np.ndarray:
    """Width, place and ks of rows of numbers in [0, 1]: [k, num] -> [k, 3]."""
    from scipy.special import ndtri

    g = ndtri(np.clip(u, RESOLUTION, 1 - RESOLUTION))
    steps = np.arange(u.shape[1] + 1) / u.shape[1]
    in_order = np.sort(u, axis=1)
    ks = np.maximum((steps[1:] - in_order).max(axis=1), (in_order - steps[:-1]).max(axis=1))
    return np.stack([np.log(np.mean(g**2, axis=1)), g.mean(axis=1), ks], axis=1)


def of_counts(counts: np.ndarray, of_density: bool) -> np.ndarray:
    """Width, place and ks of sets of ranks, given the share of each: [sets, steps] -> [sets, 3].

    Args:
      of_density: whether ranks are those of the density, of which only low ones are out of the way.
    """
    from scipy.special import ndtri

    steps = counts.shape[1]
    u = (np.arange(steps) + 0.5) / steps
    if of_density:
        sizes, places = -np.log(u), np.zeros(steps)
    else:
        sizes, places = ndtri(u) ** 2, ndtri(u)
    width = np.log(np.maximum(counts @ sizes, np.finfo(np.float64).tiny) / sizes.mean())
    ks = np.abs(counts.cumsum(axis=1) - np.arange(1, steps + 1) / steps).max(axis=1)
    return np.stack([width, counts @ places, ks], axis=1)


def far_out(statistics: np.ndarray, num: int) -> np.ndarray:
    """How far out sets of `num` numbers are, as -log p of the furthest statistic over its share: [k, 3] -> [k].

    The p-values are those of large numbers, good enough to compare statistics with each other. Differs from ranks in
    that they go on below 1 / k.
    """
    from scipy.stats import norm

    spread = statistics[:, :2].std(axis=0)
    width, place = ((statistics[:, :2] - statistics[:, :2].mean(axis=0)) / np.where(spread > 0, spread, 1.0)).T
    # The first term of Kolmogorov's series, an upper bound of the p-value.
    of_ks = np.minimum(0.0, np.log(2) - 2 * num * statistics[:, 2] ** 2)
    log_p = (norm.logsf(width), norm.logcdf(width), np.log(2) + norm.logsf(np.abs(place)), of_ks)
    shares = np.log((NARROW, WIDE, PLACE, KS))
    return -np.min([each - share for each, share in zip(log_p, shares, strict=True)], axis=0)


@functools.lru_cache(maxsize=8)
def rank_null(num: int, steps: int, of_density: bool, num_sets: int, seed: int) -> np.ndarray:
    """The statistics of sets of `num` uniform ranks in 0..steps-1: [at most 50,000, 3]."""
    random, size = np.random.RandomState(seed % 2**32), max(1, CHUNK // steps)
    num_sets, found = min(num_sets, MOST_SETS), []
    for start in range(0, num_sets, size):
        counts = random.multinomial(num, np.full(steps, 1 / steps), min(size, num_sets - start))
        found.append(of_counts(counts / num, of_density))
    return np.concatenate(found)


@functools.lru_cache(maxsize=8)
def uniform_null(num: int, dim: int, num_sets: int, seed: int) -> UniformNull:
    """The statistics of sets of uniform numbers [num, dim]; time grows with num_sets * num * dim."""
    random, size = np.random.RandomState(seed % 2**32), max(1, CHUNK // (num * dim))
    dims, whole = [], []
    for start in range(0, num_sets, size):
        u = random.random_sample((min(size, num_sets - start), dim, num))
        dims.append(of_uniforms(u.reshape(-1, num)).reshape(len(u), dim, 3))
        whole.append(of_uniforms(u.reshape(len(u), -1)))
    return UniformNull(np.concatenate(dims), np.concatenate(whole))
