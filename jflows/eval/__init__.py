"""Evaluation: bits per dimension of a data set, importance weights, a baseline for tables, and pictures."""

from jflows.eval.bits import Evaluation, evaluate
from jflows.eval.gaussian import LogLikelihood, gaussian_baseline
from jflows.eval.importance import ImportanceSamples, importance_sample, pareto_k

__all__ = [
    "Evaluation",
    "ImportanceSamples",
    "LogLikelihood",
    "evaluate",
    "gaussian_baseline",
    "importance_sample",
    "pareto_k",
]
