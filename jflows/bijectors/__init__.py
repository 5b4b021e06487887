"""Bijectors: invertible maps with a log-det. The contract is `Bijector`; a stack of steps is `Repeat`."""

from jflows.bijectors.actnorm import ActNorm
from jflows.bijectors.base import Bijector
from jflows.bijectors.compose import Chain, Inverse
from jflows.bijectors.coupling import Coupling
from jflows.bijectors.elementwise import CentredPixels, ChannelAffine, LogitPixels
from jflows.bijectors.inner import Affine, InnerMap, Shift
from jflows.bijectors.linear import InvertibleLinear, RandomPermutation, Reverse
from jflows.bijectors.multiscale import MultiScale
from jflows.bijectors.repeat import Repeat
from jflows.bijectors.reshape import Squeeze
from jflows.bijectors.spline import CubicSpline, LinearSpline, QuadraticSpline, RationalQuadraticSpline

__all__ = [
    "ActNorm",
    "Affine",
    "Bijector",
    "CentredPixels",
    "Chain",
    "ChannelAffine",
    "Coupling",
    "CubicSpline",
    "InnerMap",
    "Inverse",
    "InvertibleLinear",
    "LinearSpline",
    "LogitPixels",
    "MultiScale",
    "QuadraticSpline",
    "RandomPermutation",
    "RationalQuadraticSpline",
    "Repeat",
    "Reverse",
    "Shift",
    "Squeeze",
]
