"""Images in logit space, as rows of a table: how the MAF paper scores MNIST and CIFAR-10.

    x = logit(alpha + (1 - 2 alpha) (pixel + u) / 256),   u ~ U(0, 1)

Densities are those of x: nats in logit space, not of pixels. Source: Papamakarios et al. 2017, arXiv:1705.07057,
section 5.2 and appendix D; the noise u is drawn once, from a fixed seed. Differs: CIFAR-10 keeps the order of its rows,
so that other ones are "validation". Read next: `jflows/data/loading.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from jflows.data.dataset import SPLITS, ImageData, TableData

PIXEL_LEVELS = 256
CHUNK = 2000  # rows in float64 at a time


@dataclass(frozen=True)
class LogitImages:
    """What the paper does with one set of images.

    Attributes:
      name: of the table.
      source: of the images.
      alpha: how far the ends of the range are kept from 0 and 1.
      num_validation: the last so many training images are "validation".
      mirrored: whether "train" holds each image also flipped left to right.
    """

    name: str
    source: str
    alpha: float
    num_validation: int
    mirrored: bool

    def table(self, images: ImageData, split: str) -> TableData:
        """The rows [num, height * width * channels] of a split."""
        pixels, label = images.x, images.label
        if self.mirrored and split == "train":
            pixels = np.concatenate([pixels, pixels[:, :, ::-1]])
            label = None if label is None else np.concatenate([label, label])
        x = to_logit(pixels, self.alpha, seed=SPLITS.index(split))
        return TableData(self.name, x, label, num_classes=images.num_classes)

    def pixels(self, x: np.ndarray, event_shape: tuple[int, ...]) -> np.ndarray:
        """The images, uint8 [num, *event_shape], that rows of the table (or samples of a flow) stand for."""
        share = (1 / (1 + np.exp(-np.float64(x))) - self.alpha) / (1 - 2 * self.alpha)
        return np.clip(np.floor(share * PIXEL_LEVELS), 0, PIXEL_LEVELS - 1).astype(np.uint8).reshape(-1, *event_shape)


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


_ALL = (
    LogitImages("mnist_logit", "mnist", 1e-6, 10000, mirrored=False),
    LogitImages("cifar10_logit", "cifar10", 0.05, 5000, mirrored=True),
)
LOGIT_IMAGES: Mapping[str, LogitImages] = MappingProxyType({images.name: images for images in _ALL})
