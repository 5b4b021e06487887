"""Dilated convolutions over time, as one matrix product.

XLA's convolution has a slow gradient on a CPU (`jflows/ops/conv.py` says more), a dilated one above all: 13 to 21 times
slower, measured on 512 steps of 48 and 64 channels. So the taps are shifted copies of the input side by side, on every
platform; on accelerators that costs the memory of the copies. Read next: `jflows/nn/wavenet.py`.
"""

import jax.numpy as jnp
from jax import lax

from jflows.errors import InvalidValueError
from jflows.ops.numerics import product
from jflows.typing import Array


def dilated_conv(x: Array, kernel: Array, dilation: int = 1, compute_dtype: str = "full") -> Array:
    """Convolution over time with an odd number of taps, and zero padding that keeps the length.

        y[t, o] = sum_{a, c} x[t + (a - r) dilation, c] kernel[a, c, o],   r = (taps - 1) / 2

    Args:
      dilation: steps of time between two taps, at least 1.
      compute_dtype: type of the product, see `jflows.ops.numerics`.
    Shapes:
      x: [*batch, time, in], kernel: [taps, in, out] -> y: [*batch, time, out].
    Raises:
      InvalidValueError: for a kernel of another rank, with an even number of taps or other channels.
    Example:
      >>> dilated_conv(jnp.ones((2, 16, 1)), jnp.ones((3, 1, 5)), dilation=4).shape
      (2, 16, 5)
    """
    if kernel.ndim != 3 or kernel.shape[0] % 2 == 0:
        rule = "must be [taps, in, out] with an odd number of taps"
        raise InvalidValueError("dilated_conv", "kernel", rule, f"shape {kernel.shape}")
    if kernel.shape[1] != x.shape[-1]:
        rule = f"must have {x.shape[-1]} input channels, as `x` of shape {x.shape} has"
        raise InvalidValueError("dilated_conv", "kernel", rule, f"shape {kernel.shape}")
    radius = kernel.shape[0] // 2
    shifts = [_shifted(x, (tap - radius) * dilation) for tap in range(kernel.shape[0])]
    rows = jnp.concatenate(shifts, axis=-1).reshape(-1, kernel.shape[0] * x.shape[-1])  # products of matrices are fast
    return product(rows, kernel.reshape(rows.shape[-1], -1), compute_dtype).reshape(*x.shape[:-1], -1)


def _shifted(x: Array, offset: int) -> Array:
    """y[t] = x[t + offset], and 0 outside."""
    config = [(0, 0, 0)] * (x.ndim - 2) + [(-offset, offset, 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)
