"""Maps that trade space for channels without a log-det: squeeze, the Haar wavelet, and their inverses."""

import jax.numpy as jnp

from jflows.typing import Array

SQUEEZE_ORDERS = ("glow", "realnvp")


def squeeze(x: Array, factor: int, order: str = "glow") -> Array:
    """Trades space for channels; a block of factor x factor pixels becomes one pixel.

    | order | channel c of pixel (i, j) of the block goes to channel |
    |---|---|
    | "glow" | (c * factor + i) * factor + j |
    | "realnvp" | k * channels + c, with k = 0, 1, 2, 3 for (0, 0), (1, 1), (0, 1), (1, 0); factor 2 only |

    In the second, the first half of the channels is one colour of a checkerboard.

    Source: the published code of Glow, and that of RealNVP where it factors out half of the variables (inside a level,
    RealNVP squeezes in the order of Glow).

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height / factor, width / factor, channels * factor**2].
    """
    if order == "realnvp":
        a, b, c, d = _block_pixels(x)
        return jnp.concatenate([a, d, b, c], axis=-1)
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height // factor, factor, width // factor, factor, channels)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*batch, height // factor, width // factor, channels * factor**2)


def unsqueeze(x: Array, factor: int, order: str = "glow") -> Array:
    """The inverse of `squeeze`.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height * factor, width * factor, channels / factor**2].
    """
    if order == "realnvp":
        a, d, b, c = jnp.split(x, 4, axis=-1)
        return _join_blocks(a, b, c, d)
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height, width, channels // factor**2, factor, factor)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*batch, height * factor, width * factor, channels // factor**2)


def haar(x: Array) -> Array:
    """The orthonormal Haar wavelet of 2x2 blocks: all averages, then horizontal, vertical and diagonal differences.

    Of the block [[a, b], [c, d]]: (a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height / 2, width / 2, 4 * channels].
    """
    return jnp.concatenate(_butterfly(*_block_pixels(x)), axis=-1)


def inverse_haar(z: Array) -> Array:
    """The inverse of `haar`; the matrix is symmetric and orthogonal, so it is its own inverse.

    Shapes:
      z: [*batch, height, width, channels] -> [*batch, height * 2, width * 2, channels / 4].
    """
    return _join_blocks(*_butterfly(*jnp.split(z, 4, axis=-1)))


def _butterfly(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array, Array, Array]:
    top, top_step, bottom, bottom_step = a + b, a - b, c + d, c - d
    return 0.5 * (top + bottom), 0.5 * (top_step + bottom_step), 0.5 * (top - bottom), 0.5 * (top_step - bottom_step)


def _block_pixels(x: Array) -> tuple[Array, Array, Array, Array]:
    """The four pixels (0, 0), (0, 1), (1, 0), (1, 1) of every 2x2 block, each [*batch, height / 2, width / 2, c]."""
    *batch, height, width, channels = x.shape
    blocks = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    top, bottom = blocks[..., 0, :, :, :], blocks[..., 1, :, :, :]
    return top[..., 0, :], top[..., 1, :], bottom[..., 0, :], bottom[..., 1, :]


def _join_blocks(a: Array, b: Array, c: Array, d: Array) -> Array:
    """The inverse of `_block_pixels`."""
    *batch, height, width, channels = a.shape
    rows = [jnp.stack(row, axis=-2) for row in ((a, b), (c, d))]
    return jnp.stack(rows, axis=-4).reshape(*batch, 2 * height, 2 * width, channels)
