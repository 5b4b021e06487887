"""`calibration`: whether a conditional density is as wide as it should be.

If x given its context follows the density p(. | context), the rank of x among draws of p(. | context) is uniform, for
each dimension by itself, and for the density of x among the densities of draws. For a flow, the distribution functions
of the base at the latents of x are uniform too, and independent. A density that is too narrow has too many of these
numbers at both ends, and its regions of largest density hold too few true values.

Read next: `statistics.py`, which compares with uniform numbers; `jflows/eval/latent_tests`, which tests the latents of
all dimensions together.
"""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.arrays import real_array, real_numbers
from jflows.eval.calibration.ranks import Ranks
from jflows.eval.calibration.statistics import far_out, of_counts, of_uniforms, rank_null, uniform_null
from jflows.options import Option, Seed, checked

LEAST_CASES = 20
COVERAGE, ALL = "coverage", "all"
OF_PIT, OF_RANKS = 0.85, 0.15  # shares of the level; the transform knows the same as ranks, without the noise of draws


class CalibrationTest(NamedTuple):
    """The test of one dimension, of the coverage of regions of highest density, or of all dimensions.

    Attributes:
      name: the number of the dimension, "coverage", or "all" (numbers of all dimensions together).
      width: the logarithm of how much too narrow the density is, as far as ranks tell; 0 is right, and of a normal that
        has 0.9 times its right deviation it is about -2 log(0.9) = 0.21. Of coverage, it is that of the mean of -log u.
      place: the mean of ranks as normal scores: above 0 if x lies above the middle of the draws; 0 of coverage.
      ks: the Kolmogorov-Smirnov distance of ranks from uniform ones.
      p_value: the p-value of the three numbers above together, by their ranks among sets of uniform numbers.
    """

    name: str
    width: float
    place: float
    ks: float
    p_value: float


class Calibration(NamedTuple):
    """The result of `calibration`.

    Attributes:
      p_value: the p-value of all tests together.
      ranks_p_value: the p-value of the tests of ranks, joined by Bonferroni, as dimensions depend on each other in an
        unknown way.
      pit_p_value: the p-value of the tests of the transform together; None without a transform.
      tests: the tests of ranks: one for each dimension, then the test of coverage.
      pit: the tests of the transform: one for each dimension of the latent, then that of all; () without a
        transform.
      levels, coverage: [19], levels 0.05 to 0.95, and the share of true values in the region of highest density that
        has this probability; a density that is too narrow covers less.
    """

    p_value: float
    ranks_p_value: float
    pit_p_value: float | None
    tests: tuple[CalibrationTest, ...]
    pit: tuple[CalibrationTest, ...]
    levels: np.ndarray
    coverage: np.ndarray


@checked
def calibration(
    ranks: Ranks,
    pit: ArrayLike | None = None,
    *,
    num_sets: Annotated[int, Option(low=19)] = 1999,
    seed: Seed = 0,
) -> Calibration:
    """Tests whether ranks of true values, and the transform of their latents, are uniform.

        u = (rank + 1/2) / (num_draws + 1),   width = log(mean of g^2 / that of uniform ranks),   g = Phi^-1(u)
        p = (1 + number of sets of uniform numbers that are at least as far out) / (1 + number of sets)

    A set is as far out as its furthest statistic. Statistics are compared by approximate p-values, each over its share
    of the level: 0.7 for too narrow, the fault that misleads, 0.2 for too wide, and 0.05 for the place and for the
    ks. With a transform, its tests have 0.85 of the level, and ranks 0.15.

    A density that knows nothing, the same for all contexts, passes too if it is the mean over contexts: calibration
    says that a density is honest, and the log-likelihood how much it knows.

    Source: Talts et al. 2018, arXiv:1804.06788, theorem 1 (ranks are uniform); Hermans et al. 2022, arXiv:2110.06581,
    section 2 (expected coverage); Rosenblatt 1952, Annals of Mathematical Statistics 23, eq. 1 (the transform).
    Differs: tested by the place and the width of ranks beside their ks, as a density that is somewhat too narrow
    changes the width by more standard errors.

    Args:
      ranks: the ranks of the cases, by `ranks_of`, or among draws of any library.
      pit: [num, dim], by `pit_of`, of the same cases; in one dimension, it finds a width that is 10 % wrong more often.
      num_sets: number of sets of uniform numbers [num, dim]; of ranks, as many for each test, up to 50,000. Those of
        the last few sizes are kept.
      seed: seed of the uniform numbers.
    Raises:
      InvalidValueError: if there are less than 20 cases, ranks are not in 0..num_draws, or `pit` is not in [0, 1].
    """
    columns = _checked_ranks(ranks)
    tests = _tests_of_ranks(columns, ranks.num_draws + 1, num_sets, seed)
    p_value = ranks_p_value = min(1.0, len(tests) * min(test.p_value for test in tests))
    of_pit, pit_p_value = (), None
    if pit is not None:
        of_pit, pit_p_value = _tests_of_uniforms(_checked_pit(pit, len(columns)), num_sets, seed)
        p_value = min(1.0, pit_p_value / OF_PIT, ranks_p_value / OF_RANKS)
    levels = np.linspace(0.05, 0.95, 19)
    u = (columns[:, -1] + 0.5) / (ranks.num_draws + 1)
    coverage = np.array([np.mean(u > 1 - level) for level in levels])
    return Calibration(p_value, ranks_p_value, pit_p_value, tests, of_pit, levels, coverage)


def _tests_of_ranks(columns: np.ndarray, steps: int, num_sets: int, seed: int) -> tuple[CalibrationTest, ...]:
    """A test of each column of ranks, of which the last is that of the density."""
    num, num_tests = columns.shape
    tests = []
    for place in range(num_tests):
        of_density = place == num_tests - 1
        counts = np.bincount(columns[:, place], minlength=steps)[None]
        own = of_counts(counts / num, of_density)
        far = far_out(np.concatenate([own, rank_null(num, steps, of_density, num_sets * num_tests, seed)]), num)
        name = COVERAGE if of_density else str(place)
        tests.append(_test(name, own[0], np.mean(far >= far[0])))
    return tuple(tests)


def _tests_of_uniforms(u: np.ndarray, num_sets: int, seed: int) -> tuple[tuple[CalibrationTest, ...], float]:
    """A test of each column, and of all numbers together; and the p-value of all tests, which is exact."""
    num, dim = u.shape
    null = uniform_null(num, dim, num_sets, seed)
    own = of_uniforms(u.T), of_uniforms(u.reshape(1, -1))
    of_dims = np.concatenate([own[0][None], null.dims])
    far = far_out(of_dims.reshape(-1, 3), num).reshape(of_dims.shape[:2])
    far_all = far_out(np.concatenate([own[1], null.whole]), num * dim)
    # Far out means -log p, so that a sum of p-values over dimensions, as Bonferroni's, is a difference of logarithms.
    together = np.maximum(far.max(axis=1) - np.log(dim), far_all)
    others = np.sort(far[1:], axis=None)
    p_values = (1 + len(others) - np.searchsorted(others, far[0])) / (1 + len(others))
    tests = [_test(str(i), own[0][i], p_value) for i, p_value in enumerate(p_values)]
    tests.append(_test(ALL, own[1][0], np.mean(far_all >= far_all[0])))
    return tuple(tests), float(np.mean(together >= together[0]))


def _test(name: str, statistics: np.ndarray, p_value: float | np.floating) -> CalibrationTest:
    width, place, ks = map(float, statistics)
    return CalibrationTest(name, width, place, ks, float(p_value))


def _checked_ranks(ranks: Ranks) -> np.ndarray:
    """Ranks of all dimensions, then those of the density: int [num, dim + 1]."""
    rule = f"must be integers of the shapes [num, dim] and [num], num >= {LEAST_CASES}"
    values, density = (real_array("calibration", "ranks", part, rule) for part in (ranks.values, ranks.density))
    if values.ndim != 2 or density.shape != values.shape[:1] or len(values) < LEAST_CASES:
        raise InvalidValueError("calibration", "ranks", rule, f"shapes {values.shape} and {density.shape}")
    columns = np.concatenate([values, density[:, None]], axis=1)
    if columns.dtype.kind not in "ui" or columns.min() < 0 or columns.max() > ranks.num_draws:
        got = f"{columns.dtype} from {columns.min()} to {columns.max()}"
        raise InvalidValueError("calibration", "ranks", f"must be integers in 0..{ranks.num_draws}", got)
    return columns


def _checked_pit(pit: ArrayLike, num: int) -> np.ndarray:
    """The transform as float64 [num, dim]; raises unless it is one of these cases."""
    u = real_numbers("calibration", "pit", pit, f"must be numbers of the shape [{num}, dim], as ranks")
    if u.ndim != 2 or len(u) != num or not u.size:
        raise InvalidValueError("calibration", "pit", f"must be of the shape [{num}, dim], as ranks", f"{u.shape}")
    bad = int((~((u >= 0) & (u <= 1)).all(axis=1)).sum())
    if bad:
        rule, fix = "must lie in [0, 1]", "Leave these rows out, of ranks too, and report how many."
        raise InvalidValueError("calibration", "pit", rule, f"NaN or other numbers in {bad:,} of {num:,} rows", fix)
    return u
