"""Mean, deviation and covariance over all rows, in float64 on the host; and the rule by which a column is constant.

Read next: `jflows/data/dataset.py`, whose `statistics()` calls this.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

CHUNK_VALUES = 2**22  # in float64 at a time: bounds the memory beside the data themselves
RESOLUTION = 4 * float(np.finfo(np.float32).eps)  # deviation over largest magnitude; below it, float32 shows rounding
PIXEL_LEVELS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and deviation of every column of x, and of the context, over all training rows: float64.

    It is hashable by its numbers, so that it can be a static argument of compiled functions.

    Attributes:
      mean, deviation: moments of x, [channels], over rows and positions of an image; None without data.
      context_mean, context_deviation: moments of the context, [*context_shape]; None without a context, or for labels.
      event_mean, covariance: [size] and [size, size], of all numbers of an event in row-major order, after the map that
        comes before whitening; None unless asked for.
    """

    mean: np.ndarray | None
    deviation: np.ndarray | None
    context_mean: np.ndarray | None = None
    context_deviation: np.ndarray | None = None
    event_mean: np.ndarray | None = None
    covariance: np.ndarray | None = None

    @functools.cached_property
    def axes(self) -> "Axes | None":
        """The principal axes of the covariance, computed once; None without one.

        It takes 10 size^3 operations or so: of 3,072 dimensions, half a minute of one core.
        """
        if self.event_mean is None or self.covariance is None:
            return None
        variance, axes = np.linalg.eigh(self.covariance)
        return Axes(self.event_mean, np.maximum(variance, 0), axes)

    def of_columns(self) -> "Statistics":
        """The statistics without the covariance, which is too large to be a constant of a program."""
        return dataclasses.replace(self, event_mean=None, covariance=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistics) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple:
        arrays = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return tuple(None if array is None else (np.shape(array), np.asarray(array).tobytes()) for array in arrays)


class Axes(NamedTuple):
    """Principal axes of events: mean [size], variances [size] in rising order, and the axes as columns [size, size]."""

    mean: np.ndarray
    variance: np.ndarray
    axes: np.ndarray


class Moments(NamedTuple):
    """Float64 mean and deviation of numbers [num, *shape] over rows, and which entries are constant: each [*shape].

    The deviation divides by num, not by num - 1. A column is constant if its deviation is at most 4 units of float32
    rounding of its largest magnitude, so that neither its size nor its offset matters.
    """

    mean: np.ndarray
    deviation: np.ndarray
    constant: np.ndarray


def moments(values: np.ndarray, weight: np.ndarray | None = None) -> Moments:
    """The `Moments` of numbers [num, *shape], in two passes, so that squares about the mean do not cancel.

    Args:
      weight: positive weights of the rows, [num], so that a row of weight 3 counts as three; None counts all alike.
    """
    total = len(values) if weight is None else weight.sum()
    mean = sum(_sum(chunk, own) for chunk, own in _chunks(values, weight)) / total
    square = sum(_sum(np.square(chunk - mean), own) for chunk, own in _chunks(values, weight)) / total
    largest = np.max([np.abs(chunk).max(axis=0) for chunk, _ in _chunks(values)], axis=0)
    deviation = np.sqrt(square)
    return Moments(np.asarray(mean), deviation, np.asarray(deviation <= RESOLUTION * largest))


def event_moments(
    values: np.ndarray, weight: np.ndarray | None = None, before: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [size] and covariance [size, size] of all numbers of an event, flattened, in two passes in float64.

    The covariance divides by the number of rows, or by the sum of weights. It takes num * size^2 multiplications: for
    50,000 images of 3,072 numbers, seconds on several cores and tens of seconds on one.

    Args:
      values: rows [num, *event].
      weight: weights of the rows, [num], at least 0 and not all 0; None counts all alike.
      before: a map of rows, to whose results the moments belong; None takes the rows themselves.
    """

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        step = _rows_at_once(values)
        for start in range(0, len(values), step):
            chunk = values[start : start + step]
            chunk = np.asarray(chunk if before is None else before(chunk)).reshape(len(chunk), -1)
            yield chunk.astype(np.float64), None if weight is None else weight[start : start + step]

    total = len(values) if weight is None else weight.sum()
    mean = np.asarray(sum(_sum(chunk, own) for chunk, own in chunks()) / total)
    covariance = np.zeros((mean.size, mean.size))
    for chunk, own in chunks():
        chunk -= mean
        if own is not None:
            chunk *= np.sqrt(own / total)[:, None]  # before the product, so that weights of any scale stay finite
        covariance += chunk.T @ chunk  # NumPy sees the symmetry and computes one half
    return mean, covariance if weight is not None else covariance / total


def pixel_moments(images: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [channels] of uint8 [num, height, width, channels], exact by counts of the levels.

    Args:
      weight: weights of the images, [num]; None counts all alike.
    """
    step, num_pixels = _rows_at_once(images), images.shape[1] * images.shape[2]
    counts = np.zeros((images.shape[-1], PIXEL_LEVELS))
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        own = None if weight is None else np.repeat(weight[start : start + step], num_pixels)
        for channel, count in enumerate(counts):
            count += np.bincount(chunk[..., channel].ravel(), own, PIXEL_LEVELS)
    share, levels = counts / counts.sum(axis=-1, keepdims=True), np.arange(PIXEL_LEVELS)
    mean = share @ levels
    return mean, np.sqrt((share * np.square(levels - mean[:, None])).sum(axis=-1))


def _chunks(values: np.ndarray, weight: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Parts of the rows in float64, each with its weights."""
    step = _rows_at_once(values)
    for start in range(0, len(values), step):
        own = None if weight is None else weight[start : start + step]
        yield values[start : start + step].astype(np.float64), own


def _sum(chunk: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    return chunk.sum(axis=0) if weight is None else np.tensordot(weight, chunk, 1)


def _rows_at_once(values: np.ndarray) -> int:
    return max(1, CHUNK_VALUES // max(1, values[0].size))
