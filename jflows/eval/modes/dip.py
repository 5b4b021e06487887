"""`dip`: how far a sample is from having one mode, and its null: the same of uniform samples.

Everything is NumPy in float64, as is SciPy's isotonic regression, of which the statistic is made.
"""

import functools
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.arrays import real_numbers
from jflows.options import Option, Seed, checked

LEAST_VALUES = 4
SMALLEST_STEP = 1e-12  # of the range: equal values are a rise so steep that only a mode can have it


def dip(values: ArrayLike) -> float:
    """Hartigan's dip: the least distance of the empirical distribution function F from one that has a single mode.

        dip = min over G, convex up to some point and concave from there, of sup_x |F(x) - G(x)|

    It is at least 1 / (2 num), and of two distant points of equal weight 1/4. Shift and scale do not change it.

    Source: Hartigan and Hartigan 1985, Annals of Statistics 13, 70-84, section 3 (the algorithm). Differs: the greatest
    convex minorant and the least concave majorant are isotonic regressions of the slopes of F.

    Args:
      values: numbers [num], in any order.
    Raises:
      InvalidValueError: if there are fewer than 4, or they are not finite.
    Example:
      >>> round(dip([0.0, 0.1, 0.2, 5.0, 5.1, 5.2]), 3)
      0.24
    """
    rule = f"must be at least {LEAST_VALUES} finite numbers [num]"
    array = real_numbers("dip", "values", values, rule)
    if array.ndim != 1 or len(array) < LEAST_VALUES or not np.isfinite(array).all():
        raise InvalidValueError("dip", "values", rule, f"shape {array.shape}")
    return _dip_of_sorted(np.sort(array))


def _dip_of_sorted(x: np.ndarray) -> float:
    num, spread = len(x), x[-1] - x[0]
    if not spread > 0:
        return 0.5 / num
    steps = np.maximum(np.diff(x / spread), SMALLEST_STEP)  # divided first, so that tiny ranges do not underflow
    # A function G within d of F has i / n - d <= G(x_i) <= (i - 1) / n + d. What is minimised is the width 2 d - 1 / n
    # of a band above y_i = i / n. Its edges are followed from both ends towards the mode, between `low` and `high`.
    y, low, high, width = np.arange(1, num + 1) / num, 0, num - 1, 0.0
    while high > low:
        part = slice(low, high)
        convex, convex_knots = _hull(y[low], steps[part], num, increasing=True)
        concave, concave_knots = _hull(y[low], steps[part], num, increasing=False)
        apart = concave - convex
        at = int(apart.argmax())
        if apart[at] <= width:
            break
        if at in convex_knots:
            start, stop = at, int(concave_knots[np.searchsorted(concave_knots, at)])
        else:
            start, stop = int(convex_knots[np.searchsorted(convex_knots, at, side="right") - 1]), at
        own = y[low : high + 1]
        width = max(width, (own - convex)[: start + 1].max(), (concave - own)[stop:].max())
        low, high = low + start, low + stop
    return float(0.5 * (width + 1 / num))


def _hull(start: float, steps: np.ndarray, num: int, increasing: bool) -> tuple[np.ndarray, np.ndarray]:
    """The convex minorant, or concave majorant, of points that rise by 1 / num each, and where it touches them."""
    from scipy.optimize import isotonic_regression

    found = isotonic_regression(1 / (num * steps), weights=steps, increasing=increasing)
    return start + np.concatenate([[0.0], np.cumsum(found.x * steps)]), found.blocks


def dips(rows: np.ndarray) -> np.ndarray:
    """The dips of samples of one size, a row each: [k, num] -> [k]."""
    return np.array([_dip_of_sorted(row) for row in np.sort(rows, axis=1)])


@functools.lru_cache(maxsize=8)
def _uniform_dips(num: int, num_sets: int, seed: int) -> np.ndarray:
    random = np.random.RandomState(seed % 2**32)
    return np.sort([_dip_of_sorted(np.sort(random.random_sample(num))) for _ in range(num_sets)])


@checked
def dip_p_values(
    values: ArrayLike, num: int, *, num_sets: Annotated[int, Option(low=19)] = 1999, seed: Seed = 0
) -> np.ndarray:
    """The p-values of dips: their ranks among those of uniform samples of as many numbers.

        p = (1 + number of uniform samples with a dip at least as large) / (1 + num_sets)

    Among all densities with one mode, dips of the uniform one are the largest for many numbers, so that p is not too
    small for any of them. Of a normal one, p-values are mostly near 1.

    Source: Hartigan and Hartigan 1985, Annals of Statistics 13, 70-84, section 4.

    Args:
      values: dips, an array of any shape.
      num: number of values of which each dip is.
      num_sets: number of uniform samples; those of the last few sizes are kept.
      seed: seed of the uniform samples.
    """
    null = _uniform_dips(num, num_sets, seed)
    return (1 + len(null) - np.searchsorted(null, np.asarray(values, np.float64))) / (1 + len(null))
