"""`LogitImages`: images in logit space as rows of a table, by which the MAF paper scores MNIST and CIFAR-10.

    x = logit(alpha + (1 - 2 alpha) (pixel + u) / 256),   u ~ U(0, 1)

Densities are those of x: nats in logit space, not of pixels. Source: Papamakarios et al. 2017, arXiv:1705.07057,
section 5.2 and appendix D; the noise u is drawn once, from a fixed seed. Differs: CIFAR-10 keeps the order of its rows,
so that other ones are "validation".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jflows.data.dataset import ImageData, TableData
from jflows.data.kinds import TABLE, Kind
from jflows.data.protocols.base import KnownData, Places
from jflows.data.protocols.images import FixedImages
from jflows.data.splits import SPLITS
from jflows.typing import Shape

PIXEL_LEVELS = 256
CHUNK = 2000  # rows in float64 at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class LogitImages(KnownData):
    """A table made from one set of images of 8 bits.

    Attributes:
      source: the data set of images.
      alpha: how far the ends of the range are kept away from 0 and 1.
      num_validation: how many training images, the last ones, are "validation".
      with_mirrored: whether "train" also holds each image flipped left to right.
    """

    kind: ClassVar[Kind] = TABLE
    has_validation: ClassVar[bool] = True

    source: FixedImages
    alpha: float
    num_validation: int
    with_mirrored: bool = False

    @property
    def protocol(self) -> str:
        """A sentence that says which rows are "train", "validation" and "test"."""
        mirrored = ", and the others come once more, flipped left to right" if self.with_mirrored else ""
        rows = f"The last {self.num_validation:,} training images of {self.source.name!r} are the validation split"
        return f"{rows}{mirrored}; noise in place of the lowest bits is drawn once, from a fixed seed."

    @property
    def event_shape(self) -> Shape:
        """Shape of one row: (height * width * channels,)."""
        return (math.prod(self.source.event_shape),)

    @property
    def num_classes(self) -> int:
        """Number of classes of the images."""
        return self.source.num_classes

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> TableData:
        """Loads one split; see `KnownData.load`."""
        self._refuse_num_validation(num_validation)
        return self.table(self.source.load(split, self.num_validation, options, places), split)

    def table(self, images: ImageData, split: str) -> TableData:
        """The rows [num, height * width * channels] of a split."""
        pixels, label = images.x, images.label
        if self.with_mirrored and split == "train":
            pixels = np.concatenate([pixels, pixels[:, :, ::-1]])
            label = None if label is None else np.concatenate([label, label])
        x = to_logit(pixels, self.alpha, seed=SPLITS.index(split))
        return TableData(self.name, x, label, num_classes=images.num_classes)

    def as_images(self, x: np.ndarray) -> np.ndarray:
        """The images, uint8 [num, height, width, channels], that rows of the table (or samples of a flow) stand for."""
        share = (1 / (1 + np.exp(-np.float64(x))) - self.alpha) / (1 - 2 * self.alpha)
        pixels = np.clip(np.floor(share * PIXEL_LEVELS), 0, PIXEL_LEVELS - 1).astype(np.uint8)
        return pixels.reshape(-1, *self.source.event_shape)


def to_logit(pixels: np.ndarray, alpha: float, seed: int) -> np.ndarray:
    """uint8 [num, ...] -> float32 [num, dim]; see the head of this module."""
    random = np.random.RandomState(seed)  # RandomState: its stream is frozen for all numpy versions
    flat = pixels.reshape(len(pixels), -1)
    x = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), CHUNK):
        rows = flat[start : start + CHUNK]
        share = alpha + (1 - 2 * alpha) * (rows + random.rand(*rows.shape)) / PIXEL_LEVELS
        x[start : start + CHUNK] = np.log(share) - np.log1p(-share)
    return x
