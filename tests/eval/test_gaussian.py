"""The Gaussian baseline against the known entropy, and its errors."""

import math

import numpy as np
import pytest

from jflows.errors import InvalidValueError
from jflows.eval import gaussian_baseline

DIM, NUM = 4, 20000


def correlated(num, seed):
    random = np.random.RandomState(seed)
    factor = np.tril(np.random.RandomState(7).rand(DIM, DIM)) + np.eye(DIM)
    return random.randn(num, DIM) @ factor.T + [1.0, -2.0, 3.0, 1e3], factor


def test_it_reaches_the_entropy_of_a_normal():
    (train, factor), (test, _) = correlated(NUM, 0), correlated(NUM, 1)
    nats, error = gaussian_baseline(train, test)
    entropy = DIM / 2 * math.log(2 * math.pi * math.e) + np.log(np.diag(factor)).sum()
    assert abs(error - math.sqrt(DIM / 2 / NUM)) < 0.05 * error  # log p is -chi^2 / 2, of variance DIM / 2
    assert abs(nats + entropy) < 5 * error


def test_it_is_maximum_likelihood():
    train, _ = correlated(50, 2)
    covariance = np.cov(train, rowvar=False, ddof=0)
    expected = -DIM / 2 * math.log(2 * math.pi * math.e) - np.linalg.slogdet(covariance)[1] / 2
    assert gaussian_baseline(train, train).nats == pytest.approx(expected, rel=1e-10)
    assert gaussian_baseline(train.astype(np.float32), train).nats == pytest.approx(expected, rel=1e-3)


def test_one_column():
    x = np.random.RandomState(0).randn(100, 1)
    assert gaussian_baseline(x, x).nats == pytest.approx(-0.5 * math.log(2 * math.pi * math.e * x.var()))


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (np.zeros(5), np.zeros((5, 1)), r"`train, test` must be \[num, dim\]; got shapes \(5,\) and \(5, 1\)"),
        (np.zeros((5, 2)), np.zeros((0, 2)), r"must be \[num, dim\]"),
        (np.zeros((5, 2)), np.zeros((5, 3)), r"`test` must have event shape \(2,\)"),
        (np.ones((5, 2)), np.ones((5, 2)), "`train` must have a positive definite covariance.*Leave out columns"),
    ],
)
def test_bad_arguments(train, test, expected):
    with pytest.raises(InvalidValueError, match=expected):
        gaussian_baseline(train, test)
