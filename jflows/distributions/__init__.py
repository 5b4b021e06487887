"""Base distributions: the densities of the latent, which flows start from."""

from jflows.distributions.autoregressive import AutoregressiveMixture
from jflows.distributions.base import Base
from jflows.distributions.heavy_tailed import Laplace, StandardLogistic, StudentT
from jflows.distributions.location_scale import LocationScale
from jflows.distributions.mixture import NormalMixture
from jflows.distributions.normal import ClassConditionalNormal, DiagonalNormal, FullNormal, StandardNormal
from jflows.distributions.product import Product, UniformAngle
from jflows.distributions.resampled import ResampledNormal
from jflows.distributions.uniform import Uniform

__all__ = [
    "AutoregressiveMixture",
    "Base",
    "ClassConditionalNormal",
    "DiagonalNormal",
    "FullNormal",
    "Laplace",
    "LocationScale",
    "NormalMixture",
    "Product",
    "ResampledNormal",
    "StandardLogistic",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "UniformAngle",
]
