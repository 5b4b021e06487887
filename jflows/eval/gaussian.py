"""`gaussian_baseline`: the simplest density of a table, one normal distribution with a full covariance."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.data import weights
from jflows.data.checks import check_weight
from jflows.errors import InvalidValueError, check_event_shape


class LogLikelihood(NamedTuple):
    """The mean log-likelihood of test rows, in nats per row (higher is better), and its standard error.

    Papers on density estimation print the mean plus or minus two standard errors.
    """

    nats: float
    standard_error: float


def gaussian_baseline(
    train: ArrayLike,
    test: ArrayLike,
    weight: ArrayLike | None = None,
    test_weight: ArrayLike | None = None,
) -> LogLikelihood:
    """The log-likelihood of test rows under the normal fitted to training rows by maximum likelihood, in float64.

        log p(x) = -1/2 |L^-1 (x - mean)|^2 - log det L - dim/2 log(2 pi),   L L^T = covariance of train

    Args:
      train: rows to which the normal is fitted.
      test: rows that are scored.
      weight, test_weight: how much each row counts, as in `TableData`; None counts all alike.
    Shapes:
      train: [num_train, dim]; test: [num_test, dim]; weight: [num_train]; test_weight: [num_test].
    Raises:
      InvalidValueError: if the shapes do not fit, there is no test row, or the covariance is not positive definite.
      DataError: if weights are not finite and at least 0.
    Example:
      >>> normal = np.random.RandomState(0).randn(20000, 1)
      >>> round(gaussian_baseline(normal[:10000], normal[10000:]).nats, 1)  # -log(sqrt(2 pi e)) = -1.42
      -1.4
    """
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    if train.ndim != 2 or test.ndim != 2 or not len(test):
        got = f"shapes {train.shape} and {test.shape}"
        raise InvalidValueError("gaussian_baseline", ("train", "test"), "must be [num, dim]", got)
    check_event_shape("gaussian_baseline", "test", test.shape, train.shape[1:])
    own = _relative(weight, "weight", len(train))
    mean = np.average(train, axis=0, weights=own)
    try:
        factor = np.linalg.cholesky(np.atleast_2d(np.cov(train, rowvar=False, ddof=0, aweights=own)))
    except np.linalg.LinAlgError as error:
        rule = "must have a positive definite covariance"
        fix = "Leave out columns that are constant or a combination of others, or add rows."
        raise InvalidValueError("gaussian_baseline", "train", rule, f"shape {train.shape}", fix) from error
    z = np.linalg.solve(factor, (test - mean).T)
    log_det = np.log(np.diag(factor)).sum()
    log_prob = -0.5 * (z**2).sum(axis=0) - log_det - 0.5 * train.shape[1] * math.log(2 * math.pi)
    return weighted_mean(log_prob, _relative(test_weight, "test_weight", len(test)))


def weighted_mean(log_prob: np.ndarray, weight: np.ndarray) -> LogLikelihood:
    """The mean of log-likelihoods [num] by weights [num], and its standard error, as by `jflows.eval.evaluate`."""
    mean = np.average(log_prob, weights=weight)
    return LogLikelihood(float(mean), float(np.sqrt(np.square(weight * (log_prob - mean)).sum()) / weight.sum()))


def _relative(weight: ArrayLike | None, argument: str, num: int) -> np.ndarray:
    if weight is None:
        return np.ones(num)
    return weights.relative(check_weight(np.asarray(weight), f"gaussian_baseline, {argument}", num))
