"""Distances between two sets of features: Fréchet's, as in FID, and the kernel distance, as in KID.

Both ask how far samples of a model lie from real images in features of a network. What a number means depends on the
network: only numbers of one network compare. `jflows/eval/features.py` trains a small one.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jax.core import Tracer

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval.arrays import real_numbers
from jflows.options import Option, checked

NUM_BLOCKS = 10
DEGREE = 3  # of the polynomial kernel
LARGEST = 1e40  # number, of which float64 still holds the kernel

NumBlocks = Annotated[int, Option(low=2)]


class KernelDistance(NamedTuple):
    """An estimate of a squared kernel distance: the mean over blocks, and its standard error."""

    value: float
    standard_error: float


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The squared Fréchet distance between normal distributions with the moments of two sets of features.

        d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    It is 0 for equal moments, grows as fewer rows are compared (by about the number of features over that of rows), and
    sees nothing beyond means and covariances.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6, whose features are those of an Inception network.

    Shapes:
      features: [num, dim], others: [other_num, dim].
    Raises:
      InvalidTypeError, InvalidValueError: for what are no real numbers, features of other shapes, fewer than two rows,
        or numbers that are not finite or above 1e40.
    Numerics: float64, by factors of the covariances and never by their roots, so that singular ones do no harm: equal
      moments give 0 within the square of rounding.
    Example:
      >>> rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
      >>> round(frechet_distance(rows, rows + 3), 6)
      18.0
    """
    one, other = _checked("frechet_distance", features, others, 2)
    first, second = _root(one), _root(other)
    # tr (C_1 C_2)^(1/2) is the largest trace of first second^T Q over all rotations Q, the sum of its singular values.
    # The distance with the best Q is a sum of squares, in which no large numbers cancel.
    left, _, right = np.linalg.svd(first @ second.T)
    gap = one.mean(axis=0) - other.mean(axis=0)
    return float(gap @ gap + np.sum((first - left @ right @ second) ** 2))


@checked
def kernel_distance(features: np.ndarray, others: np.ndarray, num_blocks: NumBlocks = NUM_BLOCKS) -> KernelDistance:
    """The squared maximum mean discrepancy between two sets of features, without bias.

        k(a, b) = (a.b / dim + 1)^3
        d^2 = mean of k(a_i, a_j), i != j  +  mean of k(b_i, b_j), i != j  -  2 mean of k(a_i, b_j)

    Both sets are cut into blocks, and the result is the mean of d^2 over pairs of blocks. No row is in two blocks, so
    that the standard error is that of independent estimates. Its mean is 0 for equal distributions, whatever the number
    of rows; a single result may then be negative.

    Source: Bińkowski et al. 2018, arXiv:1801.01401, section 4. Differs: blocks that do not overlap.

    Args:
      num_blocks: number of blocks, at least 2; fewer take more time and give a smaller error. Rows are cut as they
        come: shuffle them first.
    Shapes:
      features: [num, dim], others: [other_num, dim].
    Raises:
      InvalidTypeError, InvalidValueError: for what are no real numbers, features of other shapes, fewer than two rows
        a block, or numbers that are not finite or above 1e40.
    """
    both = _checked("kernel_distance", features, others, 2 * num_blocks)
    blocks = zip(*(np.array_split(x, num_blocks) for x in both), strict=True)
    found = np.array([_unbiased(one, other) for one, other in blocks])
    return KernelDistance(float(found.mean()), float(found.std(ddof=1) / np.sqrt(num_blocks)))


def _unbiased(one: np.ndarray, other: np.ndarray) -> float:
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** DEGREE
    within = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return float(within(kernel(one, one)) + within(kernel(other, other)) - 2 * kernel(one, other).mean())


def _root(rows: np.ndarray) -> np.ndarray:
    """R with R^T R the covariance of the rows, without its entries being computed: [num, dim] -> [dim, dim]."""
    num, dim = rows.shape
    centred = (rows - rows.mean(axis=0)) / np.sqrt(num - 1)
    triangular = np.linalg.qr(centred, mode="r")  # has as many rows as there are, if they are fewer than dim
    return np.pad(triangular, ((0, dim - len(triangular)), (0, 0)))


def _checked(where: str, features: np.ndarray, others: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in float64, if they have one width, enough rows and finite numbers."""
    found = _array(where, "features", features), _array(where, "others", others)
    for argument, rows in zip(("features", "others"), found, strict=True):
        if rows.ndim != 2 or not rows.shape[1] or rows.shape[1:] != found[0].shape[1:]:
            rule, got = "must be [num, dim], of one dim", f"shapes {found[0].shape} and {found[1].shape}"
            raise InvalidValueError(where, argument, rule, got)
        if len(rows) < least:
            raise InvalidValueError(where, argument, f"must have at least {least} rows", len(rows), "Give more.")
        bad = np.flatnonzero(~(np.abs(rows) <= LARGEST).all(axis=1))
        if bad.size:
            rule, got = (
                f"must hold numbers of size {LARGEST:g} at most",
                f"NaN, infinity or a larger one in row {bad[0]}",
            )
            raise InvalidValueError(where, argument, rule, got)
    return found


def _array(where: str, argument: str, values: np.ndarray) -> np.ndarray:
    """Real numbers in float64; raises `InvalidTypeError` for traced arrays, and `InvalidValueError` for others."""
    rule = "must be an array of real numbers, [num, dim]"
    if isinstance(values, Tracer):
        rule += ", that is there already"
        raise InvalidTypeError(where, argument, rule, "a traced array", "Call it outside of jax.jit and the like.")
    return real_numbers(where, argument, values, rule)
