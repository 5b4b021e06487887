"""The nearest training rows of samples: whether a model has learned a distribution or its training set by heart."""

import math
from typing import NamedTuple

import numpy as np

from jflows.errors import InvalidValueError, check_event_shape
from jflows.options import Count, checked

CHUNK_BYTES = 32e6  # of the rows of a chunk, in float64
EVENTS = 256  # that are compared with a chunk at once


class Neighbours(NamedTuple):
    """The nearest rows of each event, nearest first.

    Attributes:
      distance: Euclidean distances in units of x, float64 [num, num_neighbours].
      index: the positions of these rows, int64 [num, num_neighbours].
    """

    distance: np.ndarray
    index: np.ndarray


@checked
def nearest_rows(x: np.ndarray, rows: np.ndarray, num_neighbours: Count = 1) -> Neighbours:
    """The rows that lie nearest to each event, by the Euclidean distance, found by comparing with all of them.

        |x - r|^2 = |x|^2 - 2 x.r + |r|^2

    All three terms are sums in float64. For integers, such as pixels, they are whole numbers below 2^53, so that the
    distances are exact; for floats, the nearest rows are found in this way, and their distances are computed anew from
    the differences, which does not cancel. Rows pass by in chunks: memory does not grow with their number. Of rows at
    equal distances, those that come first are taken.

    Args:
      x: the events, such as samples.
      rows: the rows to search, such as all training images.
      num_neighbours: how many rows to find for each event.
    Shapes:
      x: [num, *event_shape]; rows: [num_rows, *event_shape].
    Raises:
      InvalidValueError: if the event shapes differ, or there are fewer rows than are asked for.
    """
    check_event_shape("nearest_rows", "rows", np.shape(rows), np.shape(x)[1:], "Give rows of the shape of x.")
    if len(rows) < num_neighbours:
        raise InvalidValueError(
            "nearest_rows", "num_neighbours", f"must be at most {len(rows)}, the rows", num_neighbours
        )
    size = math.prod(np.shape(x)[1:])
    events, flat = (np.asarray(each).reshape(len(each), size) for each in (x, rows))
    parts = [_nearest(events[at : at + EVENTS], flat, num_neighbours) for at in range(0, len(events), EVENTS)]
    if not parts:
        return Neighbours(np.empty((0, num_neighbours)), np.empty((0, num_neighbours), np.int64))
    return Neighbours(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _nearest(events: np.ndarray, rows: np.ndarray, num: int) -> Neighbours:
    """The nearest rows of a few events, which a running list of the best keeps while chunks pass by."""
    x = events.astype(np.float64)
    of_events = np.einsum("nd,nd->n", x, x)[:, None]
    best, index = np.empty((len(x), 0)), np.empty((len(x), 0), np.int64)
    size = max(1, int(CHUNK_BYTES / 8 / max(rows.shape[1], 1)))
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size].astype(np.float64)
        squares = of_events - 2 * (x @ chunk.T) + np.einsum("nd,nd->n", chunk, chunk)
        for _ in range(min(num, len(chunk))):  # few passes, each of which finds the first of the smallest
            place = squares.argmin(axis=1)[:, None]
            best = np.concatenate([best, np.take_along_axis(squares, place, axis=1)], axis=1)
            index = np.concatenate([index, place + start], axis=1)
            np.put_along_axis(squares, place, np.inf, axis=1)
        order = np.argsort(best, axis=1, kind="stable")[:, :num]
        best, index = np.take_along_axis(best, order, axis=1), np.take_along_axis(index, order, axis=1)
    if "f" in (events.dtype.kind, rows.dtype.kind):
        difference = rows[index].astype(np.float64) - x[:, None]
        best = np.einsum("nkd,nkd->nk", difference, difference)
        order = np.argsort(best, axis=1, kind="stable")
        best, index = np.take_along_axis(best, order, axis=1), np.take_along_axis(index, order, axis=1)
    return Neighbours(np.sqrt(best), index)
