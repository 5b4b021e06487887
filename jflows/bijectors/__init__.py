"""Bijectors: invertible maps with a log-det. The contract is `Bijector`; a stack of steps is `Repeat`."""

from jflows.bijectors.actnorm import ActNorm, Standardize
from jflows.bijectors.autoregressive import MaskedAutoregressive
from jflows.bijectors.base import Bijector
from jflows.bijectors.batchnorm import BatchNorm
from jflows.bijectors.block_autoregressive import BlockNeuralAutoregressive
from jflows.bijectors.compose import Chain, Conditioned, Inverse
from jflows.bijectors.continuous import Continuous
from jflows.bijectors.coupling import AdditiveTwoWay, Coupling
from jflows.bijectors.elementwise import Elementwise
from jflows.bijectors.inner import Affine, InnerMap, PReLU, Shift
from jflows.bijectors.integral import MonotoneIntegral
from jflows.bijectors.linear import DiagonalLinear, InvertibleLinear, LinearMap, LowRankLinear, TriangularLinear
from jflows.bijectors.logistic_mixture import Gaussianize, LogisticMixture
from jflows.bijectors.multiscale import MultiScale
from jflows.bijectors.orthogonal import Householder, Orthogonal, QRLinear, SVDLinear
from jflows.bijectors.parts import Masked, Split, Stack, Vmap
from jflows.bijectors.permutation import Permute, RandomPermutation, Reverse, SwapHalves
from jflows.bijectors.pixels import CentredPixels, LogitPixels
from jflows.bijectors.planar import Planar, Radial
from jflows.bijectors.pointwise import ELU, Exp, Identity, LeakyReLU, Logit, Power, Sigmoid, Softplus, Softsign, Tanh
from jflows.bijectors.repeat import Repeat
from jflows.bijectors.reshape import Haar, Reshape, Squeeze, Transpose
from jflows.bijectors.residual import Residual
from jflows.bijectors.spline import CubicSpline, LinearSpline, QuadraticSpline, RationalQuadraticSpline
from jflows.bijectors.sylvester import Sylvester

__all__ = [
    "ELU",
    "ActNorm",
    "AdditiveTwoWay",
    "Affine",
    "BatchNorm",
    "Bijector",
    "BlockNeuralAutoregressive",
    "CentredPixels",
    "Chain",
    "Conditioned",
    "Continuous",
    "Coupling",
    "CubicSpline",
    "DiagonalLinear",
    "Elementwise",
    "Exp",
    "Gaussianize",
    "Haar",
    "Householder",
    "Identity",
    "InnerMap",
    "Inverse",
    "InvertibleLinear",
    "LeakyReLU",
    "LinearMap",
    "LinearSpline",
    "LogisticMixture",
    "Logit",
    "LogitPixels",
    "LowRankLinear",
    "Masked",
    "MaskedAutoregressive",
    "MonotoneIntegral",
    "MultiScale",
    "Orthogonal",
    "PReLU",
    "Permute",
    "Planar",
    "Power",
    "QRLinear",
    "QuadraticSpline",
    "Radial",
    "RandomPermutation",
    "RationalQuadraticSpline",
    "Repeat",
    "Reshape",
    "Residual",
    "Reverse",
    "SVDLinear",
    "Shift",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Split",
    "Squeeze",
    "Stack",
    "Standardize",
    "SwapHalves",
    "Sylvester",
    "Tanh",
    "Transpose",
    "TriangularLinear",
    "Vmap",
]
