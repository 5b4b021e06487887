"""Evaluation: bits per dimension, importance weights, a baseline for tables, values between layers, and pictures."""

from jflows.eval.bits import Evaluation, evaluate
from jflows.eval.gaussian import LogLikelihood, gaussian_baseline
from jflows.eval.layers import layer_names, layerwise
from jflows.eval.plane import Depth, layers_figure, plane_page

__all__ = [
    "Depth",
    "Evaluation",
    "ImportanceSamples",
    "LogLikelihood",
    "evaluate",
    "gaussian_baseline",
    "importance_sample",
    "layer_names",
    "layers_figure",
    "layerwise",
    "pareto_k",
    "plane_page",
]
