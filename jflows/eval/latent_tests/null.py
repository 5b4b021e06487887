"""`latent_null`: the statistics of `statistics.py` for sets drawn from the base itself, as large as the latents.

Read next: `report.py`, which ranks latents among them.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import MOST, real_numbers
from jflows.eval.latent_tests.classifier import make_rival
from jflows.eval.latent_tests.statistics import Laws, Reference, Statistics, correlations, measured
from jflows.options import Count, Option, Seed, checked
from jflows.typing import Array, Key

LEAST_ROWS = 20  # of latents, and of each group: the classifier is fitted to half of them
NUM_SLICES = 64
LAW_SETS = 8  # sets of draws from which distribution functions of the base are read, where no formula is known
MOST_POINTS = 2048  # of each such function
SAME_IN_ALL_SETS, SETS, LAWS = range(3)  # folded into the key

Draw = Callable[[Key], Any]
"""Draws a set of latents from the base, as large as the set to be tested: key -> [num, *latent_shape]."""


class LatentNull(NamedTuple):
    """What the statistics of latents are when these are drawn from the base; made by `latent_null`.

    Attributes:
      num, dim: rows and entries of each set.
      reference: what sets are measured against.
      statistics: those of all sets, with the sets along the first axis, in NumPy.
      groups: the names of the groups of rows, in the order of `statistics.classifier[:, 1:]`; () without groups.
    """

    num: int
    dim: int
    reference: Reference
    statistics: Statistics
    groups: tuple[int, ...]

    @property
    def num_sets(self) -> int:
        """The number of sets."""
        return len(self.statistics.radius)


@checked
def latent_null(
    num: Annotated[int, Option(low=LEAST_ROWS)],
    dim: Count,
    draw: Draw | None = None,
    group: ArrayLike | None = None,
    *,
    num_sets: Annotated[int, Option(low=19)] = 199,
    seed: Seed = 0,
    on_set: Callable[[int], None] | None = None,
) -> LatentNull:
    """Draws sets of latents from the base and measures them; it can serve many sets of latents of one size.

    Time grows in proportion to num_sets * num * dim; a p-value is at least 1 / (num_sets + 1).

    Args:
      num: number of rows of the latents that are to be tested, at least 20.
      dim: number of entries of each, so many as all axes behind the first have together.
      draw: draws a set from the base, `key -> [num, ...]`; row i has the context of row i of the latents, if the base
        depends on it. It is called outside of `jax.jit`, so it may use any library. None stands for N(0, I), whose
        distribution functions are known; those of other bases are read from 8 further sets.
      group: the groups of the rows, such as classes, int [num]; each has a classifier of its own. Rows with a negative
        number are in no group, and None has no groups.
      num_sets: number of sets, at least 19, which lets p-values reach 0.05.
      seed: seed of all draws.
      on_set: a function that is called with the number of sets that are measured, to show progress.
    Raises:
      InvalidTypeError: if `draw` is no function.
      InvalidValueError: if numbers are out of range, a group has less than 20 rows, or draws are not finite, or have
        another shape.
    """
    if draw is not None and not callable(draw):
        rule = "must be a function of a key that draws a set of latents, or None for N(0, I)"
        fix = "That of a flow is `base_of_flow(flow, variables, num)`."
        raise InvalidTypeError("latent_null", "draw", rule, kind_of(draw), fix)
    groups = None if group is None else _checked_groups(np.asarray(group), num)
    key = jax.random.key(seed)
    sample = checked_draw("latent_null", draw, num, dim)
    same_key, set_key, law_key = (jax.random.fold_in(key, part) for part in (SAME_IN_ALL_SETS, SETS, LAWS))
    reference = _reference(same_key, law_key, sample, dim, draw is None, groups)
    found = []
    for own in jax.random.split(set_key, num_sets):
        found.append(measured(sample(own), reference))
        if on_set is not None:
            on_set(len(found))
    statistics = Statistics(*(np.stack([np.asarray(each) for each in part]) for part in zip(*found, strict=True)))
    names = () if groups is None else tuple(np.unique(groups[groups >= 0]).tolist())
    return LatentNull(num, dim, reference, statistics, names)


def _reference(
    key: Key, law_key: Key, sample: Callable[[Key], Array], dim: int, is_normal: bool, group: np.ndarray | None
) -> Reference:
    direction_key, draw_key, rival_key = jax.random.split(key, 3)
    draws = sample(draw_key)
    directions = _directions(direction_key, dim)
    if is_normal:
        return Reference(directions, None, make_rival(rival_key, draws, np.zeros(dim), np.ones(dim), group))
    many = np.concatenate([np.asarray(sample(own)) for own in jax.random.split(law_key, LAW_SETS)])
    spread = many.std(axis=0)
    rival = make_rival(rival_key, draws, many.mean(axis=0), np.where(spread > 0, spread, 1.0), group)
    shares = np.linspace(0.0, 1.0, min(MOST_POINTS, len(many)))
    points = lambda values: jnp.asarray(np.quantile(values, shares, axis=0).T, draws.dtype)
    norms = np.linalg.norm(many, axis=1, keepdims=True)
    laws = Laws(points(many), points(many @ np.asarray(directions)), points(norms), correlations(jnp.asarray(many)))
    return Reference(directions, laws, rival)


@functools.partial(jax.jit, static_argnames="dim")
def _directions(key: Key, dim: int) -> Array:
    drawn = jax.random.normal(key, (dim, NUM_SLICES))
    return drawn / jnp.linalg.norm(drawn, axis=0)


def checked_draw(where: str, draw: Draw | None, num: int, dim: int) -> Callable[[Key], Array]:
    """A function that draws [num, dim], and refuses what is not that; None draws from N(0, I)."""
    if draw is None:
        return lambda key: jax.random.normal(key, (num, dim))

    def sample(key: Key) -> Array:
        rule = f"must draw {num:,} latents of {dim:,} entries"
        drawn = draw(key)
        if not isinstance(drawn, jax.Array) or not jnp.issubdtype(drawn.dtype, jnp.floating):
            drawn = real_numbers(where, "draw", drawn, rule)
        drawn = jnp.asarray(drawn, jnp.result_type(float))
        if drawn.ndim < 2 or len(drawn) != num or drawn.size != num * dim:
            raise InvalidValueError(where, "draw", rule, f"shape {drawn.shape}")
        if not bool((jnp.abs(drawn) <= MOST).all()):
            rule = f"must draw finite latents of at most {MOST:g} in size"
            raise InvalidValueError(where, "draw", rule, "NaN or larger ones")
        return drawn.reshape(num, dim)

    return sample


def _checked_groups(group: np.ndarray, num: int) -> np.ndarray:
    if group.shape != (num,) or group.dtype.kind not in "ui":
        got = f"{group.dtype} of shape {group.shape}"
        raise InvalidValueError("latent_null", "group", f"must be integers of shape ({num},)", got)
    names, counts = np.unique(group[group >= 0], return_counts=True)
    if not len(names):
        raise InvalidValueError("latent_null", "group", "must hold a number that is not negative", "none")
    if counts.min() < LEAST_ROWS:
        rule, least = f"must have at least {LEAST_ROWS} rows in each group", int(counts.argmin())
        fix = "Join groups, or set those of their rows to -1."
        raise InvalidValueError("latent_null", "group", rule, f"{counts[least]} in group {names[least]}", fix)
    return group
