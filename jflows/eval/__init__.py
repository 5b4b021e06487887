"""Evaluation: bits per dimension of a data set, a baseline for tables, clusters, and pictures."""

from jflows.eval.bits import Evaluation, evaluate
from jflows.eval.clusters import (
    ClusterScores,
    ComponentUse,
    GaussianMixture,
    cluster_scores,
    component_use,
    contingency_table,
    fit_gaussian_mixture,
)
from jflows.eval.gaussian import LogLikelihood, gaussian_baseline

__all__ = [
    "ClusterScores",
    "ComponentUse",
    "Evaluation",
    "GaussianMixture",
    "LogLikelihood",
    "cluster_scores",
    "component_use",
    "contingency_table",
    "evaluate",
    "fit_gaussian_mixture",
    "gaussian_baseline",
]
