"""A classifier two-sample test: how well latents can be told from draws of the base by rows that it was not fitted to.

Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3. Differs: the classifier is a ridge regression on fixed
features, which is fitted in closed form, so that it can be fitted to hundreds of draws of the base too; it is fitted to
each half of the rows and tried on the other; and its success is the area under the curve, not the accuracy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.ops.factorisations import qr, solve
from jflows.typing import Array, Key

MOST_COLUMNS = 64  # that enter with their squares; of more dimensions, so many random combinations
NUM_WAVES = 64
RIDGE = 0.1  # of the number of rows: what a feature of variance 1 must explain to be worth its noise


class Rival(NamedTuple):
    """Draws of the base, and how they and latents are turned into features.

    Attributes:
      centre, scale: [dim], mean and deviation of the base.
      mix: [dim, columns], which columns or combinations enter with their squares.
      waves, phases: [dim, num_waves] and [num_waves], random frequencies of cosines (Rahimi and Recht 2007, section 3).
      features: [num, num_features] of the draws.
      halves: [num_groups, 2, size], the rows of each group in two halves, padded; the first group is that of all rows.
      counts: [num_groups, 2, size], 1 for rows and 0 for padding.
    """

    centre: Array
    scale: Array
    mix: Array
    waves: Array
    phases: Array
    features: Array
    halves: tuple[Array, ...]
    counts: tuple[Array, ...]


def make_rival(key: Key, draws: Array, centre: np.ndarray, scale: np.ndarray, group: np.ndarray | None) -> Rival:
    """The rival made of draws of the base [num, dim], for groups of rows [num] or None."""
    *feature_keys, order_key = jax.random.split(key, 4)
    order = np.asarray(jax.random.permutation(order_key, len(draws)))
    sets = [[order]]
    if group is not None:
        sets.append([order[group[order] == name] for name in np.unique(group[group >= 0])])
    halves, counts = zip(*(_in_halves(rows) for rows in sets), strict=True)
    start = (jnp.asarray(centre, draws.dtype), jnp.asarray(scale, draws.dtype))
    mix, waves, phases, of_draws = _random_parts(feature_keys, draws, *start)
    as_floats = tuple(jnp.asarray(count, draws.dtype) for count in counts)
    return Rival(*start, mix, waves, phases, of_draws, halves, as_floats)


@jax.jit
def _random_parts(keys: list[Key], draws: Array, centre: Array, scale: Array) -> tuple[Array, Array, Array, Array]:
    """Columns, frequencies and phases, and the features of draws by them."""
    dim, dtype = draws.shape[1], draws.dtype
    mix_key, wave_key, phase_key = keys
    if dim <= MOST_COLUMNS:
        mix = jnp.eye(dim, dtype=dtype)
    else:
        mix = qr(jax.random.normal(mix_key, (dim, MOST_COLUMNS), dtype))[0]
    waves = jax.random.normal(wave_key, (dim, NUM_WAVES), dtype) / np.sqrt(dim)
    phases = jax.random.uniform(phase_key, (NUM_WAVES,), dtype, maxval=2 * np.pi)
    return mix, waves, phases, _features(draws, centre, scale, mix, waves, phases)


def _in_halves(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of groups of several sizes as one array [num_groups, 2, size], and which entries are rows."""
    size = max(-(-len(rows) // 2) for rows in groups)
    halves, counts = np.zeros((len(groups), 2, size), np.int32), np.zeros((len(groups), 2, size))
    for number, rows in enumerate(groups):
        for half in range(2):
            own = rows[half::2]
            halves[number, half, : len(own)], counts[number, half, : len(own)] = own, 1
    return halves, counts


def features(z: Array, rival: Rival) -> Array:
    """What the classifier sees of latents [num, dim]: columns, their squares, and cosines: [num, num_features]."""
    return _features(z, rival.centre, rival.scale, rival.mix, rival.waves, rival.phases)


def _features(z: Array, centre: Array, scale: Array, mix: Array, waves: Array, phases: Array) -> Array:
    scaled = (z - centre) / scale
    columns = scaled @ mix
    return jnp.concatenate([columns, columns**2 - 1, jnp.cos(scaled @ waves + phases)], axis=1)


def aurocs(z: Array, rival: Rival) -> Array:
    """The area under the curve for all rows, then for the rows of each group: [num_groups + 1, or 1].

    It is the probability that the classifier finds a latent more like latents than a draw of the base; 1/2 by chance.
    """
    own = features(z, rival)
    of_sets = (
        jax.vmap(_crossed)(own[rows], rival.features[rows], counts)
        for rows, counts in zip(rival.halves, rival.counts, strict=True)
    )
    return jnp.concatenate(list(of_sets))


def _crossed(own: Array, other: Array, counts: Array) -> Array:
    """Fits to one half of the rows and tries the other, both ways: [2, size, num_features] twice, [2, size] -> []."""
    fit_to_first = _tried(own[0], other[0], counts[0], own[1], other[1], counts[1])
    return 0.5 * (fit_to_first + _tried(own[1], other[1], counts[1], own[0], other[0], counts[0]))


def _tried(own: Array, other: Array, count: Array, new: Array, new_other: Array, new_count: Array) -> Array:
    total = count.sum()
    mean = 0.5 * (count @ own + count @ other) / total
    own, other = ((values - mean) * count[:, None] for values in (own, other))
    scatter = own.T @ own + other.T @ other + 2 * RIDGE * total * jnp.eye(own.shape[1], dtype=own.dtype)
    weights = solve(scatter, (own.sum(axis=0) - other.sum(axis=0))[:, None])[:, 0]
    scores, others = new @ weights, new_other @ weights
    wins = (scores[:, None] > others) + 0.5 * (scores[:, None] == others)
    return new_count @ wins @ new_count / new_count.sum() ** 2
