"""Bijectors: invertible maps with a log-det. The contract is `Bijector`; a stack of steps is `Repeat`."""

from jflows.bijectors.actnorm import ActNorm
from jflows.bijectors.base import Bijector
from jflows.bijectors.compose import Chain, Inverse
from jflows.bijectors.continuous import Continuous
from jflows.bijectors.coupling import AdditiveTwoWay, Coupling
from jflows.bijectors.elementwise import CentredPixels, ChannelAffine, LogitPixels
from jflows.bijectors.inner import Affine, InnerMap, Shift
from jflows.bijectors.linear import InvertibleLinear, RandomPermutation, Reverse
from jflows.bijectors.multiscale import MultiScale
from jflows.bijectors.repeat import Repeat
from jflows.bijectors.reshape import Squeeze
from jflows.bijectors.residual import Residual

__all__ = [
    "ActNorm",
    "AdditiveTwoWay",
    "Affine",
    "Bijector",
    "CentredPixels",
    "Chain",
    "ChannelAffine",
    "Continuous",
    "Coupling",
    "InnerMap",
    "Inverse",
    "InvertibleLinear",
    "LogitPixels",
    "MultiScale",
    "RandomPermutation",
    "Repeat",
    "Residual",
    "Reverse",
    "Shift",
    "Squeeze",
]
