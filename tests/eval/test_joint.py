"""Joint normals of two latents: conditionals are those of the joint density, both ways."""

import numpy as np
import pytest

from jflows.errors import DataError, InvalidValueError
from jflows.eval import joint_normal

RANDOM = np.random.RandomState(0)
MIXING = RANDOM.standard_normal((5, 5))
PAIRS = RANDOM.standard_normal((20_000, 5)) @ MIXING + np.arange(5)
JOINT = joint_normal(PAIRS[:, :3], PAIRS[:, 3:])


def log_normal(z, mean, covariance):
    apart = z - mean
    squared = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart)
    return -0.5 * (squared + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_the_fit_is_that_of_the_pairs():
    np.testing.assert_allclose(JOINT.mean, np.arange(5), atol=0.1)
    np.testing.assert_allclose(JOINT.covariance, MIXING.T @ MIXING, atol=0.25)
    assert 0 <= JOINT.shrinkage < 0.01 and JOINT.num_first == 3


@pytest.mark.parametrize("second", [True, False])
def test_conditional_densities_are_the_joint_over_the_marginal(second):
    z = PAIRS[:7]
    known, wanted = (z[:, :3], z[:, 3:]) if second else (z[:, 3:], z[:, :3])
    found = JOINT.second_given_first(known) if second else JOINT.first_given_second(known)
    whole = log_normal(z, JOINT.mean, JOINT.covariance)
    own = slice(None, 3) if second else slice(3, None)
    marginal = log_normal(known, JOINT.mean[own], JOINT.covariance[own, own])
    np.testing.assert_allclose(found.log_prob(wanted), whole - marginal, rtol=1e-8)


def test_correlations_of_few_pairs_are_shrunk_as_new_pairs_need_it():
    random = np.random.RandomState(1)

    def pairs(num):
        shared = random.standard_normal((num, 3))
        first = np.concatenate([shared + random.standard_normal((num, 3)), random.standard_normal((num, 37))], axis=1)
        return first, shared

    few, new = pairs(200), pairs(2000)
    found = {s: joint_normal(*few, shrinkage=s).second_given_first(new[0]).log_prob(new[1]) for s in (0.001, 0.9)}
    chosen = joint_normal(*few)
    best = chosen.second_given_first(new[0]).log_prob(new[1]).mean()
    assert best > max(values.mean() for values in found.values()) + 0.05


def test_draws_follow_the_conditional_and_shrink_with_temperature():
    found = JOINT.second_given_first(PAIRS[:2, :3])
    drawn = found.draw(20_000)
    assert drawn.shape == (20_000, 2, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), found.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn[:, 0].T), found.factor @ found.factor.T, rtol=0.05, atol=0.03)
    np.testing.assert_allclose(found.draw(3, 0.0), np.broadcast_to(found.mean, (3, 2, 2)))


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        (PAIRS[:30, :3], PAIRS[:20, 3:], InvalidValueError, "`second` must be of the 30 rows of `first`; got 20"),
        (PAIRS[:10, :3], PAIRS[:10, 3:], DataError, "`first` must have at least 20 rows; got 10"),
        (np.zeros((30, 3)), PAIRS[:30, 3:], DataError, "3 dimensions that are constant, the first 0"),
        (
            np.full((30, 3), np.nan),
            PAIRS[:30, 3:],
            InvalidValueError,
            "`first` must be finite; got NaN or infinite entries in 30",
        ),
        (np.zeros((30, 5000)), PAIRS[:30, 3:], InvalidValueError, "must have at most 4,096 dimensions"),
        (
            np.zeros(30),
            PAIRS[:30, 3:],
            InvalidValueError,
            r"`first` must be numbers of the shape \[num, dim\]; got \(30,\)",
        ),
    ],
)
def test_wrong_pairs(first, second, error, message):
    with pytest.raises(error, match=message):
        joint_normal(first, second)


def test_wrong_conditions():
    with pytest.raises(InvalidValueError, match=r"`shrinkage` must lie in \(0, 1\]; got 0"):
        joint_normal(PAIRS[:30, :3], PAIRS[:30, 3:], shrinkage=0.0)
    with pytest.raises(
        InvalidValueError, match=r"`first` must have 3 dimensions, as those fitted to; got shape \(2, 2\)"
    ):
        JOINT.second_given_first(np.zeros((2, 2)))
    with pytest.raises(InvalidValueError, match=r"`latents` must be of the shape \(2, 2\), one for each row"):
        JOINT.second_given_first(np.zeros((2, 3))).log_prob(np.zeros((3, 2)))
