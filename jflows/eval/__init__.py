"""Evaluation: bits per dimension of a data set, a baseline for tables, and pictures."""

from jflows.eval.bits import Evaluation, evaluate
from jflows.eval.gaussian import LogLikelihood, gaussian_baseline

__all__ = ["Evaluation", "LogLikelihood", "evaluate", "gaussian_baseline"]
