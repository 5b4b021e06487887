"""Spectral norms of dense and convolution kernels, and kernels held below one: the Lipschitz bound of a residual map.

Power iteration, the usual way, approaches a norm from below and keeps its vectors as state, so the bound holds only
roughly and only after training. Here the norm is a function of the kernel alone: exact, or bounded from above.
"""

import math

import jax.numpy as jnp

from jflows.errors import InvalidValueError
from jflows.ops.numerics import EXACT
from jflows.typing import Array

FREQUENCIES_PER_RADIUS = 16  # the bound of a convolution exceeds the largest sampled norm by a factor of 1.04


def squared_norm_bound(kernel: Array) -> Array:
    """The squared spectral norm of a linear map: exact for a matrix, an upper bound for a convolution.

        matrix W           lambda_max(W W^T)
        convolution K      max_w lambda_max(K(w) K(w)^H) / cos(pi r / N)^4,   K(w) = sum_a K_a exp(-i w a)

    A zero-padded convolution is a compression of the one on the infinite plane, whose norm is max_w |K(w)| over all
    frequencies w. Entries of K(w) are trigonometric polynomials of degree r = (k - 1) / 2 per axis, so N samples per
    axis miss at most a factor 1 / cos(pi r / N) each (Ehlich and Zeller 1964, Math. Z. 86). The bound holds for images
    of any size.

    Costs one eigenvalue problem of size min(in, out) for a matrix or k = 1, and 144 of them for k = 3, in every call;
    inside a loop XLA computes them once.

    Args:
      kernel: kernel of a dense layer or of `conv2d`.
    Shapes:
      kernel: [in, out] or [k, k, in, out] with k odd -> scalar, float32 or wider.
    Raises:
      InvalidValueError: for another rank, or an oblong or even kernel.
    """
    # LAPACK and the FFT know no narrower type.
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    if kernel.ndim == 2:
        return _largest_eigenvalue(kernel)
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        rule = "must be [in, out] or [k, k, in, out] with k odd"
        raise InvalidValueError("squared_norm_bound", "kernel", rule, f"shape {kernel.shape}")
    radius = kernel.shape[0] // 2
    if radius == 0:
        return _largest_eigenvalue(kernel[0, 0])
    count = FREQUENCIES_PER_RADIUS * radius
    responses = jnp.fft.rfft2(kernel, s=(count, count), axes=(1, 0))  # the other half is its complex conjugate
    return jnp.max(_largest_eigenvalue(responses)) / math.cos(math.pi * radius / count) ** 4


def bounded_kernel(kernel: Array, bound: float) -> Array:
    """The kernel, scaled down if need be until its map has spectral norm <= bound.

        W bound / max(bound, |W|)

    Shapes:
      kernel: as in `squared_norm_bound` -> the same.
    Numerics: differentiable at 0 too, as the root is taken of max(bound^2, |W|^2).
    """
    norm = jnp.sqrt(jnp.maximum(bound**2, squared_norm_bound(kernel)))
    return kernel * (bound / norm).astype(kernel.dtype)


def _largest_eigenvalue(matrix: Array) -> Array:
    """Of M M^H, through the smaller of M M^H and M^H M. Shapes: [..., in, out] -> [...]."""
    if matrix.shape[-2] > matrix.shape[-1]:
        matrix = matrix.swapaxes(-1, -2)
    gram = jnp.matmul(matrix, matrix.conj().swapaxes(-1, -2), precision=EXACT)
    return jnp.linalg.eigvalsh(gram)[..., -1]
