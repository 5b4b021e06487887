"""Pure functions on arrays: the mathematics under the bijectors, without Flax."""

from jflows.ops.affine import bounded_log_scale, whitening
from jflows.ops.conv import conv2d
from jflows.ops.linear import plu_inverse_matrix, plu_matrix, plu_pack, random_rotation
from jflows.ops.masks import MASK_KINDS, make_mask
from jflows.ops.numerics import constant_log_det, sum_event, zero_log_det
from jflows.ops.reshape import squeeze, unsqueeze

__all__ = [
    "MASK_KINDS",
    "bounded_log_scale",
    "constant_log_det",
    "conv2d",
    "make_mask",
    "plu_inverse_matrix",
    "plu_matrix",
    "plu_pack",
    "random_rotation",
    "squeeze",
    "sum_event",
    "unsqueeze",
    "whitening",
    "zero_log_det",
]
