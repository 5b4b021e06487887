"""Measures of how far rows are out of distribution: one file each, with a pure function on arrays and its `Measure`."""

from jflows.eval.ood.base import Evidence, Measure
from jflows.eval.ood.complexity import Complexity, complexity, compressed_bits
from jflows.eval.ood.likelihood import Likelihood
from jflows.eval.ood.likelihood_ratio import LikelihoodRatio, likelihood_ratio
from jflows.eval.ood.radius import Radius, base_norms, latent_norms, radius
from jflows.eval.ood.typicality import Typicality, typicality
from jflows.eval.ood.waic import Waic, waic

MEASURES: dict[str, type[Measure]] = {
    measure.name: measure for measure in (Likelihood, Typicality, LikelihoodRatio, Complexity, Waic, Radius)
}
"""The measures of `jflows score --measure` by their names."""

__all__ = [
    "MEASURES",
    "Complexity",
    "Evidence",
    "Likelihood",
    "LikelihoodRatio",
    "Measure",
    "Radius",
    "Typicality",
    "Waic",
    "base_norms",
    "complexity",
    "compressed_bits",
    "latent_norms",
    "likelihood_ratio",
    "radius",
    "typicality",
    "waic",
]
