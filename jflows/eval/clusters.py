"""Scores of clusters against labels (contingency table, accuracy, NMI, ARI), and which components are in use.

All functions take plain arrays, on the host. `fit_gaussian_mixture` gives a baseline for a mixture of flows, and
clusters from which one can start.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.data.checks import check_weight
from jflows.errors import InvalidTypeError, InvalidValueError, check_event_shape, kind_of
from jflows.eval.gaussian import LogLikelihood, weighted_mean
from jflows.options import Count, Seed, checked

UNUSED = 0.1  # of the share 1 / K that all would have if they were used alike


class ClusterScores(NamedTuple):
    """How well clusters agree with labels.

    Attributes:
      accuracy: share of rows whose cluster is the one that is matched to their label.
      nmi: mutual information over the mean of both entropies, in [0, 1].
      ari: adjusted Rand index: 1 for equal partitions, about 0 for independent ones; it may be negative.
      table: [num_labels, num_clusters], the number of rows (int), or the weight, of each label in each cluster.
      matching: int [num_labels], the cluster that is matched to each label; -1 if there are too few clusters.
    """

    accuracy: float
    nmi: float
    ari: float
    table: np.ndarray
    matching: np.ndarray

    def rounded(self, digits: int) -> dict[str, float]:
        """The three scores by name, rounded."""
        return {name: round(value, digits) for name, value in self._asdict().items() if np.ndim(value) == 0}


class ComponentUse(NamedTuple):
    """Which components of a mixture are in use for some data.

    Attributes:
      share: mean responsibility of each component, [K].
      effective_number: exp of the entropy of `share`: K if all components are used alike, 1 if only one is used.
      unused: the components whose share is below the threshold.
    """

    share: np.ndarray
    effective_number: float
    unused: tuple[int, ...]


class GaussianMixture(NamedTuple):
    """A mixture of K normals with full covariances, as `fit_gaussian_mixture` finds it.

    Attributes:
      train, test: mean log-likelihood per training row, and per test row, in nats.
      responsibilities: responsibilities for the training rows, [num, K].
      weights, means, covariances: parameters of the normals, [K], [K, dim], [K, dim, dim].
    """

    train: LogLikelihood
    test: LogLikelihood | None
    responsibilities: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def clusters(self) -> np.ndarray:
        """The most responsible normal of each training row, int [num]."""
        return self.responsibilities.argmax(axis=1)

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The most responsible normal of other rows: [num, dim] -> int [num]."""
        from scipy.stats import multivariate_normal

        parts = zip(self.weights, self.means, self.covariances, strict=True)
        log_joint = [np.log(w) + multivariate_normal(mean, cov).logpdf(np.asarray(x)) for w, mean, cov in parts]
        return np.argmax(log_joint, axis=0)


@checked
def contingency_table(
    labels: ArrayLike,
    clusters: ArrayLike,
    num_labels: Count | None = None,
    num_clusters: Count | None = None,
    weight: ArrayLike | None = None,
) -> np.ndarray:
    """The number of rows of each label in each cluster, or their weight: [num_labels, num_clusters].

    Args:
      labels, clusters: integers from 0, [num].
      num_labels, num_clusters: size of the table; None takes the largest label, or cluster, plus one.
      weight: how much each row counts, [num], finite and at least 0; None counts rows, as ints.
    Raises:
      InvalidValueError: if the shapes differ, there are no rows, or a number is not in its range.
      DataError: if weights are not finite and at least 0.
    Example:
      >>> contingency_table([0, 0, 1, 1], [2, 2, 0, 2])
      array([[0, 0, 2],
             [1, 0, 1]])
    """
    labels = _integers("labels", labels, num_labels)
    clusters = _integers("clusters", clusters, num_clusters)
    if labels.shape != clusters.shape:
        got = f"shapes {labels.shape} and {clusters.shape}"
        raise InvalidValueError("contingency_table", ("labels", "clusters"), "must have one shape", got)
    shape = num_labels or labels.max() + 1, num_clusters or clusters.max() + 1
    counts = 1 if weight is None else check_weight(np.asarray(weight), "contingency_table", len(labels))
    table = np.zeros(shape, np.int64 if weight is None else np.float64)
    np.add.at(table, (labels, clusters), counts)
    return table


@checked
def cluster_scores(
    labels: ArrayLike,
    clusters: ArrayLike,
    num_labels: Count | None = None,
    num_clusters: Count | None = None,
    weight: ArrayLike | None = None,
) -> ClusterScores:
    """Accuracy under the best one-to-one matching of clusters to labels, NMI and ARI.

    The matching is the assignment with the most rows (Kuhn 1955). If there are more clusters than labels, the rows of
    clusters without a label count as wrong. With weights, all numbers are those of rows repeated as often as their
    weights say, but for ARI, which counts pairs of different rows by the product of their weights.

    Source: Strehl and Ghosh 2002 (JMLR 3) for NMI, here over the arithmetic mean of the entropies; Hubert and Arabie
    1985 (J. Classification 2) for ARI.

    Args, Raises: see `contingency_table`.
    Example:
      >>> scores = cluster_scores([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 1])
      >>> round(scores.accuracy, 3), scores.matching
      (0.833, array([1, 0]))
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency_table(labels, clusters, num_labels, num_clusters, weight)
    squared = (
        table
        if weight is None
        else contingency_table(labels, clusters, num_labels, num_clusters, np.square(np.asarray(weight, np.float64)))
    )
    rows, columns = linear_sum_assignment(table, maximize=True)
    matching = np.full(len(table), -1)
    matching[rows] = columns
    accuracy = table[rows, columns].sum() / table.sum()
    return ClusterScores(float(accuracy), _nmi(table), _ari(table, squared), table, matching)


def component_use(
    responsibilities: ArrayLike, threshold: float | None = None, weight: ArrayLike | None = None
) -> ComponentUse:
    """Finds which components are in use, by their mean responsibility over data.

    Args:
      responsibilities: rows that sum to one, as `MixtureOfFlows.responsibilities` gives them: [num, K].
      threshold: the share below which a component counts as unused; None takes a tenth of 1 / K.
      weight: how much each row counts, [num], finite and at least 0; None counts all alike.
    Raises:
      InvalidValueError: if `responsibilities` are not rows of probabilities.
      DataError: if weights are not finite and at least 0.
    Example:
      >>> component_use([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
      ComponentUse(share=array([0.5, 0.5, 0. ]), effective_number=2.0, unused=(2,))
    """
    values = np.asarray(responsibilities, np.float64)
    if values.ndim != 2 or not values.size or not np.allclose(values.sum(axis=1), 1, atol=1e-4):
        rule = "must be [num, K] with rows that sum to one"
        raise InvalidValueError("component_use", "responsibilities", rule, f"shape {values.shape}")
    own = None if weight is None else check_weight(np.asarray(weight), "component_use", len(values))
    share = np.average(values, axis=0, weights=own)
    threshold = UNUSED / len(share) if threshold is None else threshold
    unused = tuple(int(k) for k in np.flatnonzero(share < threshold))
    return ComponentUse(share, float(np.exp(_entropy(share))), unused)


@checked
def fit_gaussian_mixture(
    train: ArrayLike, num_components: Count, test: ArrayLike | None = None, *, num_starts: Count = 10, seed: Seed = 0
) -> GaussianMixture:
    """Fits a mixture of normals by EM (scikit-learn), and keeps the start with the highest likelihood.

    Its clusters can start a mixture of flows: `mixture.init(key, x, assignment=found.clusters)`.

    Args:
      train: rows to fit, [num, dim], at least K of them.
      num_components: number of normals, K.
      test: rows to score, [num_test, dim].
      num_starts: number of starts, each from k-means; more cost time in proportion.
      seed: seed of the starts.
    Raises:
      InvalidValueError: for shapes that do not fit.
    """
    from sklearn.mixture import GaussianMixture as EM

    if hasattr(train, "x"):
        got = kind_of(train)
        raise InvalidTypeError("fit_gaussian_mixture", "train", "must be an array [num, dim]", got, "Pass its `x`.")
    train = np.asarray(train, np.float64)
    if train.ndim != 2 or len(train) < num_components or not np.isfinite(train).all():
        rule = f"must be finite, [num, dim] with at least {num_components} rows"
        raise InvalidValueError("fit_gaussian_mixture", "train", rule, f"shape {train.shape}")
    if test is not None:
        test = np.asarray(test, np.float64)
        check_event_shape("fit_gaussian_mixture", "test", test.shape, train.shape[1:])
    em = EM(num_components, n_init=num_starts, random_state=seed, max_iter=1000).fit(train)
    return GaussianMixture(
        _likelihood(em.score_samples(train)),
        None if test is None else _likelihood(em.score_samples(test)),
        em.predict_proba(train),
        *map(np.asarray, (em.weights_, em.means_, em.covariances_)),
    )


def _likelihood(log_prob: np.ndarray) -> LogLikelihood:
    return weighted_mean(log_prob, np.ones(len(log_prob)))


def _integers(argument: str, values: ArrayLike, number: int | None) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "ui":
        got = f"{array.dtype} of shape {array.shape}"
        raise InvalidValueError("contingency_table", argument, "must be integers [num], num >= 1", got)
    high = np.inf if number is None else number - 1
    if array.min() < 0 or array.max() > high:
        rule = "must not be negative" if number is None else f"must be in 0..{high}"
        raise InvalidValueError("contingency_table", argument, rule, f"values {array.min()}..{array.max()}")
    return array


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log(positive)))


def _nmi(table: np.ndarray) -> float:
    joint = table / table.sum()
    of_labels, of_clusters = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    if of_labels + of_clusters == 0:
        return 1.0  # one label, one cluster: the same partition
    return 2 * (of_labels + of_clusters - _entropy(joint.ravel())) / (of_labels + of_clusters)


def _ari(table: np.ndarray, squared: np.ndarray) -> float:
    """From sums of weights and of their squares: pairs of different rows have (sum w)^2 / 2 - sum w^2 / 2."""
    pairs = lambda *axes: float(np.sum(table.sum(axis=axes) ** 2 - squared.sum(axis=axes)) / 2)
    together, in_labels, in_clusters, pairs_in_all = pairs(), pairs(1), pairs(0), pairs(0, 1)
    by_chance = in_labels * in_clusters / pairs_in_all if pairs_in_all > 0 else 0.0
    largest = (in_labels + in_clusters) / 2
    return 1.0 if largest == by_chance else (together - by_chance) / (largest - by_chance)
