"""Modes of latents: dips and gains of two normals along directions, beside sets from the base; and what t misses."""

from jflows.eval.modes.dip import dip, dip_p_values
from jflows.eval.modes.figure import modality_figure
from jflows.eval.modes.gain import TwoNormals, fit_two_normals, mixture_gain
from jflows.eval.modes.null import ModalityNull, modality_null
from jflows.eval.modes.predictive import PredictiveDivergence, fit_student_t, predictive_divergence, student_gain
from jflows.eval.modes.report import ModalityReport, ModalityTest, Projection, modality

__all__ = [
    "ModalityNull",
    "ModalityReport",
    "ModalityTest",
    "PredictiveDivergence",
    "Projection",
    "TwoNormals",
    "dip",
    "dip_p_values",
    "fit_student_t",
    "fit_two_normals",
    "mixture_gain",
    "modality",
    "modality_figure",
    "modality_null",
    "predictive_divergence",
    "student_gain",
]
