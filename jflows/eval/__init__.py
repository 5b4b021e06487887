"""Evaluation: bits per dimension of a data set, and pictures."""

from jflows.eval.bits import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
