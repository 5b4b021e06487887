"""Pure functions on arrays: the mathematics under the bijectors, without Flax."""

from jflows.ops.affine import bounded_log_scale, whitening
from jflows.ops.attention import self_attention
from jflows.ops.autoregressive import made_degrees, made_masks
from jflows.ops.conv import conv2d
from jflows.ops.linear import plu_inverse_matrix, plu_matrix, plu_pack, random_rotation
from jflows.ops.numerics import constant_log_det, sum_event, zero_log_det
from jflows.ops.reshape import squeeze, unsqueeze

__all__ = [
    "bounded_log_scale",
    "constant_log_det",
    "conv2d",
    "made_degrees",
    "made_masks",
    "plu_inverse_matrix",
    "plu_matrix",
    "plu_pack",
    "random_rotation",
    "self_attention",
    "squeeze",
    "sum_event",
    "unsqueeze",
    "whitening",
    "zero_log_det",
]
