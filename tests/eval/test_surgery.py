"""Density surgery: the new density is normalised, its draws are without what was removed, and others lose little."""

import numpy as np
import pytest
import scipy.stats

from jflows.errors import DataError, InvalidValueError
from jflows.eval import remove

DRAWS = np.random.RandomState(0).standard_normal((20_000, 1))


def right(u):
    """The probability of a kind that lies to the right of 1."""
    return 1 / (1 + np.exp(-20 * (u[:, 0] - 1)))


def test_the_density_is_explicit_and_normalised():
    gone = remove(right, DRAWS)
    at = np.linspace(-8, 8, 4001)[:, None]
    density = np.exp(gone.log_prob(at, scipy.stats.norm.logpdf(at[:, 0])))
    assert np.trapezoid(density, at[:, 0]) == pytest.approx(1, abs=3 * gone.standard_error)
    assert np.exp(gone.log_normaliser) == pytest.approx(scipy.stats.norm.cdf(1), abs=0.02)


def test_draws_are_without_what_was_removed_and_others_keep_their_shape():
    gone = remove(right, DRAWS)
    kept = DRAWS[gone.accepts(DRAWS, seed=1)]
    assert np.mean(kept > 1.2) < 0.003 < 0.1 < np.mean(DRAWS > 1.2)
    inside, before = kept[kept < 0.5], DRAWS[DRAWS < 0.5]
    quantiles = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(inside, quantiles), np.quantile(before, quantiles), atol=0.03)
    assert len(kept) / len(DRAWS) == pytest.approx(np.exp(gone.log_normaliser), abs=0.01)


def test_a_row_taken_for_what_is_removed_loses_a_bounded_number_of_nats():
    gone = remove(lambda u: np.full(len(u), 1.0), DRAWS, strength=0.9)
    assert gone.log_normaliser == pytest.approx(np.log(0.1))
    np.testing.assert_allclose(gone.log_prob(DRAWS[:3], np.zeros(3)), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("probability", "draws", "options", "error", "message"),
    [
        (right, DRAWS[:10], {}, DataError, "`draws` must be at least 100; got 10"),
        (right, DRAWS, {"strength": 1.0}, InvalidValueError, r"`strength` must lie in \(0, 1\); got 1.0"),
        (lambda u: u[:, 0], DRAWS, {}, InvalidValueError, r"`probability` must give 20000 numbers in \[0, 1\]"),
        (lambda u: np.zeros((3,)), DRAWS, {}, InvalidValueError, r"`probability` must give 20000 .*shape \(3,\)"),
    ],
)
def test_wrong_input(probability, draws, options, error, message):
    with pytest.raises(error, match=message):
        remove(probability, draws, **options)
