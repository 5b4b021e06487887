"""Nearest training rows: exact, whatever the chunks, in the order of the rows where distances are equal."""

import numpy as np
import pytest

from jflows import InvalidValueError
from jflows.eval import nearest, nearest_rows


def by_hand(x, rows, num):
    difference = x[:, None].astype(float) - rows[None].astype(float)
    distance = np.sqrt((difference**2).reshape(len(x), len(rows), -1).sum(axis=-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :num]
    return np.take_along_axis(distance, order, axis=1), order


@pytest.mark.parametrize("chunk", [None, 3 * 12 * 8], ids=["one chunk", "chunks of 3"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_neighbours_are_those_found_by_hand(monkeypatch, chunk, dtype):
    if chunk is not None:
        monkeypatch.setattr(nearest, "CHUNK_BYTES", chunk)
        monkeypatch.setattr(nearest, "EVENTS", 4)
    random = np.random.RandomState(0)
    x, rows = random.randint(0, 3, (9, 2, 2, 3)).astype(dtype), random.randint(0, 3, (20, 2, 2, 3)).astype(dtype)
    found = nearest_rows(x, rows, 4)  # few levels, so that many distances are equal
    distance, order = by_hand(x, rows, 4)
    np.testing.assert_array_equal(found.index, order)
    np.testing.assert_array_equal(found.distance, distance)


def test_distances_do_not_cancel():
    """In float32, |x|^2 - 2 x.r + |r|^2 of these pixels would be off by several levels."""
    rows = np.full((2, 64, 64, 3), 255, np.uint8)
    x = rows[:1].copy()
    x[0, 0, 0, 0] = 254
    rows[0, 0, 0, :2] = (250, 253)
    found = nearest_rows(x, rows, 2)
    np.testing.assert_array_equal(found.index, [[1, 0]])
    np.testing.assert_array_equal(found.distance, [[1, np.sqrt(20)]])
    far = np.array([[1e9, 0.0]])
    np.testing.assert_allclose(nearest_rows(far, far + np.array([[0, 1e-3]])).distance, 1e-3, rtol=1e-12)


def test_no_event_has_no_neighbours():
    found = nearest_rows(np.zeros((0, 3)), np.zeros((5, 3)), 2)
    assert found.distance.shape == found.index.shape == (0, 2)


def test_errors():
    rows = np.zeros((5, 3))
    with pytest.raises(InvalidValueError, match=r"`rows` must have event shape \(4,\); got shape \(5, 3\)"):
        nearest_rows(np.zeros((2, 4)), rows)
    with pytest.raises(InvalidValueError, match="`num_neighbours` must be at most 5, the rows; got 6"):
        nearest_rows(rows, rows, 6)
    with pytest.raises(InvalidValueError, match="`num_neighbours` must be at least 1; got 0"):
        nearest_rows(rows, rows, 0)
