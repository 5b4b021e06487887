"""`auroc`: how well a score tells two sets of rows apart, such as known data and unusual ones by their likelihood."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.data import weights
from jflows.data.checks import check_weight
from jflows.errors import InvalidValueError


class Auroc(NamedTuple):
    """The result of `auroc`.

    Attributes:
      value: the probability that a row of the first set has the higher score, 1/2 if scores tell nothing.
      standard_error: its standard error; NaN if a set has less than two rows.
    """

    value: float
    standard_error: float


def auroc(
    scores: ArrayLike,
    others: ArrayLike,
    weight: ArrayLike | None = None,
    other_weight: ArrayLike | None = None,
) -> Auroc:
    """The area under the receiver operating characteristic of a score.

        AUROC = P(s > t) + P(s = t) / 2,   s of the first set, t of the second
        standard error^2 = var_s[P(s > t | s) + P(s = t | s) / 2] / m + the same over t / n

    Rows are taken for independent, as many as (sum w)^2 / sum w^2 if they have weights w.

    Source: DeLong et al. 1988 (Biometrics 44), equations 3 to 5.

    Args:
      scores, others: the scores of m and of n rows; infinite ones are compared like others.
      weight, other_weight: how much each row counts, as in `TableData`; None counts all alike.
    Shapes:
      scores, weight: [m]; others, other_weight: [n].
    Raises:
      InvalidValueError: if a set is empty, or a score is NaN.
      DataError: if weights are not finite and at least 0.
    Example:
      >>> round(auroc([1.0, 2.0, 3.0], [0.0, 1.0, -np.inf]).value, 4)  # eight pairs of nine, and one tie
      0.9444
    """
    s, t = checked_scores("auroc", "scores", scores), checked_scores("auroc", "others", others)
    of_s, of_t = checked_weights("weight", weight, len(s)), checked_weights("other_weight", other_weight, len(t))
    above, below = _share_below(t, of_t, s), 1 - _share_below(s, of_s, t)
    value = float(np.average(above, weights=of_s))
    variance = _variance_of_mean(above, of_s, value) + _variance_of_mean(below, of_t, value)
    return Auroc(value, float(np.sqrt(variance)))


def _share_below(values: np.ndarray, weight: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The share of the weight of values below each entry of `at`, where equal values count half."""
    order = np.argsort(values, kind="stable")
    summed, values = np.concatenate([[0.0], np.cumsum(weight[order])]), values[order]
    below, up_to = (summed[np.searchsorted(values, at, side)] for side in ("left", "right"))
    return (below + up_to) / (2 * summed[-1])


def _variance_of_mean(values: np.ndarray, weight: np.ndarray, mean: float) -> float:
    size = weights.effective_size(weight)
    if size <= 1:
        return float("nan")
    return float(np.sum((weight * (values - mean)) ** 2) / weight.sum() ** 2 * size / (size - 1))


def checked_scores(where: str, argument: str, values: ArrayLike) -> np.ndarray:
    """Scores as float64 [num]; raises `InvalidValueError` if there is none, or one is NaN."""
    array = np.asarray(values, np.float64)
    is_list = array.ndim == 1 and array.size > 0
    if not is_list or np.isnan(array).any():
        got = f"{np.isnan(array).sum()} NaN of {array.size}" if is_list else f"shape {array.shape}"
        raise InvalidValueError(where, argument, "must be numbers [num], num >= 1, and not NaN", got)
    return array


def checked_weights(argument: str, weight: ArrayLike | None, num: int) -> np.ndarray:
    """Weights over their mean, or ones where there are none."""
    return np.ones(num) if weight is None else weights.relative(check_weight(np.asarray(weight), argument, num))
