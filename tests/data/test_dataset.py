"""`ImageData`, `reduce_bits` and the parts of `load` that need no files."""

import numpy as np
import pytest

from jflows.data import ImageData, load, reduce_bits, splits
from jflows.errors import DataError, InvalidTypeError, InvalidValueError


def images(num=4, dtype=np.uint8):
    return np.arange(num * 12).reshape(num, 2, 2, 3).astype(dtype)


def test_image_data_keeps_uint8_and_counts_classes():
    data = ImageData("made", images(), np.array([0, 2, 1, 0]))
    assert (len(data), data.event_shape, data.num_bits, data.num_classes) == (4, (2, 2, 3), 8, 3)
    assert data.x.dtype == np.uint8
    assert data.label is not None
    assert data.label.dtype == np.int32


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int32])
def test_any_integer_dtype_is_taken_exactly(dtype):
    data = ImageData("made", images(dtype=dtype))
    assert data.x.dtype == np.uint8
    assert np.array_equal(data.x, images())


def with_value(value, dtype):
    x = np.zeros((5, 2, 2, 1), dtype)
    x[3, 1, 0, 0] = value
    return x


@pytest.mark.parametrize(
    ("x", "num_bits", "expected"),
    [
        (np.zeros((5, 2, 2), np.uint8), 8, r"must have rank 4.*got shape \(5, 2, 2\).*x\[\.\.\., None\]"),
        (np.zeros((5, 4), np.uint8), 8, r"must have rank 4.*got shape \(5, 4\)"),
        (np.zeros((0, 2, 2, 1), np.uint8), 8, "no empty axis"),
        (with_value(0.5, np.float32), 8, r"must hold integers in 0\.\.255; got dtype float32.*\(x \* 255\)\.round\(\)"),
        (with_value(255, np.float32), 8, r"got dtype float32.*x\.astype\(np\.uint8\), as its values are whole numbers"),
        (with_value(np.nan, np.float32), 8, r"must be finite integers; got NaN in row 3 \(1 bad rows"),
        (with_value(np.inf, np.float64), 8, "got infinity in row 3"),
        (with_value(16, np.uint8), 4, r"must be in 0\.\.15 \(num_bits=4\); got values 0\.\.16 in row 3"),
        (with_value(256, np.int64), 8, r"must be in 0\.\.255.*got values 0\.\.256 in row 3 \(1 bad rows\)"),
        (with_value(-1, np.int8), 8, r"got values -1\.\.0 in row 3"),
        (with_value(True, bool), 8, "must hold integers.*got dtype bool"),
        (with_value(None, object), 8, "must hold integers.*got dtype object"),
    ],
)
def test_bad_images_are_named(x, num_bits, expected):
    with pytest.raises(DataError, match=expected):
        ImageData("made", x, num_bits=num_bits)


@pytest.mark.parametrize(
    ("label", "num_classes", "expected"),
    [
        (np.zeros(3, int), None, r"must have shape \(4,\), one for each row; got shape \(3,\)"),
        (np.zeros((4, 10), int), None, r"got shape \(4, 10\)"),
        (np.zeros(4), None, "must hold integers; got dtype float64"),
        (
            np.array([1, 2, 1, 4]),
            None,
            r"number the classes from 0; got values 1\.\.4\. Subtract 1, or state num_classes=5",
        ),
        (np.array([0, -1, 0, 0]), None, r"must not be negative; got values -1\.\.0"),
        (np.array([0, 1, 2, 10]), 10, r"must be in 0\.\.9 \(num_classes=10\); got values 0\.\.10"),
    ],
)
def test_bad_labels_are_named(label, num_classes, expected):
    with pytest.raises(DataError, match=expected):
        ImageData("made", images(), label, num_classes=num_classes)


@pytest.mark.parametrize("num_bits", [0, 9])
def test_bits_are_checked(num_bits):
    with pytest.raises(InvalidValueError, match="`num_bits` must be one of 1, 2"):
        ImageData("made", images(), num_bits=num_bits)


def test_reduce_bits_is_floor_division():
    x = np.arange(256, dtype=np.uint8)
    for num_bits in range(1, 9):
        assert np.array_equal(reduce_bits(x, num_bits), np.floor(x / 2 ** (8 - num_bits)))
    assert np.array_equal(reduce_bits(x[:16], 2, from_bits=4), np.arange(16) // 4)
    with pytest.raises(InvalidValueError, match="`num_bits` must be one of 1, 2, 3, 4; got 5"):
        reduce_bits(x, 5, from_bits=4)


def test_reduced_data_say_so():
    data = ImageData("made", images(), np.array([0, 2, 1, 0]), num_classes=7)
    small = data.reduced(5)
    assert (small.num_bits, small.num_classes, small.name) == (5, 7, "made")
    assert np.array_equal(small.x, images() // 8)
    assert data.reduced(8) is data


def test_unknown_name_lists_what_works():
    with pytest.raises(
        DataError,
        match=r"'digits', 'mnist', 'fashion_mnist', 'cifar10', .*'power', .*'swiss_roll', or the path of.*got 'mnits'",
    ):
        load("mnits")


def test_bad_arguments_of_load():
    for value in (5, np.zeros((2, 2, 2, 1), np.uint8)):
        expected = f"`name_or_path` must be a str or a path; got {type(value).__name__}. Pass a name such as 'mnist'"
        with pytest.raises(InvalidTypeError, match=expected):
            load(value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        InvalidValueError, match="`split` must be one of 'train', 'validation', 'test', 'all'; got 'valid'"
    ):
        load("digits", "valid")
    with pytest.raises(InvalidValueError, match="`size` is for folders of images, not for 'digits'"):
        load("digits", size=16)
    with pytest.raises(InvalidValueError, match="`num_validation` must be positive for split='validation'"):
        load("digits", "validation")
    with pytest.raises(InvalidValueError, match="must leave at least one of the 1437 training rows"):
        load("digits", num_validation=1437)


def test_split_rows_are_disjoint_and_complete():
    assert splits.split_rows("train", 10, 3) == (0, 7)
    assert splits.split_rows("validation", 10, 3) == (7, 10)
    assert splits.split_rows("train", 10, 0) == (0, 10)
