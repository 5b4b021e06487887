"""Pure functions on arrays: the mathematics under the bijectors, without Flax."""

from jflows.ops.affine import bounded_log_scale, whitening
from jflows.ops.attention import self_attention
from jflows.ops.autoregressive import made_degrees, made_masks
from jflows.ops.conv import conv2d
from jflows.ops.domain import Domain
from jflows.ops.linear import (
    cayley,
    fill_triangular,
    householder_matrix,
    householder_matvec,
    low_rank_log_det,
    low_rank_matvec,
    low_rank_solve,
    matvec,
    plu_inverse_matrix,
    plu_matrix,
    plu_pack,
    qr_inverse_matrix,
    qr_matrix,
    random_rotation,
    skew_exp,
    skew_matrix,
    svd_matrix,
    triangular_inverse,
    triangular_log_diagonal,
)
from jflows.ops.masks import MASK_KINDS, make_mask
from jflows.ops.numerics import constant_log_det, sum_event, value_and_gradient, zero_log_det
from jflows.ops.polynomial_splines import linear_spline, polynomial_spline, polynomial_spline_inverse
from jflows.ops.reshape import haar, inverse_haar, squeeze, unsqueeze
from jflows.ops.splines import on_interval, rational_quadratic, rational_quadratic_inverse

__all__ = [
    "MASK_KINDS",
    "Domain",
    "bounded_log_scale",
    "cayley",
    "constant_log_det",
    "conv2d",
    "fill_triangular",
    "haar",
    "householder_matrix",
    "householder_matvec",
    "inverse_haar",
    "linear_spline",
    "low_rank_log_det",
    "low_rank_matvec",
    "low_rank_solve",
    "made_degrees",
    "made_masks",
    "make_mask",
    "matvec",
    "on_interval",
    "plu_inverse_matrix",
    "plu_matrix",
    "plu_pack",
    "polynomial_spline",
    "polynomial_spline_inverse",
    "qr_inverse_matrix",
    "qr_matrix",
    "random_rotation",
    "rational_quadratic",
    "rational_quadratic_inverse",
    "self_attention",
    "skew_exp",
    "skew_matrix",
    "squeeze",
    "sum_event",
    "svd_matrix",
    "triangular_inverse",
    "triangular_log_diagonal",
    "unsqueeze",
    "value_and_gradient",
    "whitening",
    "zero_log_det",
]
