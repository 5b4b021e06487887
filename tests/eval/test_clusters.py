"""Scores of clusters against scikit-learn, the use of components, EM, and their messages."""

import numpy as np
import pytest
from sklearn import metrics

from jflows.errors import InvalidValueError
from jflows.eval import cluster_scores, component_use, contingency_table, fit_gaussian_mixture

RANDOM = np.random.default_rng(0)
CASES = {
    "random": (RANDOM.integers(0, 4, 200), RANDOM.integers(0, 3, 200)),
    "related": ((labels := RANDOM.integers(0, 5, 300)), np.where(RANDOM.random(300) < 0.8, (labels + 2) % 5, 5)),
    "permuted": (np.arange(30) % 3, (np.arange(30) + 1) % 3),
    "one cluster": (np.arange(10) % 2, np.zeros(10, int)),
    "all one": (np.zeros(4, int), np.zeros(4, int)),
    "all apart": (np.arange(5), np.arange(5)[::-1].copy()),
    "one row": (np.array([0]), np.array([2])),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_scikit_learn(name):
    labels, clusters = CASES[name]
    scores = cluster_scores(labels, clusters)
    np.testing.assert_allclose(scores.nmi, metrics.normalized_mutual_info_score(labels, clusters), atol=1e-12)
    np.testing.assert_allclose(scores.ari, metrics.adjusted_rand_score(labels, clusters), atol=1e-12)
    table = metrics.cluster.contingency_matrix(labels, clusters)
    np.testing.assert_array_equal(scores.table[np.ix_(np.unique(labels), np.unique(clusters))], table)
    right = scores.matching[labels] == clusters
    assert scores.accuracy == right.mean()


def test_the_matching_is_the_best_one():
    labels, clusters = CASES["related"]
    scores = cluster_scores(labels, clusters, num_labels=5, num_clusters=7)
    assert scores.table.shape == (5, 7)
    np.testing.assert_array_equal(scores.matching, (np.arange(5) + 2) % 5)
    assert 0.7 < scores.accuracy < 0.9  # rows in cluster 5 are wrong: it matches no label
    few = cluster_scores([0, 1, 2, 2], [0, 0, 1, 1])
    assert sorted(few.matching) == [-1, 0, 1]
    assert few.accuracy == 0.75


def test_components_that_go_unused_are_reported():
    share = np.array([0.7, 0.25, 0.04, 0.01])
    use = component_use(np.tile(share, (5, 1)))
    np.testing.assert_allclose(use.share, share)
    assert use.unused == (3,)
    np.testing.assert_allclose(use.effective_number, np.exp(-(share * np.log(share)).sum()))
    assert component_use(np.tile(share, (5, 1)), threshold=0.1).unused == (2, 3)
    assert component_use(np.eye(4)).effective_number == pytest.approx(4)
    assert component_use(np.eye(4)[[0, 0]]).effective_number == 1


def test_em_finds_separate_normals():
    centres, label = np.array([[-5.0, 0.0], [5.0, 5.0], [0.0, -6.0]]), np.arange(300) % 3
    x = centres[label] + RANDOM.standard_normal((300, 2))
    found = fit_gaussian_mixture(x, 3, x[:50], num_starts=2)
    assert cluster_scores(label, found.clusters).accuracy > 0.99
    assert found.responsibilities.shape == (300, 3)
    np.testing.assert_allclose(found.means[cluster_scores(label, found.clusters).matching], centres, atol=0.5)
    entropy = np.log(2 * np.pi * np.e) + np.log(3)
    assert abs(found.train.nats + entropy) < 5 * found.train.standard_error
    assert abs(found.test.nats + entropy) < 5 * found.test.standard_error
    assert fit_gaussian_mixture(x, 2, num_starts=1).test is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: contingency_table([0, 1], [0, 1, 2]),
            r"contingency_table: `labels, clusters` must have one shape; got shapes \(2,\) and \(3,\)",
        ),
        (lambda: contingency_table([0.5], [0]), r"`labels` must be integers \[num\], num >= 1; got float64 of shape"),
        (lambda: cluster_scores([], []), r"`labels` must be integers \[num\], num >= 1; got float64 of shape \(0,\)"),
        (lambda: contingency_table([0, -1], [0, 1]), r"`labels` must not be negative; got values -1..0"),
        (lambda: contingency_table([0, 1], [0, 3], 2, 3), r"`clusters` must be in 0..2; got values 0..3"),
        (
            lambda: component_use([[0.5, 0.6]]),
            r"component_use: `responsibilities` must be \[num, K\] with rows that sum to one; got shape \(1, 2\)",
        ),
        (
            lambda: fit_gaussian_mixture(np.ones((2, 1)), 3),
            r"fit_gaussian_mixture: `train` must be finite, \[num, dim\] with at least 3 rows; got shape \(2, 1\)",
        ),
        (lambda: fit_gaussian_mixture(np.ones((2, 1)), 0), "`num_components` must be at least 1; got 0"),
        (
            lambda: fit_gaussian_mixture(np.ones((5, 2)), 1, np.ones((5, 3))),
            r"`test` must have event shape \(2,\); got shape \(5, 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call()
