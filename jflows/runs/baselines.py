"""Baselines to compare flows with: a normal with full covariance in closed form, and a mixture of normals by EM."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jflows.data import NUM_FOLDS, Data
from jflows.errors import DataError
from jflows.eval import LogLikelihood, cluster_scores, fit_gaussian_mixture, gaussian_baseline
from jflows.runs.data import DataConfig, has_folds

DIGITS = 4
MAX_DIM = 100  # of data that a Gaussian mixture with full covariances is fitted to


class Baseline(NamedTuple):
    """The score of the normal baseline on one table, nats per row.

    Attributes:
      data: name of the table.
      score: mean over test rows, with the standard error over rows. Of a table that papers score in ten folds, it is
        the mean over all ten, with the standard error over folds.
    """

    data: str
    score: LogLikelihood


def baseline(name: str, columns: tuple[str, ...] = (), weight: str | None = None) -> Baseline:
    """Fits a normal with full covariance to the training rows in closed form, and scores it on the test rows.

    Args:
      name: the name of a table, or the path of one.
      columns: the columns to use of a table in a file; () uses all.
      weight: the column of such a table that holds the weights of the rows; None counts all alike, or, of an .npz file,
        by its weights.
    Returns:
      `Baseline`: the mean log-likelihood of test rows, in nats, with its standard error.
    Raises:
      DataError: if the data cannot be had, are not a table, or have contexts.
      InvalidValueError: if a column is unknown, or an option does not apply to the data.
    """
    data = DataConfig(name=name, columns=columns, weight=weight)
    if not has_folds(name):
        return Baseline(name, _score(data))
    nats = [_score(dataclasses.replace(data, fold=fold)).nats for fold in range(NUM_FOLDS)]
    over_folds = float(np.std(nats, ddof=1) / np.sqrt(NUM_FOLDS))
    return Baseline(name, LogLikelihood(float(np.mean(nats)), over_folds))


def mixture_baseline(data: Data, test: Data, num_components: int) -> dict[str, Any] | None:
    """The scores of a mixture of normals, fitted by EM: nats, and its agreement with labels.

    Returns:
      None if there are no labels, too many columns for full covariances, or weights, which this EM does not take.
    """
    if data.event_shape[0] > MAX_DIM or test.label is None or data.weight is not None:
        return None
    found = fit_gaussian_mixture(data.x, num_components, test.x)
    assert found.test is not None
    scores = cluster_scores(test.label, found.predict(test.x), test.num_classes, num_components)
    return {
        "train_nats": round(found.train.nats, DIGITS),
        "nats": round(found.test.nats, DIGITS),
        **scores.rounded(DIGITS),
    }


def _score(config: DataConfig) -> LogLikelihood:
    data, test = config.load("train"), config.load("test")
    if not data.kind.has_columns:
        raise DataError("baseline", "data", "must be a table", f"the images {data.name!r}", "Try mnist_logit.")
    if data.context is not None:
        rule, fix = "must have no contexts, which the normal does not take", "Leave them out of the file."
        raise DataError("baseline", "data", rule, repr(data), fix)
    return gaussian_baseline(data.x, test.x, data.weight, test.weight)
