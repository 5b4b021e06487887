"""`Reading`: how a density wants data handed over; and `Statistics`, what standardising needs of all training rows."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jflows.typing import Shape

CONTEXTS = ("none", "labels", "vectors")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a density wants data handed over; `Density.reading` states it, batches obey it.

    Attributes:
      kind: "images" (integers 0..2^num_bits - 1), "table" (rows of floats) or "none" (no data: any kind will do).
      event_shape: of one example.
      num_bits: bits of the integers of images, to which data of more bits are reduced; None for floats.
      context: what becomes the context of a batch: "none", "labels" (int32, -1 where a row has none), or "vectors" (the
        context that the data themselves have).
      context_shape: event shape of that context; None for "none".
      num_classes: labels are 0..num_classes - 1; None where labels mean nothing to the density.
    """

    kind: str
    event_shape: Shape
    num_bits: int | None = None
    context: str = "none"
    context_shape: Shape | None = None
    num_classes: int | None = None


class Statistics(NamedTuple):
    """Mean and deviation of every column of x, and of the context, over all training rows: float64.

    Attributes:
      mean, deviation: of x, [channels], over rows and positions of an image.
      context_mean, context_deviation: of the context, [*context_shape], or None.
    """

    mean: np.ndarray
    deviation: np.ndarray
    context_mean: np.ndarray | None = None
    context_deviation: np.ndarray | None = None
