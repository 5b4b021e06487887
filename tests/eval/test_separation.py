"""AUROC: all pairs counted, ties half; its standard error covers its spread; weights are repeated rows."""

import numpy as np
import pytest

from jflows.errors import DataError, InvalidValueError
from jflows.eval import auroc

RANDOM = np.random.RandomState(0)


def pairs(s, t):
    return np.mean((s[:, None] > t) + 0.5 * (s[:, None] == t))


def test_every_pair_counts_and_ties_count_half():
    s, t = np.round(RANDOM.randn(40) + 1), np.round(RANDOM.randn(70))
    s[:2], t[:3] = -np.inf, -np.inf
    assert auroc(s, t).value == pytest.approx(pairs(s, t), rel=1e-12)
    assert auroc(t, s).value == pytest.approx(1 - auroc(s, t).value)
    assert auroc(s, t).standard_error == pytest.approx(auroc(t, s).standard_error)
    assert auroc([1, 1], [1, 1]) == (0.5, 0.0) and auroc([2, 3], [0, 1]) == (1.0, 0.0)
    assert np.isnan(auroc([1.0], [0.0, 2.0]).standard_error)


def test_the_standard_error_is_that_of_delong():
    s, t = RANDOM.randn(30) + 0.5, RANDOM.randn(50)
    placements = (s[:, None] > t).mean(axis=1), (s[:, None] > t).mean(axis=0)
    expected = sum(np.var(part, ddof=1) / len(part) for part in placements)
    assert auroc(s, t).standard_error == pytest.approx(np.sqrt(expected), rel=1e-10)


def test_the_standard_error_covers_the_spread():
    found = [
        auroc(RANDOM.randn(60) + 1, RANDOM.randn(40), RANDOM.exponential(size=60), np.ones(40)) for _ in range(500)
    ]
    values, errors = np.array(found).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.1)


def test_weights_count_as_repeated_rows():
    s, t, w, v = RANDOM.randint(0, 5, 20), RANDOM.randint(0, 5, 30), RANDOM.randint(0, 4, 20), RANDOM.randint(0, 4, 30)
    found = auroc(s, t, w, v)
    assert found.value == pytest.approx(auroc(np.repeat(s, w), np.repeat(t, v)).value)
    assert auroc(s, t, 1000 * w, v) == pytest.approx(found, rel=1e-12)
    assert auroc(s, t, np.full(20, 3), np.full(30, 0.1)) == pytest.approx(auroc(s, t), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], [1.0]), InvalidValueError, r"auroc: `scores` must be numbers \[num\].*got shape \(0,\)"),
        (([1.0], [np.nan, 2, np.nan]), InvalidValueError, "`others` must .* not NaN; got 2 NaN of 3"),
        (([1.0], [[1.0]]), InvalidValueError, r"got shape \(1, 1\)"),
        (([1.0, 2.0], [1.0], [1.0, -1.0]), DataError, "must be finite and not negative; got -1 in row 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        auroc(*arguments)
