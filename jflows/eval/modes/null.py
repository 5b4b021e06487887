"""`modality_null`: what dips and gains along all directions are for sets that are drawn from the base itself.

Read next: `report.py`, which ranks latents among them.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import real_numbers
from jflows.eval.latent_tests.null import Draw, checked_draw
from jflows.eval.modes.dip import dips
from jflows.eval.modes.gain import crossed_gains
from jflows.eval.modes.projections import NUM_RANDOM, NUM_STARTS, chosen_directions, random_directions
from jflows.ops.numerics import EXACT
from jflows.options import Count, Option, Seed, checked
from jflows.typing import Array, Key

LEAST_ROWS = 40  # of latents: mixtures are fitted to half of them
RANDOM, PRINCIPAL, FOUND, GIVEN = FAMILIES = ("random", "principal", "found", "given")
"""The kinds of directions."""


class Along(NamedTuple):
    """What one set of latents shows along directions.

    Attributes:
      family: number in `FAMILIES` of each direction, [k].
      directions: [dim, k], columns of length 1.
      dips: [k], 0 of directions of largest kurtosis, which are for small modes.
      gains: [k], nats for each latent, each half of the latents by fits to the other half.
    """

    family: np.ndarray
    directions: np.ndarray
    dips: np.ndarray
    gains: np.ndarray


class ModalityNull(NamedTuple):
    """The largest dips and gains of sets from the base, by kinds of directions; made by `modality_null`.

    Attributes:
      num, dim: rows and entries of each set.
      directions: [dim, k], the directions that were given, of length 1; k is 0 without any.
      key: key of random directions, and of searches.
      statistics: [num_sets, 2, kinds], the largest dip and the largest gain along each kind of directions.
    """

    num: int
    dim: int
    directions: np.ndarray
    key: Key
    statistics: np.ndarray

    @property
    def num_sets(self) -> int:
        """The number of sets."""
        return len(self.statistics)

    @property
    def families(self) -> tuple[str, ...]:
        """The kinds of directions that there are."""
        return FAMILIES if self.directions.shape[1] else FAMILIES[:-1]


@checked
def modality_null(
    num: Annotated[int, Option(low=LEAST_ROWS)],
    dim: Count,
    draw: Draw | None = None,
    directions: ArrayLike | None = None,
    *,
    num_sets: Annotated[int, Option(low=19)] = 199,
    seed: Seed = 0,
    on_set: Callable[[int], None] | None = None,
) -> ModalityNull:
    """Draws sets of latents from the base, and looks for modes in each of them in the same way as in latents.

    One core takes about 0.1 s for a set of 2,000 rows of 64 entries.

    Args:
      num: number of rows of the latents that are to be tested, at least 40.
      dim: number of entries of each.
      draw: draws a set from the base, `key -> [num, ...]`, see `jflows.eval.latent_tests.latent_null`; None stands for
        N(0, I).
      directions: [*latent_shape, k] or [dim, k], further directions, such as differences of class means. They must come
        from other rows than those that are tested, or from none: directions along which the same rows differ most show
        modes that are not there.
      num_sets: number of sets, at least 19, which lets p-values reach 0.05.
      seed: seed of all draws.
      on_set: a function that is called with the number of sets that are measured, to show progress.
    Raises:
      InvalidTypeError: if `draw` is no function.
      InvalidValueError: if numbers are out of range, or draws or directions are not finite or of another shape.
    """
    if draw is not None and not callable(draw):
        rule = "must be a function of a key that draws a set of latents, or None for a normal"
        fix = "That of a flow is `base_of_flow(flow, variables, num)`."
        raise InvalidTypeError("modality_null", "draw", rule, kind_of(draw), fix)
    own, set_key = jax.random.split(jax.random.key(seed))
    given = _checked_directions(directions, dim)
    sample, statistics = checked_draw("modality_null", draw, num, dim), []
    for key in jax.random.split(set_key, num_sets):
        statistics.append(largest(along(sample(key), given, own)))
        if on_set is not None:
            on_set(len(statistics))
    return ModalityNull(num, dim, given, own, np.stack(statistics))


def along(z: Array, given: np.ndarray, key: Key) -> Along:
    """Dips and gains of latents [num, dim] along all directions."""
    random_key, search_key = jax.random.split(key)
    parts = [random_directions(random_key, z.shape[1], NUM_RANDOM).astype(z.dtype), *chosen_directions(search_key, z)]
    parts.append(jnp.asarray(given, z.dtype))
    family = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    directions = jnp.concatenate(parts, axis=1)
    shadows = np.asarray(jnp.matmul(z, directions, precision=EXACT)).T
    with_dips = np.ones(len(family), bool)
    with_dips[np.flatnonzero(family == FAMILIES.index(FOUND))[2 * NUM_STARTS :]] = False
    own_dips = np.zeros(len(family))
    own_dips[with_dips] = dips(shadows[with_dips])
    return Along(family, np.asarray(directions), own_dips, crossed_gains(shadows))


def largest(found: Along) -> np.ndarray:
    """The largest dip and gain of each kind of directions: [2, kinds]."""
    kinds = np.unique(found.family)
    return np.array([[values[found.family == kind].max() for kind in kinds] for values in (found.dips, found.gains)])


def _checked_directions(directions: ArrayLike | None, dim: int) -> np.ndarray:
    if directions is None:
        return np.zeros((dim, 0))
    rule = f"must be finite numbers [*latent_shape, k] of {dim:,} entries each"
    array = real_numbers("modality_null", "directions", directions, rule)
    if array.ndim < 2 or not array.shape[-1] or array.size != dim * array.shape[-1] or not np.isfinite(array).all():
        raise InvalidValueError("modality_null", "directions", rule, f"shape {array.shape}")
    flat = array.reshape(dim, -1)
    length = np.linalg.norm(flat, axis=0)
    if not (length > 0).all():
        raise InvalidValueError("modality_null", "directions", "must not be 0", f"column {int(length.argmin())} of 0")
    return flat / length
