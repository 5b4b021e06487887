"""Bijectors: invertible maps with a log-det. The contract is `Bijector`; a stack of steps is `Repeat`."""

from jflows.bijectors.actnorm import ActNorm
from jflows.bijectors.base import Bijector
from jflows.bijectors.compose import Chain, Inverse
from jflows.bijectors.coupling import Coupling
from jflows.bijectors.elementwise import CentredPixels, ChannelAffine, LogitPixels
from jflows.bijectors.inner import Affine, InnerMap, Shift
from jflows.bijectors.linear import DiagonalLinear, InvertibleLinear, LinearMap, LowRankLinear, TriangularLinear
from jflows.bijectors.multiscale import MultiScale
from jflows.bijectors.orthogonal import Householder, Orthogonal, QRLinear, SVDLinear
from jflows.bijectors.permutation import Permute, RandomPermutation, Reverse, SwapHalves
from jflows.bijectors.repeat import Repeat
from jflows.bijectors.reshape import Haar, Reshape, Squeeze, Transpose

__all__ = [
    "ActNorm",
    "Affine",
    "Bijector",
    "CentredPixels",
    "Chain",
    "ChannelAffine",
    "Coupling",
    "DiagonalLinear",
    "Haar",
    "Householder",
    "InnerMap",
    "Inverse",
    "InvertibleLinear",
    "LinearMap",
    "LogitPixels",
    "LowRankLinear",
    "MultiScale",
    "Orthogonal",
    "Permute",
    "QRLinear",
    "RandomPermutation",
    "Repeat",
    "Reshape",
    "Reverse",
    "SVDLinear",
    "Shift",
    "Squeeze",
    "SwapHalves",
    "Transpose",
    "TriangularLinear",
]
