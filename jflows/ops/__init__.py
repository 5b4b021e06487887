"""Pure functions on arrays: the mathematics under the bijectors, without Flax."""

from jflows.ops.affine import bounded_log_scale, whitening
from jflows.ops.conv import conv2d
from jflows.ops.linear import plu_inverse_matrix, plu_matrix, plu_pack, random_rotation
from jflows.ops.numerics import constant_log_det, sum_event, zero_log_det
from jflows.ops.polynomial_splines import linear_spline, polynomial_spline, polynomial_spline_inverse
from jflows.ops.reshape import squeeze, unsqueeze
from jflows.ops.splines import on_interval, rational_quadratic, rational_quadratic_inverse

__all__ = [
    "bounded_log_scale",
    "constant_log_det",
    "conv2d",
    "linear_spline",
    "on_interval",
    "plu_inverse_matrix",
    "plu_matrix",
    "plu_pack",
    "polynomial_spline",
    "polynomial_spline_inverse",
    "random_rotation",
    "rational_quadratic",
    "rational_quadratic_inverse",
    "squeeze",
    "sum_event",
    "unsqueeze",
    "whitening",
    "zero_log_det",
]
