"""Spectral norms of dense and convolution kernels, and kernels held below one: the Lipschitz bound of a residual map.

The norm is found in one of two ways, which agree:

    squared_norm_bound    a function of the kernel alone, exact or bounded from above, by eigenvalue problems
    power_iteration       an estimate from below by a few products with vectors that the caller keeps as state

Read next: `jflows/nn/lipschitz.py`, which uses the second in training alone.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.errors import InvalidValueError
from jflows.ops import varying
from jflows.ops.factorisations import eigh
from jflows.ops.numerics import EXACT
from jflows.typing import Array, Key, Shape

FREQUENCIES_PER_RADIUS = 16
BETWEEN_SAMPLES = math.cos(math.pi / FREQUENCIES_PER_RADIUS) ** -4
"""What the largest squared norm of all frequencies may be of that of the samples: 1.08, or 1.04 of norms."""


def squared_norm_bound(kernel: Array) -> Array:
    """The squared spectral norm of a linear map: exact for a matrix, an upper bound for a convolution.

        matrix W           lambda_max(W W^T)
        convolution K      max_w lambda_max(K(w) K(w)^H) / cos(pi r / N)^4,   K(w) = sum_a K_a exp(-i w a)

    A zero-padded convolution is a compression of the one on the infinite plane, whose norm is max_w |K(w)| over all
    frequencies w. Entries of K(w) are trigonometric polynomials of degree r = (k - 1) / 2 per axis, so N samples per
    axis miss at most a factor 1 / cos(pi r / N) each (Ehlich and Zeller 1964, Math. Z. 86). The bound holds for images
    of any size.

    Costs one eigenvalue problem of size min(in, out) for a matrix or k = 1, and 144 of them for k = 3, in every call,
    and one more for derivatives; inside a loop XLA computes them once.

    Args:
      kernel: kernel of a dense layer or of `conv2d`.
    Shapes:
      kernel: [in, out] or [k, k, in, out] with k odd -> scalar, float32 or wider.
    Raises:
      InvalidValueError: for another rank, or an oblong or even kernel.
    """
    taps = _taps("squared_norm_bound", kernel)
    if taps.ndim == 2:
        return _largest_eigenvalue(taps)
    # Derivatives are those of the frequency with the largest norm, as of any maximum: the others need none.
    largest = jax.vmap(eigh)(_grams(lax.stop_gradient(taps)))[0][:, -1]
    return _largest_eigenvalue(_response(taps, jnp.argmax(largest))) * BETWEEN_SAMPLES


def power_iteration(kernel: Array, vectors: Array, num_steps: int) -> tuple[Array, Array]:
    """An estimate of `squared_norm_bound` from below, and the vectors that are closer to the leading singular vectors.

        v <- W W^T v / |W W^T v|, num_steps times;   estimate = |W^T v|^2
        convolutions: one v for each frequency w, with K(w) in place of W; the largest estimate counts

    A vector that W maps to 0 stays as it is. No derivative passes through the vectors: as they are stationary points of
    the estimate, its derivative is that of the norm once they have converged.

    Source: Miyato et al. 2018, arXiv:1802.05957, algorithm 1. Differs: the vectors of a convolution are those of its
    frequencies, as in `squared_norm_bound`, and not images.

    Args:
      kernel: as in `squared_norm_bound`.
      vectors: from `singular_vectors`, or from the last call.
      num_steps: number of steps; each costs two products with a matrix, or 144 products for k = 3.
    Shapes:
      kernel: as in `squared_norm_bound`, vectors: `vectors_shape(kernel.shape)` -> scalar, and vectors of that shape.
    """
    taps = _taps("power_iteration", kernel)
    fixed, v = lax.stop_gradient((taps, vectors.astype(taps.dtype)))
    if taps.ndim == 2:
        times_gram = lambda v: jnp.matmul(fixed, jnp.matmul(v, fixed, precision=EXACT), precision=EXACT)
        v = _iterated(times_gram, v, num_steps)
        return _squared_norm(jnp.matmul(v, taps, precision=EXACT)), v
    grams = _real_form(_grams(fixed))
    times_gram = lambda v: jnp.einsum("fij,fj->fi", grams, v, precision=EXACT)
    v = _iterated(times_gram, v, num_steps)
    worst = jnp.argmax(jnp.sum(v * times_gram(v), axis=-1))
    leading = lax.complex(*jnp.split(v[worst], 2))
    response = _response(taps, worst)
    return _squared_norm(jnp.matmul(leading.conj(), response, precision=EXACT)) * BETWEEN_SAMPLES, v


def vectors_shape(kernel_shape: Shape) -> Shape:
    """The shape of the vectors of a kernel: [n], or [frequencies, 2 n], real parts first, with n = min(in, out)."""
    least = min(kernel_shape[-2:])
    if len(kernel_shape) == 2 or kernel_shape[0] == 1:
        return (least,)
    return (len(_all_angles(kernel_shape[0])), 2 * least)


def singular_vectors(key: Key, kernel: Array, num_steps: int) -> Array:
    """Vectors to start `power_iteration` with, after so many steps from random ones."""
    drawn = jax.random.normal(key, vectors_shape(kernel.shape), jnp.promote_types(kernel.dtype, jnp.float32))
    return power_iteration(kernel, drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True), num_steps)[1]


def bounded_kernel(kernel: Array, bound: float, squared_norm: Array | None = None) -> Array:
    """The kernel, scaled down if need be until its map has spectral norm <= bound.

        W bound / max(bound, |W|)

    Args:
      squared_norm: an estimate of |W|^2; None takes `squared_norm_bound`.
    Shapes:
      kernel: as in `squared_norm_bound` -> the same.
    Numerics: differentiable at 0 too, as the root is taken of max(bound^2, |W|^2).
    """
    squared_norm = squared_norm_bound(kernel) if squared_norm is None else squared_norm
    norm = jnp.sqrt(jnp.maximum(bound**2, squared_norm))
    return kernel * (bound / norm).astype(kernel.dtype)


def _taps(where: str, kernel: Array) -> Array:
    """The kernel as [n, m], or [k * k, n, m], with n <= m: a transposed matrix has the same norm."""
    kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))  # LAPACK knows no narrower type
    is_square = kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    if kernel.ndim != 2 and not is_square:
        rule = "must be [in, out] or [k, k, in, out] with k odd"
        raise InvalidValueError(where, "kernel", rule, f"shape {kernel.shape}")
    if kernel.shape[-2] > kernel.shape[-1]:
        kernel = kernel.swapaxes(-1, -2)
    taps = kernel.reshape(-1, *kernel.shape[-2:])
    return taps[0] if len(taps) == 1 else taps


@functools.cache
def _all_angles(size: int) -> np.ndarray:
    """Angles w . a of all sampled frequencies and taps of a kernel: [frequencies, k * k].

    Half of the frequencies are left out: there, K(w) is the complex conjugate of another one.
    """
    count = FREQUENCIES_PER_RADIUS * (size // 2)
    w = 2 * math.pi / count * np.stack(np.meshgrid(np.arange(count // 2 + 1), np.arange(count), indexing="ij"), axis=-1)
    taps = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1)
    return w.reshape(-1, 2) @ taps.reshape(-1, 2).T


def _angles(taps: Array) -> Array:
    return jnp.asarray(_all_angles(math.isqrt(len(taps))), taps.dtype)


def _grams(taps: Array) -> Array:
    """K(w) K(w)^H at all frequencies, from the products of all pairs of taps: [k * k, n, m] -> [frequencies, n, n]."""
    angles = _angles(taps)
    pairs = jnp.einsum("aim,bjm->abij", taps, taps, precision=EXACT)
    phases = (angles[:, :, None] - angles[:, None, :]).reshape(len(angles), -1)
    flat = pairs.reshape(phases.shape[1], -1)
    parts = [jnp.matmul(p, flat, precision=EXACT) for p in (jnp.cos(phases), -jnp.sin(phases))]
    return lax.complex(*parts).reshape(-1, *pairs.shape[2:])


def _real_form(matrices: Array) -> Array:
    """[[A, -B], [B, A]] of A + i B, whose products are faster on a CPU: [..., n, n] -> [..., 2n, 2n]."""
    a, b = matrices.real, matrices.imag
    return jnp.concatenate([jnp.concatenate([a, -b], axis=-1), jnp.concatenate([b, a], axis=-1)], axis=-2)


def _response(taps: Array, index: Array) -> Array:
    """K(w) at one frequency: [k * k, n, m] -> complex [n, m]."""
    angles = _angles(taps)[index]
    return lax.complex(
        *(jnp.einsum("a,aim->im", p, taps, precision=EXACT) for p in (jnp.cos(angles), -jnp.sin(angles)))
    )


def _largest_eigenvalue(matrix: Array) -> Array:
    """Of M M^H. Shapes: [n, m] -> scalar."""
    return eigh(jnp.matmul(matrix, matrix.conj().T, precision=EXACT))[0][-1]


def _squared_norm(v: Array) -> Array:
    return jnp.sum(jnp.real(v * v.conj()), axis=-1)


def _iterated(times_gram: Callable[[Array], Array], v: Array, num_steps: int) -> Array:
    """v <- G v / |G v|, along the last axis; v as it is where G v = 0."""

    def step(_: Array, v: Array) -> Array:
        moved = times_gram(v)
        norm = jnp.sqrt(_squared_norm(moved))[..., None]
        return jnp.where(norm > 0, moved / jnp.where(norm > 0, norm, 1), v)

    return varying.fori_loop(0, num_steps, step, v)
