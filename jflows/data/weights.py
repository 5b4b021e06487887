"""Weights of rows: their scale removed, how many rows they are worth, and rows drawn by them.

A row of weight 3 counts as three equal rows, and a row of weight 0 never counts. Read next: `jflows/data/dataset.py`.
"""

import numpy as np


def relative(weight: np.ndarray) -> np.ndarray:
    """Weights [num] over their mean among rows that count, in float64.

    Example:
      >>> relative(np.array([0.0, 1e300, 3e300]))
      array([0. , 0.5, 1.5])
    """
    scaled = weight / weight.max()  # first, as the sum of large weights may overflow
    return scaled * (np.count_nonzero(scaled) / scaled.sum())


def effective_size(weight: np.ndarray) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2: so many rows of equal weight give means as certain.

    Source: Kish 1965, "Survey Sampling", section 11.7.

    Example:
      >>> effective_size(np.array([1.0, 1.0, 0.0])), round(effective_size(np.array([3.0, 1.0])), 3)
      (2.0, 1.6)
    """
    scaled = weight / weight.max()
    return float(scaled.sum() ** 2 / np.square(scaled).sum())


def draw(weight: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Draws `num` rows in proportion to weights [num_rows], and shuffles them.

    A row comes num * w / sum w times, rounded up or down, as draws are evenly spaced along the summed weights
    (systematic resampling: Kitagawa 1996, J. Comput. Graph. Stat. 5, appendix).

    Example:
      >>> sorted(draw(np.array([1.0, 0.0, 3.0]), 8, seed=0).tolist())
      [0, 0, 2, 2, 2, 2, 2, 2]
    """
    ends = np.cumsum(relative(weight))
    rows = np.searchsorted(ends, (np.arange(num) + 0.5) / num * ends[-1], side="right")
    # RandomState: its stream is frozen for all numpy versions.
    return np.random.RandomState(seed % 2**32).permutation(rows)
