"""Maps that only move numbers: squeeze and its inverse."""

from jflows.typing import Array


def squeeze(x: Array, factor: int) -> Array:
    """Trades space for channels; a block of factor x factor pixels becomes one pixel.

    Channel c of pixel (i, j) in the block goes to channel (c * factor + i) * factor + j, the order of Glow's
    published code.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height / factor, width / factor, channels * factor**2].
    """
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height // factor, factor, width // factor, factor, channels)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return x.reshape(*batch, height // factor, width // factor, channels * factor**2)


def unsqueeze(x: Array, factor: int) -> Array:
    """The inverse of `squeeze`.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height * factor, width * factor, channels / factor**2].
    """
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height, width, channels // factor**2, factor, factor)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return x.reshape(*batch, height * factor, width * factor, channels // factor**2)
