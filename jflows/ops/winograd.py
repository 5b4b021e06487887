"""Winograd's convolution of 3x3: a quarter of the products of the direct one, for `jflows/ops/conv.py`.

A tile of 4x4 outputs sees 6x6 inputs d. With three constant matrices

    y = A^T [(G k G^T) * (B^T d B)] A                                (* elementwise, over all tiles at once)

so that 36 products of matrices [tiles, in] @ [in, out] replace 9 of [pixels, in] @ [in, out]: 2.25 multiplications an
output instead of 9. The formula evaluates polynomials at five points and infinity (Cook and Toom): A and G hold powers
of the points, and B undoes them. The gradient of the kernel is the same sum with the roles exchanged:

    dk = G^T [sum_tiles (B^T d B) * (A dy A^T)] G

Rounding grows with the points. Of those that we tried, (0, +-3/4, +-3/2) has the smallest error: 1e-6 of the outputs'
deviation in float32 (root mean square), where the direct sum has 1e-7 and the usual (0, +-1, +-2) has 2e-6.

Source: Winograd 1980, Arithmetic Complexity of Computations; Lavin and Gray 2015, arXiv:1509.09308, section 4; on the
choice of points, Barabasz et al. 2018, arXiv:1803.10986.
"""

from functools import reduce
from operator import add
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.typing import Array

KERNEL, TILE = 3, 4  # sides of the kernel and of a tile of outputs
SEEN = TILE + KERNEL - 1  # side of what a tile sees
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
FEWEST_CHANNELS = 12  # below, what the transforms cost is more than the products save


def _powers(num: int) -> np.ndarray:
    """[SEEN, num]: powers 0..num-1 of every point; the last row is the point at infinity, the highest power alone."""
    return np.vstack([np.vander(POINTS, num, increasing=True), np.eye(num)[-1:]])


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A [6, 4], B [6, 6] and G [6, 3]; a column of B has 1 as its largest number, and G takes the factor."""
    undo = np.linalg.inv(_powers(SEEN))
    undo[np.abs(undo) < 1e-12] = 0  # its zeros come out as 1e-17
    factor = np.abs(undo).max(0)
    return _powers(TILE), undo / factor, _powers(KERNEL) * factor[:, None]


A, B, G = _matrices()


def pays(x: Array, kernel_size: int, c_out: int) -> bool:
    """Whether a convolution is faster this way: 3x3, with enough channels, and tiles that overhang little.

    It looks at one image, never at the batch, so that an image gives the same numbers in every batch. Types of less
    than float32's precision have no digits to lose.
    """
    *_, height, width, c_in = x.shape
    exact = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits >= 32
    tiles = -(-height // TILE) * -(-width // TILE)
    return exact and kernel_size == KERNEL and min(c_in, c_out) >= FEWEST_CHANNELS and 8 * tiles <= height * width


def conv(x: Array, kernel: Array, precision: Any) -> Array:
    """`jflows.ops.conv2d` with a kernel of 3x3."""
    seen = _tiles(x, B.T, before=KERNEL // 2)
    weights = _twice(G, kernel, precision)
    products = lax.dot_general(_pixels(seen), weights, (((2,), (1,)), ((0,), (0,))), precision=precision)
    products = products.reshape(*seen.shape[:-1], -1)
    y = lax.optimization_barrier(_mix(A.T, [products[:, i] for i in range(SEEN)], axis=4))
    y = _mix(A.T, [y[i] for i in range(SEEN)], axis=2)  # [images, tiles, TILE, tiles, TILE, out]
    images, down, _, across, _, c_out = y.shape
    y = y.reshape(images, down * TILE, across * TILE, c_out)[:, : x.shape[-3], : x.shape[-2]]
    return y.reshape(*x.shape[:-1], c_out)


def kernel_grad(x: Array, dy: Array, precision: Any) -> Array:
    """The gradient of the kernel of 3x3, where dy is that of the output."""
    seen, made = _tiles(x, B.T, before=KERNEL // 2), _tiles(dy, A, before=0)
    grad = lax.dot_general(_pixels(seen), _pixels(made), (((1,), (1,)), ((0,), (0,))), precision=precision)
    return _twice(G.T, grad.reshape(SEEN, SEEN, *grad.shape[1:]), precision).reshape(KERNEL, KERNEL, *grad.shape[1:])


def _tiles(x: Array, transform: np.ndarray, before: int) -> Array:
    """Cuts images into tiles, of `transform.shape[1]` pixels a side and TILE apart, and transforms both axes.

    [*batch, height, width, c] -> [SEEN, SEEN, images, tiles in a column, tiles in a row, c]; the first tile begins
    `before` pixels outside, where images are 0.
    """
    x = x.reshape(-1, *x.shape[-3:])
    size = transform.shape[1]
    for index, axis in enumerate((1, 3)):  # rows; then columns, behind the new axis of the transformed rows
        count = -(-x.shape[axis] // TILE)
        padding = [(0, 0, 0)] * x.ndim
        padding[axis] = (before, (count - 1) * TILE + size - before - x.shape[axis], 0)
        padded = lax.pad(x, jnp.zeros((), x.dtype), padding)
        stop = (count - 1) * TILE + 1
        pixels = [lax.slice_in_dim(padded, start, start + stop, TILE, axis) for start in range(size)]
        # Without the barrier XLA computes the rows anew for every column.
        x = lax.optimization_barrier(_mix(transform, pixels, axis=index))
    return x


def _mix(matrix: np.ndarray, parts: list[Array], axis: int) -> Array:
    """Stacks matrix @ parts along a new axis: sums of a few terms each, which are faster than a product as small."""
    rows = [[part * weight for weight, part in zip(row.tolist(), parts, strict=True) if weight] for row in matrix]
    return jnp.stack([reduce(add, terms) for terms in rows], axis)


def _twice(matrix: np.ndarray, values: Array, precision: Any) -> Array:
    """matrix values matrix^T over the first two axes, which become one."""
    both = jnp.asarray(np.kron(matrix, matrix), values.dtype)
    flat = lax.dot_general(both, values.reshape(both.shape[1], -1), (((1,), (0,)), ((), ())), precision=precision)
    return flat.reshape(-1, *values.shape[2:])


def _pixels(tiles: Array) -> Array:
    """[SEEN, SEEN, images, tiles, tiles, c] -> [SEEN * SEEN, all tiles, c]."""
    return tiles.reshape(SEEN**2, -1, tiles.shape[-1])
