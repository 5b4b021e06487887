"""Data of which few rows keep their label, and data that come so."""

import numpy as np
import pytest

from jflows.data import ImageData, Reading, TableData, TrainBatches, hide_labels, kinds, only_classes
from jflows.errors import DataError, InvalidTypeError, InvalidValueError

X, LABEL = np.arange(40.0).reshape(20, 2), np.arange(20) % 4


def test_as_many_rows_of_each_class_keep_their_label():
    hidden = hide_labels(TableData("rows", X, LABEL), 2, seed=3)
    kept = hidden.label >= 0
    np.testing.assert_array_equal(np.bincount(hidden.label[kept]), [2, 2, 2, 2])
    np.testing.assert_array_equal(hidden.label[kept], LABEL[kept])
    np.testing.assert_array_equal(hidden.x, X)
    assert (hidden.num_classes, hidden.partly_labelled) == (4, True)
    other = hide_labels(TableData("rows", X, LABEL), 2, seed=4)
    assert np.any(other.label != hidden.label)
    reading = Reading(kinds.TABLE, (2,)).with_labels(4)
    assert set(TrainBatches(hidden, 20, reading=reading).at(0).context.ravel()) == {-1, 0, 1, 2, 3}


def test_rows_with_a_label_are_repeated_to_their_share():
    hidden = hide_labels(TableData("rows", X, LABEL), 1, share=0.5)
    assert np.mean(hidden.label >= 0) == 0.5
    np.testing.assert_array_equal(hidden.label[20:], LABEL[(hidden.x[20:, 0] / 2).astype(int)])
    assert len(hide_labels(TableData("rows", X, LABEL), 1, share=0.01)) == 20


def test_images_may_be_labelled_in_part():
    data = ImageData("noise", np.zeros((4, 2, 2, 1), np.uint8), np.array([0, -1, 2, -1]), partly_labelled=True)
    np.testing.assert_array_equal(data.label, [0, -1, 2, -1])
    assert data.num_classes == 3
    assert hide_labels(ImageData("noise", np.zeros((4, 2, 2, 1), np.uint8), LABEL[:4]), 1).label.dtype == np.int32


def test_rows_keep_what_belongs_to_them():
    data = TableData("rows", X, LABEL, context=X[:, :1])
    hidden = hide_labels(data, 1, share=0.5)
    np.testing.assert_array_equal(hidden.context, hidden.x[:, :1])
    few = data.take(np.array([3, 1]))
    np.testing.assert_array_equal(few.x, X[[3, 1]].astype(np.float32))
    assert few.columns == data.columns and len(few) == 2


def test_classes_are_chosen_and_numbered_anew():
    data = TableData("rows", X, LABEL)
    last, first = int(LABEL.max()), 0
    few = only_classes(data, (last, first))
    assert few.num_classes == 2 and len(few) == np.isin(LABEL, (last, first)).sum()
    np.testing.assert_array_equal(few.x[few.label == 0], data.x[last == LABEL])
    np.testing.assert_array_equal(few.x[few.label == 1], data.x[first == LABEL])
    hidden = only_classes(hide_labels(data, 2), (0,))
    assert len(hidden) == 2 and not hidden.partly_labelled


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: TableData("rows", X, LABEL - 2, partly_labelled=True),
            DataError,
            "TableData 'rows': `label` must not be negative; got values -2..1",
        ),
        (
            lambda: TableData("rows", X, LABEL - 1, num_classes=2, partly_labelled=True),
            DataError,
            r"`label` must be in 0..1 \(num_classes=2\); got values 0..2",
        ),
        (
            lambda: TableData("rows", X, np.full(20, -1), partly_labelled=True),
            DataError,
            "`label` must hold a label that is not -1; got none. Or leave `label` out.",
        ),
        (
            lambda: hide_labels(TableData("rows", X), 1),
            DataError,
            "hide_labels: `data` must have labels; got 'rows'",
        ),
        (
            lambda: hide_labels(TableData("rows", X, LABEL), 6),
            DataError,
            "hide_labels: `rows` must have 6 rows of each class; got 5 of class 0. Ask for fewer.",
        ),
        (
            lambda: hide_labels(TableData("rows", X, LABEL), 1.5),
            InvalidTypeError,
            "`num_per_class` must be a whole",
        ),
        (
            lambda: hide_labels(X, 1),
            InvalidTypeError,
            "hide_labels: `data` must be TableData, ImageData or NoData; got nd",
        ),
        (lambda: only_classes(TableData("rows", X, LABEL), 1), InvalidTypeError, "`classes` must be a tuple of whole"),
        (lambda: only_classes(TableData("rows", X, LABEL), (-1, 0)), InvalidValueError, "must be different, from 0 on"),
        (lambda: hide_labels(TableData("rows", X, LABEL), 0), InvalidValueError, "`num_per_class` must be positive"),
        (
            lambda: hide_labels(TableData("rows", X, LABEL), 1, share=1.0),
            InvalidValueError,
            r"`share` must lie in \(0, 1\), or be None; got 1.0",
        ),
        (lambda: only_classes(TableData("rows", X), (0,)), DataError, "only_classes: `data` must have labels; got 'ro"),
        (
            lambda: only_classes(TableData("rows", X, LABEL), (0, 9)),
            DataError,
            r"only_classes: `rows` must have rows of classes \(0, 9\); got no row of class 9",
        ),
        (
            lambda: only_classes(TableData("rows", X, LABEL), ()),
            DataError,
            "must have rows of classes .*; got no",
        ),
        (
            lambda: only_classes(TableData("rows", X, LABEL), (1, 1)),
            InvalidValueError,
            "`classes` must be different, from 0 on",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
