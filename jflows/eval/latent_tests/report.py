"""`latent_tests`: whether latents look like draws of the base, by ranks among sets that are drawn from it.

Read next: `null.py`, which draws these sets; `flows.py`, the latents and the base of a flow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import bad_rows, real_numbers
from jflows.eval.latent_tests.null import LEAST_ROWS, LatentNull, latent_null
from jflows.eval.latent_tests.statistics import MOMENTS, Statistics, correlations, measured
from jflows.options import Fraction, checked
from jflows.typing import Array

OF_DIMENSIONS = (*MOMENTS, "ks")
NUM_PAIRS = 5  # of dimensions, whose correlations a report holds


class LatentTest(NamedTuple):
    """One test of latents against the base.

    Attributes:
      name: mean, variance, skewness, kurtosis or ks (the dimension that is furthest from the base in this respect, in
        deviations of the base); sliced_ks and radius (Kolmogorov-Smirnov distances); correlation (the largest between
        two dimensions); classifier (the area under the curve for all rows), or classifier_per_group (that of the group
        in which it is furthest up, in deviations of the base).
      value: the statistic of the latents; all grow with the distance from the base.
      typical, high: its median and its 95 % point over sets from the base.
      p_value: the share of sets at least so far out, where the latents count as one of them.
    """

    name: str
    value: float
    typical: float
    high: float
    p_value: float


class Deviation(NamedTuple):
    """A dimension that is not distributed as in the base: its position in the flattened latent, in which respect, how.

    Attributes:
      dimension: from 0.
      statistic: mean, variance, skewness, kurtosis or ks.
      deviations: how far it is from its mean over sets from the base, in their standard deviations.
      q_value: the least false discovery rate at which it is found.
    """

    dimension: int
    statistic: str
    deviations: float
    q_value: float


class Pair(NamedTuple):
    """Two dimensions, their correlation beyond that in the base, and its p-value among the largest of all pairs."""

    first: int
    second: int
    correlation: float
    p_value: float


class GroupOfRows(NamedTuple):
    """How well a classifier tells the latents of one group from the base, and its q-value over all groups."""

    group: int
    auroc: float
    q_value: float


class LatentReport(NamedTuple):
    """The result of `latent_tests`.

    Attributes:
      p_value: the p-value of all tests together; small if the latents are no draws of the base.
      tests: each test by itself; of several, some are small by chance.
      deviations: [5, dim], mean, variance, skewness, kurtosis and ks of each dimension, as in `Deviation`.
      q_values: [5, dim].
      pairs: the most correlated pairs of dimensions, at most five, first the largest.
      groups: one entry for each group of rows.
      num, dim, num_sets: number of latents, their entries, and the number of sets from the base.
    """

    p_value: float
    tests: tuple[LatentTest, ...]
    deviations: np.ndarray
    q_values: np.ndarray
    pairs: tuple[Pair, ...]
    groups: tuple[GroupOfRows, ...]
    num: int
    dim: int
    num_sets: int

    @checked
    def found(self, rate: Fraction = 0.05) -> list[Deviation]:
        """The dimensions that are not as in the base, surest first; on average at most this share of them is wrong.

        A single dimension can be found only with at least 5 / rate sets from the base, five being the statistics.
        """
        places = zip(*np.nonzero(self.q_values <= rate), strict=True)
        all_found = [
            Deviation(int(j), OF_DIMENSIONS[i], float(self.deviations[i, j]), float(self.q_values[i, j]))
            for i, j in places
        ]
        return sorted(all_found, key=lambda each: (each.q_value, -abs(each.deviations)))


def latent_tests(latents: ArrayLike, null: LatentNull | None = None) -> LatentReport:
    """Tests whether latents are draws of the base, by simulation, so that p-values hold for any number of rows.

        p = (1 + number of sets from the base with a statistic at least as large) / (1 + number of sets)

    Latents that are draws of the base have p <= 0.05 in 5 % of all cases, for each test and for all together, at any
    number of rows and dimensions. The common p-value ranks the largest of all statistics, each in deviations of its own
    values over sets. The q-values of dimensions rank their deviations among those of all dimensions of all sets, and
    follow Benjamini and Hochberg over the five statistics of all dimensions.

    Sources: Davison and Hinkley 1997, "Bootstrap Methods and their Application", eq. 4.11 (p-values by simulation);
    Westfall and Young 1993, "Resampling-Based Multiple Testing", section 2.3 (the largest of several statistics);
    Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57, eq. 1 (false discovery rate).
    Differs: deviations instead of p-values are compared across tests, which ranks beyond 1 / (1 + number of sets).

    Args:
      latents: [num, *latent_shape], of any library.
      null: sets from the base, by `latent_null`, of the same size; None draws 199 of N(0, I).
    Raises:
      InvalidTypeError: if `null` is not from `latent_null`.
      InvalidValueError: if latents are fewer than 20, not finite, or of another size than the sets.
    Example:
      >>> random = np.random.RandomState(0)
      >>> z = random.randn(300, 2)
      >>> null = latent_null(300, 2, num_sets=124)
      >>> latent_tests(z, null).p_value > 0.05
      True
      >>> z[:, 1] = 0.8 * z[:, 1]  # too narrow
      >>> report = latent_tests(z, null)
      >>> report.p_value, report.found()[0].dimension, report.found()[0].statistic
      (0.008, 1, 'variance')
    """
    z = checked_latents("latent_tests", latents)
    if null is not None and not isinstance(null, LatentNull):
        fix = "Call latent_null(num, dim, draw)."
        raise InvalidTypeError("latent_tests", "null", "must be made by latent_null", kind_of(null), fix)
    null = latent_null(len(z), z.shape[1]) if null is None else null
    if z.shape != (null.num, null.dim):
        rule = f"must be as large as the sets from the base, {null.num:,} rows of {null.dim:,} entries"
        raise InvalidValueError("latent_tests", "latents", rule, f"{len(z):,} of {z.shape[1]:,}")
    own = jnp.asarray(z, null.reference.directions.dtype)
    observed = measured(own, null.reference)
    # Latents are the first of the sets, and are treated like all others from here on.
    every = Statistics(
        *(np.concatenate([np.asarray(a)[None], b]) for a, b in zip(observed, null.statistics, strict=True))
    )
    scores, deviations, of_groups = _scores(every)
    tests = tuple(_test(name, values) for name, values in scores.items())
    largest = np.max([_standardised(values) for values in scores.values()], axis=0)
    return LatentReport(
        _p_value(largest),
        tests,
        deviations[0],
        _q_values(deviations),
        _pairs(own, null),
        _groups(null.groups, every.classifier[0, 1:], of_groups),
        null.num,
        null.dim,
        null.num_sets,
    )


def _groups(names: Sequence[int], aurocs: np.ndarray, deviations: np.ndarray) -> tuple[GroupOfRows, ...]:
    """The groups of rows, with their AUROC and the q-value of its deviations over sets [sets, groups]."""
    q_values = _q_values(deviations[:, None])[0]
    return tuple(GroupOfRows(name, float(a), float(q)) for name, a, q in zip(names, aurocs, q_values, strict=True))


def _scores(every: Statistics) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The statistics of tests for all sets; the deviations of dimensions [sets, 5, dim], and groups [sets, groups]."""
    deviations = _standardised(np.concatenate([every.moments, every.ks[:, None]], axis=1))
    of_groups = _standardised(every.classifier[:, 1:])
    sizes = np.abs(deviations)
    sizes[:, -1] = deviations[:, -1]  # distances that are small by chance are no fault
    scores = dict(zip(OF_DIMENSIONS, sizes.max(axis=2).T, strict=True))
    scores |= {"sliced_ks": every.sliced_ks, "radius": every.radius, "correlation": every.correlation}
    scores["classifier"] = every.classifier[:, 0]
    if of_groups.shape[1]:
        scores["classifier_per_group"] = of_groups.max(axis=1)
    return scores, deviations, of_groups


def _test(name: str, values: np.ndarray) -> LatentTest:
    typical, high = np.quantile(values[1:], [0.5, 0.95])
    return LatentTest(name, float(values[0]), float(typical), float(high), _p_value(values))


def _p_value(values: np.ndarray) -> float:
    """The share of sets with a statistic at least as large as that of the first, which counts too: [sets] -> []."""
    return float(np.mean(values >= values[0]))


def _standardised(values: np.ndarray) -> np.ndarray:
    """Deviations from the mean over all sets, the first included, in standard deviations; 0 if all are equal."""
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _q_values(deviations: np.ndarray) -> np.ndarray:
    """The q-values of the first of several sets, whose last row is of one-sided statistics: [sets, k, n] -> [k, n].

    Deviations are ranked among those of all n entries, so that p-values reach down to 1 / (1 + sets * n). Where entries
    are not distributed alike, this is the mean of their p-values, which bounds the expected number of false findings.
    """
    from scipy.stats import false_discovery_control

    p_values = np.ones(deviations.shape[1:])
    if not p_values.size:
        return p_values
    for row in range(len(p_values)):
        one_sided = row == len(p_values) - 1
        own, others = (part if one_sided else np.abs(part) for part in (deviations[0, row], deviations[1:, row]))
        in_order = np.sort(others, axis=None)
        p_values[row] = (1 + len(in_order) - np.searchsorted(in_order, own)) / (1 + len(in_order))
    return false_discovery_control(p_values.ravel()).reshape(p_values.shape)


def _pairs(z: Array, null: LatentNull) -> tuple[Pair, ...]:
    laws = null.reference.laws
    apart = np.asarray(correlations(z)) - (0.0 if laws is None else np.asarray(laws.correlations))
    first, second = np.triu_indices(null.dim, 1)
    sizes = np.abs(apart[first, second])
    found = []
    for place in np.argsort(-sizes, kind="stable")[:NUM_PAIRS]:
        p_value = _p_value(np.append(sizes[place], null.statistics.correlation))
        i, j = int(first[place]), int(second[place])
        found.append(Pair(i, j, float(apart[i, j]), p_value))
    return tuple(found)


def checked_latents(where: str, latents: ArrayLike) -> np.ndarray:
    """Latents as float64 [num, dim]; raises `InvalidValueError` if they are few, not finite or beyond 1e15."""
    rule = f"must be numbers [num, *latent_shape] with at least {LEAST_ROWS} rows"
    array = real_numbers(where, "latents", latents, rule)
    if array.ndim < 2 or len(array) < LEAST_ROWS or not array[0].size:
        raise InvalidValueError(where, "latents", rule, f"shape {array.shape}")
    flat = array.reshape(len(array), -1)
    bad = bad_rows(flat)
    if bad:
        raise InvalidValueError(where, "latents", "must be finite", bad, "Leave these rows out, and report how many.")
    return flat
