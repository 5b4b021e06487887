"""Nats of images whose pixels are scaled to an interval, as older papers state them, and bits per dimension."""

import math
from typing import TypeVar

import numpy as np

from jflows.errors import check_choice
from jflows.options import Count, NumBits, checked
from jflows.typing import Array

PIXEL_SCALES = {"[0, 1]": 1.0, "[-1, 1]": 2.0}
"""The length of the interval to which pixels are scaled, by its name."""

Number = TypeVar("Number", float, Array, np.ndarray)


@checked
def nats_from_bits(bits_per_dim: Number, num_dims: Count, scale: str, num_bits: NumBits = 8) -> Number:
    """The log-likelihood in nats of dequantized pixels that are scaled to an interval, from bits per dimension.

        nats = D (num_bits log 2 - log length) - bits D log 2,   length = 1 for [0, 1], 2 for [-1, 1]

    Bits per dimension are those of integers 0..2^num_bits - 1. Scaled pixels are (x + u) / 2^num_bits with u in [0, 1),
    or twice that minus 1. The scale must stand beside such a number: between the two intervals lie D log 2 nats.

    Source: the change of variables; Dinh et al. 2014, arXiv:1410.8516, table 3, states nats of [0, 1] for MNIST and of
    [-1, 1] for CIFAR-10.

    Args:
      bits_per_dim: a number or an array.
      num_dims: D, the number of dimensions of an image.
      scale: "[0, 1]" or "[-1, 1]".
      num_bits: the bits of a pixel.
    Raises:
      InvalidValueError: for another scale, or numbers out of range.
    Example:
      >>> round(nats_from_bits(4.3556, 784, "[0, 1]"), 1), round(nats_from_bits(4.4773, 3072, "[-1, 1]"), 1)
      (1980.5, 5371.7)
    """
    return _whole(num_dims, scale, num_bits, "nats_from_bits") - bits_per_dim * (num_dims * math.log(2))


@checked
def bits_from_nats(nats: Number, num_dims: Count, scale: str, num_bits: NumBits = 8) -> Number:
    """Bits per dimension from the nats of scaled pixels: the inverse of `nats_from_bits`.

    Example:
      >>> round(bits_from_nats(1980.50, 784, "[0, 1]"), 2), round(bits_from_nats(5371.78, 3072, "[-1, 1]"), 2)
      (4.36, 4.48)
    """
    return (_whole(num_dims, scale, num_bits, "bits_from_nats") - nats) / (num_dims * math.log(2))


def _whole(num_dims: int, scale: str, num_bits: int, where: str) -> float:
    """The nats of 0 bits per dimension."""
    check_choice(where, "scale", scale, tuple(PIXEL_SCALES))
    return num_dims * (num_bits * math.log(2) - math.log(PIXEL_SCALES[scale]))
