"""Measured attributes of strokes: slant, thickness and ink of images of handwriting, as pure functions of NumPy.

Images are [..., height, width, 1] with p in [0, 1], where 1 is ink; rows are counted downwards. The idea of measuring
attributes of MNIST is that of Morpho-MNIST (Castro et al. 2019, arXiv:1809.10780, section 3.1). Differs: the thickness
there is measured on a skeleton, and here by area and outline, so that no image is made black and white.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from jflows.data.attributes import Measure


def slant(images: np.ndarray) -> np.ndarray:
    """The angle by which strokes lean to the right of the vertical, in degrees, from second moments of the ink.

        slant = atan(-m11 / m02),  m_jk = sum_ij p_ij (column j - its mean)^j (row i - its mean)^k / sum_ij p_ij

    The shear by m11 / m02 makes columns and rows of the ink uncorrelated.

    Source: Castro et al. 2019, arXiv:1809.10780, section 3.1.

    Shapes:
      images: [..., height, width, 1] -> float32 [...]; NaN for images without ink or with ink in a single row.
    Example:
      >>> slant(np.eye(5)[::-1, :, None]).round(1)
      np.float32(45.0)
    """
    p = np.asarray(images, np.float64)[..., 0]
    total = p.sum(axis=(-2, -1))
    rows, columns = np.arange(p.shape[-2])[:, None], np.arange(p.shape[-1])
    with np.errstate(invalid="ignore", divide="ignore"):  # an image without ink has no slant
        row, column = ((p * place).sum(axis=(-2, -1)) / total for place in (rows, columns))
        down, right = rows - row[..., None, None], columns - column[..., None, None]
        m11, m02 = (p * down * right).sum(axis=(-2, -1)), (p * down**2).sum(axis=(-2, -1))
        return np.degrees(np.arctan(np.where(m02 > 0, -m11 / m02, np.nan))).astype(np.float32)


def thickness(images: np.ndarray) -> np.ndarray:
    """The mean width of strokes in pixels: twice the area of the ink over the length of its outline.

        thickness = 2 sum_ij p_ij / sum_ij |grad p|_ij,   grad by differences to the next pixel below and to the right

    A long stroke of width w and length l has the area w l and an outline of 2 l. The integral of |grad p| is the
    mean length of the outlines at all levels (the coarea formula), so that gray edges count by how gray they are.

    Shapes:
      images: [..., height, width, 1] -> float32 [...]; NaN for images without an outline.
    Example:
      >>> bar = np.zeros((1, 40, 9, 1))
      >>> bar[:, 2:38, 3:6] = 1.0
      >>> thickness(bar).round(1)  # the two ends add to the outline
      array([2.8], dtype=float32)
    """
    p = np.pad(np.asarray(images, np.float64)[..., 0], [(0, 0)] * (np.ndim(images) - 3) + [(1, 1), (1, 1)])
    down, right = p[..., 1:, :-1] - p[..., :-1, :-1], p[..., :-1, 1:] - p[..., :-1, :-1]
    outline = np.hypot(down, right).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(outline > 0, 2 * p.sum(axis=(-2, -1)) / outline, np.nan).astype(np.float32)


def ink(images: np.ndarray) -> np.ndarray:
    """The amount of ink, sum_ij p_ij, in pixels that are all ink.

    Shapes:
      images: [..., height, width, 1] -> float32 [...].
    """
    return np.asarray(images, np.float64)[..., 0].sum(axis=(-2, -1)).astype(np.float32)


STROKES: Mapping[str, Measure] = MappingProxyType({"slant": slant, "thickness": thickness, "ink": ink})
