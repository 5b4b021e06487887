"""`modality`: whether latents have several modes, by dips and gains along directions, ranked among sets from the base.

Read next: `null.py`, which draws these sets; `projections.py`, the directions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.latent_tests.report import checked_latents
from jflows.eval.modes.dip import dip_p_values, dips
from jflows.eval.modes.gain import fit_two_normals
from jflows.eval.modes.null import FAMILIES, Along, ModalityNull, along, largest, modality_null

STATISTICS = ("dip", "gain")


class ModalityTest(NamedTuple):
    """The largest dip, or gain of two normals over one, along one kind of directions.

    Attributes:
      name: dip or gain, and the kind of directions: "dip_random", "gain_found".
      value: the statistic of the latents; gains are in nats for each latent.
      typical, high: its median and its 95 % point over sets from the base.
      p_value: the share of sets at least as far out, where the latents count as one of them.
    """

    name: str
    value: float
    typical: float
    high: float
    p_value: float


class Projection(NamedTuple):
    """The direction of the largest dip or gain, in deviations of sets from the base, and what lies along it.

    Attributes:
      family: random, principal, found or given.
      direction: [dim], of length 1.
      dip, gain: the statistics along it.
      share, mean, deviation: [2] each, of the two normals; means are places along the direction.
    """

    family: str
    direction: np.ndarray
    dip: float
    gain: float
    share: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class ModalityReport(NamedTuple):
    """The result of `modality`.

    Attributes:
      p_value: the p-value of all tests together; small if latents have other shapes than sets from the base,
        of the kind that several modes have.
      unimodal_p_value: the p-value of a dip along one direction that other rows chose, beside uniform samples; small
        only if there are several modes along it, whatever the base is.
      tests: each test by itself; of several, some are small by chance.
      projection: where modes are seen best.
      num, dim, num_sets: number of latents, their entries, and the number of sets from the base.
    """

    p_value: float
    unimodal_p_value: float
    tests: tuple[ModalityTest, ...]
    projection: Projection
    num: int
    dim: int
    num_sets: int


def modality(latents: ArrayLike, null: ModalityNull | None = None) -> ModalityReport:
    """Tests whether latents have one mode, as draws of the base have, along directions.

    Along each of 24 random directions, 8 principal axes, and 16 directions of extreme kurtosis that are searched, it
    takes Hartigan's dip, and the gain of two normals over one on rows they were not fitted to. The largest of each are
    ranked among those of sets from the base, where directions are chosen and searched anew. Rows are shuffled first.

    A gain also answers tails and skewness that the base does not have; only a dip shows modes. `unimodal_p_value`
    chooses the direction of the largest dip by half of the rows, and takes its dip over the other half.

    What is not seen: modes in directions that neither vary most nor can be found among chance extremes, which 2,000
    rows of 64 equally wide dimensions hide; give directions then. See docs/latent.md for its power.

    Sources: Hartigan and Hartigan 1985, Annals of Statistics 13, 70-84 (the dip); Davison and Hinkley 1997, "Bootstrap
    Methods and their Application", eq. 4.11 (p-values by simulation).

    Args:
      latents: [num, *latent_shape], of any library, at least 40.
      null: sets from the base, by `modality_null`, of the same size; None draws 199 of a normal.
    Raises:
      InvalidTypeError: if `null` is not from `modality_null`.
      InvalidValueError: if latents are fewer than 40, not finite, or of another size than the sets.
    Example:
      >>> random = np.random.RandomState(0)
      >>> null = modality_null(100, 3, num_sets=19)
      >>> z = random.randn(100, 3)
      >>> modality(z, null).p_value > 0.05
      True
      >>> z[:50, 1] += 5
      >>> report = modality(z, null)
      >>> report.p_value, np.abs(report.projection.direction[1]).round(1).item()
      (0.05, 1.0)
    """
    z = checked_latents("modality", latents)
    if null is not None and not isinstance(null, ModalityNull):
        fix = "Call modality_null(num, dim, draw)."
        raise InvalidTypeError("modality", "null", "must be made by modality_null", kind_of(null), fix)
    null = modality_null(len(z), z.shape[1]) if null is None else null
    if z.shape != (null.num, null.dim):
        rule = f"must be as large as the sets from the base, {null.num:,} rows of {null.dim:,} entries"
        raise InvalidValueError("modality", "latents", rule, f"{len(z):,} of {z.shape[1]:,}")
    rows = z[np.random.RandomState(0).permutation(len(z))]  # halves must not be classes
    own = jnp.asarray(rows - rows.mean(axis=0), jnp.result_type(float))
    found = along(own, null.directions, null.key)
    every = np.concatenate([largest(found)[None], null.statistics])
    names = [f"{name}_{family}" for name in STATISTICS for family in null.families]
    values = every.reshape(len(every), -1)
    tests = tuple(_test(name, column) for name, column in zip(names, values.T, strict=True))
    spread = values.std(axis=0)
    far = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    together = far.max(axis=1)
    p_value = float(np.mean(together >= together[0]))
    statistic, family = divmod(int(far[0].argmax()), len(null.families))
    of_family = (found.gains if statistic else found.dips) - np.where(found.family == family, 0.0, np.inf)
    projection = _projection(rows, found, int(of_family.argmax()))
    return ModalityReport(p_value, _unimodal_p_value(own, null), tests, projection, null.num, null.dim, null.num_sets)


def _test(name: str, values: np.ndarray) -> ModalityTest:
    typical, high = np.quantile(values[1:], [0.5, 0.95])
    return ModalityTest(name, float(values[0]), float(typical), float(high), float(np.mean(values >= values[0])))


def _unimodal_p_value(z: jax.Array, null: ModalityNull) -> float:
    """The p-value of the dip of half of the rows along the direction that has the largest dip of the other half."""
    half = len(z) // 2
    chosen = along(z[:half], null.directions, null.key)
    shadow = np.asarray(z[half:]) @ chosen.directions[:, int(chosen.dips.argmax())]
    return float(dip_p_values(dips(shadow[None]), len(shadow))[0])


def _projection(z: np.ndarray, found: Along, place: int) -> Projection:
    direction = found.directions[:, place].astype(np.float64)
    shadow = (z @ direction)[None]
    parts = (np.asarray(part, np.float64)[0] for part in fit_two_normals(shadow))
    family = FAMILIES[found.family[place]]
    return Projection(family, direction, float(dips(shadow)[0]), float(found.gains[place]), *parts)
