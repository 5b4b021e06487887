"""Attributes of images: values, rows without one, and what is measured from strokes."""

import dataclasses

import numpy as np
import pytest

from jflows.data import ImageData, TrainBatches, only_classes, strokes
from jflows.data.attributes import has_value, threshold_of
from jflows.data.known import KNOWN
from jflows.errors import DataError
from jflows.runs.data import checksum

X = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 4, 4, 1), np.uint8)
ATTRIBUTES = {"glasses": np.array([1, 0, -1, 1, 0, 0], np.int8), "age": np.array([3.0, np.nan, 5, 6, 7, 8])}


@pytest.fixture
def faces():
    return ImageData("faces", X, label=np.arange(6) % 2, attributes=ATTRIBUTES, measures={"ink": strokes.ink})


def test_attributes_travel_with_their_rows(faces):
    assert faces.attribute_names == ("glasses", "age", "ink")
    taken = faces.take(np.array([3, 0]))
    assert taken.attributes["glasses"].tolist() == [1, 1] and taken.attribute("age").tolist() == [6, 3]
    np.testing.assert_allclose(taken.attribute("ink"), 16 * np.array([3, 0]) / 255, rtol=1e-6)
    joined = taken.joined(faces.take(np.array([2])))
    assert joined.attributes["glasses"].tolist() == [1, 1, -1] and joined.attributes["age"].dtype == np.float32
    odd = only_classes(faces, (1,))
    assert odd.attributes["glasses"].tolist() == [0, 1, 0] and np.isnan(odd.attributes["age"][0])
    few = faces.reduced(4)
    assert few.attributes["glasses"].tolist() == ATTRIBUTES["glasses"].tolist() and few.attribute("ink")[5] == 0
    assert "attributes glasses, age, ink" in repr(faces)


def test_attributes_are_no_part_of_training_nor_of_its_checksum(faces):
    bare = dataclasses.replace(faces, attributes={}, measures={})
    assert bare.attribute_names == () and checksum(bare) == checksum(faces)
    ours, theirs = (TrainBatches(data, 3).at(0) for data in (faces, bare))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None)


def test_truth_values_are_bool_or_int8_and_all_else_is_a_number(faces):
    given = {"a": np.array([True] * 3 + [False] * 3), "b": np.arange(6)}
    data = dataclasses.replace(faces, attributes=given)
    assert [data.attributes[name].dtype for name in "ab"] == [np.int8, np.float32]
    assert (threshold_of(data.attributes["a"]), threshold_of(data.attributes["b"])) == (0.5, 2.5)
    assert threshold_of(faces.attributes["age"]) == 6.0  # the median of five
    assert has_value(faces.attributes["age"]).tolist() == [True, False, True, True, True, True]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"glasses": np.zeros(5, bool)},
            r"`attributes\['glasses'\]` must hold truth values or numbers of shape \(6,\)",
        ),
        ({"glasses": np.array(list("abcdef"))}, r"got dtype <U1, shape \(6,\)"),
        ({"glasses": np.full(6, 2, np.int8)}, r"must hold 1, 0 and -1 for no value, in int8; got 2 in row 0 \(6 bad"),
        (
            {"age": np.array([0, 0, np.inf, 0, 0, 0])},
            "must be finite in float32, or NaN for no value; got inf in row 2",
        ),
        ({"": np.zeros(6)}, "`attributes` must have names that are text"),
    ],
)
def test_bad_attributes_are_named(attributes, message):
    with pytest.raises(DataError, match=message):
        ImageData("faces", X, attributes=attributes)


def test_unknown_attributes_are_refused_with_what_there_is(faces):
    with pytest.raises(DataError, match=r"must be one of glasses, age, ink; got 'glases'\. Did you mean glasses\?"):
        faces.attribute("glases")
    with pytest.raises(DataError, match=r"must be one of the data, which have none; got 'glasses'\. Name a \.csv file"):
        ImageData("bare", X).attribute("glasses")


def line(degrees, width=3.0, size=41):
    """An anti-aliased stroke through the middle, leaning to the right by an angle, of 20 pixels up and down."""
    down, right = np.mgrid[:size, :size] - (size - 1) / 2
    angle = np.radians(degrees)
    along, across = down * np.cos(angle) - right * np.sin(angle), down * np.sin(angle) + right * np.cos(angle)
    inside = lambda distance, half: np.clip(half + 0.5 - np.abs(distance), 0, 1)
    return (inside(across, width / 2) * inside(along, 12.0))[..., None]


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 20.0])
def test_slant_is_the_angle_of_a_stroke(degrees):
    found = strokes.slant(np.stack([line(degrees, 2.0), line(degrees, 2.0)[:, ::-1]]))
    np.testing.assert_allclose(found, [degrees, -degrees], atol=1.0)


def test_thickness_is_the_width_of_a_long_stroke_at_any_angle():
    images = np.stack([line(angle, width) for width in (2.0, 4.0) for angle in (0.0, 25.0)])
    found = strokes.thickness(images)
    ends = 24.0 / (24.0 + np.array([2.0, 2.0, 4.0, 4.0]))  # the outline of a bar has ends
    np.testing.assert_allclose(found, np.array([2.0, 2.0, 4.0, 4.0]) * ends, rtol=0.1)
    np.testing.assert_allclose(strokes.ink(images), np.array([2.0, 2.0, 4.0, 4.0]) * 24, rtol=0.05)


def test_images_without_ink_have_no_slant_and_no_thickness():
    empty = np.zeros((2, 5, 5, 1))
    assert np.isnan(strokes.slant(empty)).all() and np.isnan(strokes.thickness(empty)).all()
    assert strokes.ink(empty).tolist() == [0, 0]
    assert tuple(KNOWN["mnist"].measures) == ("slant", "thickness", "ink")
