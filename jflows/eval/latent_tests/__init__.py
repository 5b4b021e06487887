"""Tests of latents against the base: what they find is ranked among sets drawn from the base itself."""

from jflows.eval.latent_tests.figure import latent_figure
from jflows.eval.latent_tests.flows import base_of_flow, groups_of, latents_of
from jflows.eval.latent_tests.null import LatentNull, latent_null
from jflows.eval.latent_tests.report import Deviation, GroupOfRows, LatentReport, LatentTest, Pair, latent_tests

__all__ = [
    "Deviation",
    "GroupOfRows",
    "LatentNull",
    "LatentReport",
    "LatentTest",
    "Pair",
    "base_of_flow",
    "groups_of",
    "latent_figure",
    "latent_null",
    "latent_tests",
    "latents_of",
]
