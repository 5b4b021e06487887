"""`complexity`: the code length of an image by a density, beside that of a compressor which knows no images."""

import dataclasses
import io
import math
import zlib
from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError, check_choice
from jflows.eval.ood.base import IMAGES, Evidence, Measure, numbers
from jflows.options import Option

BYTE = 8
BEST = 9  # level of zlib


def complexity(log_prob: ArrayLike, compressed: ArrayLike, num_dims: int) -> np.ndarray:
    """How many bits a density needs beyond those of a compressor, per dimension.

        s = (-log2 p(x) - L(x)) / D                          [bits per dimension]

    Simple images get short codes from every density. L(x), the length of x when it is compressed, takes away what is
    due to simplicity: s is the likelihood ratio against the density that the compressor stands for.

    Source: Serra et al. 2020, arXiv:1909.11480, equation 3.

    Args:
      compressed: L(x) in bits, see `compressed_bits`.
      num_dims: D.
    Shapes:
      log_prob, compressed: [num] -> [num]; infinite where the density is 0.
    Raises:
      InvalidValueError: if a number is NaN, or there are not as many of both.
    """
    nats = numbers("complexity", "log_prob", log_prob)
    return (-nats / math.log(2) - numbers("complexity", "compressed", compressed, len(nats))) / num_dims


def compressed_bits(images: np.ndarray, compressor: str = "png") -> np.ndarray:
    """The length of each image when it is compressed without loss, in bits.

    Args:
      images: bytes; integers of fewer than 8 bits are stored one a byte, whose leading zeros compress well.
      compressor: "png", by Pillow, which predicts each pixel from its neighbours first, or "zlib" of the plain bytes;
        both at their highest level.
    Shapes:
      images: uint8 [num, height, width, channels] -> float64 [num].
    Raises:
      InvalidValueError: for another compressor.
      DataError: if images are not uint8, or, for "png", have other than 1 or 3 channels.
    """
    check_choice("compressed_bits", "compressor", compressor, tuple(COMPRESSORS))
    if images.ndim != 4 or images.dtype != np.uint8:
        got = f"{images.dtype} of shape {images.shape}"
        raise DataError("compressed_bits", "images", "must be uint8 [num, height, width, channels]", got)
    if compressor == "png" and images.shape[-1] not in (1, 3):
        fix = "Use {compressor=zlib}."
        raise DataError("compressed_bits", "images", "must have 1 or 3 channels for PNG", f"{images.shape[-1]}", fix)
    compress = COMPRESSORS[compressor]
    return BYTE * np.array([len(compress(image)) for image in images], np.float64)


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


COMPRESSORS: dict[str, Callable[[np.ndarray], bytes]] = {
    "png": _png,
    "zlib": lambda image: zlib.compress(np.ascontiguousarray(image).tobytes(), BEST),
}


@dataclasses.dataclass(frozen=True)
class Complexity(Measure):
    """(-log2 p(x) - L(x)) / D with L(x) the length of the compressed image, see `complexity`."""

    name: ClassVar[str] = "complexity"
    unit: ClassVar[str] = "bits/dim"
    needs: ClassVar[tuple[str, ...]] = (IMAGES,)

    compressor: Annotated[
        str,
        Option(
            "Compressor of measure=complexity: png predicts pixels from their neighbours and is the better model of "
            "images; zlib compresses their plain bytes, with any number of channels.",
            choices=tuple(COMPRESSORS),
        ),
    ] = "png"

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The difference of both code lengths in bits per dimension: [num]."""
        assert evidence.images is not None
        bits = compressed_bits(evidence.images, self.compressor)
        return complexity(evidence.log_prob, bits, evidence.num_dims)
