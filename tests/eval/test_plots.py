"""Grids of images and learning curves."""

import numpy as np
import pytest
from PIL import Image

from jflows import InvalidValueError
from jflows.eval import Evaluation
from jflows.eval.plots import image_grid, learning_curve, learning_curves, to_bytes
from jflows.flows import BITS_PER_DIM, NATS


def test_levels_are_stretched_to_black_and_white():
    assert to_bytes(np.arange(4), 2).tolist() == [0, 85, 170, 255]
    assert to_bytes(np.array([0, 31]), 5).tolist() == [0, 255]
    np.testing.assert_array_equal(to_bytes(np.arange(256)), np.arange(256))


def test_tiles_lie_row_by_row_magnified_on_white():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    grid = np.asarray(image_grid(images, 3, num_bits=3, magnify=4, gap=1))
    assert grid.shape == (2 * 9 + 1, 3 * 13 + 1, 3)
    for index in range(5):
        top, left = 1 + index // 3 * 9, 1 + index % 3 * 13
        tile = grid[top : top + 8, left : left + 12]
        assert (tile == round(index * 255 / 7)).all()
    assert (grid[10:, 27:] == 255).all() and (grid[0] == 255).all()  # the free place of the last row, and the gaps


@pytest.mark.parametrize(("size", "tile"), [(8, 56), (28, 56), (32, 64), (64, 64), (128, 128)])
def test_small_images_are_magnified_by_a_whole_number(size, tile):
    grid = image_grid(np.zeros((1, size, size, 3), np.uint8), 1, gap=0)
    assert grid.size == (tile, tile)


def test_colours_are_kept():
    image = np.array([[[[255, 0, 10]]]], np.uint8)
    assert np.asarray(image_grid(image, 1, magnify=1, gap=0)).tolist() == [[[255, 0, 10]]]


def test_labels_stand_left_of_their_rows():
    images = np.full((4, 8, 8, 1), 255, np.uint8)
    plain, labelled = (image_grid(images, 2, labels=labels) for labels in ((), ("first", "")))
    assert labelled.height == plain.height and labelled.width > plain.width
    margin = np.asarray(labelled)[:, : labelled.width - plain.width]
    dark = np.flatnonzero((margin < 128).any(axis=(1, 2)))
    assert dark.size and dark.max() < labelled.height / 2  # ink beside the first row alone


@pytest.mark.parametrize(
    ("shape", "columns", "match"),
    [
        ((0, 8, 8, 1), 2, r"must be \[num, height, width, 1 or 3\]; got shape \(0, 8, 8, 1\)"),
        ((2, 8, 8), 2, "got shape"),
        ((2, 8, 8, 2), 2, "got shape"),
        ((2, 8, 8, 1), 0, "`columns` must be at least 1; got 0"),
    ],
)
def test_errors(shape, columns, match):
    with pytest.raises(InvalidValueError, match=match):
        image_grid(np.zeros(shape, np.uint8), columns)


@pytest.mark.parametrize("num", [0, 1, 5000])
def test_learning_curve_is_a_small_png(tmp_path, num):
    rng = np.random.default_rng(0)
    metrics = [
        {"step": 10 * i, "bits_per_dim": 2 + 50 / i + rng.normal() / 10}
        | ({"validation_bits_per_dim": 2.1 + 50 / i} if i % 100 == 0 else {})
        for i in range(1, num + 1)
    ]
    if num > 1:
        metrics[3]["bits_per_dim"] = float("nan")
    score = Evaluation(2.05, 0.01, -7.1, 0.03, 100, 100)
    learning_curve(metrics, tmp_path / "curve.png", title="run", test=score)
    size = (tmp_path / "curve.png").stat().st_size
    assert 5_000 < size < 300_000
    with Image.open(tmp_path / "curve.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 400 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_curve_of_a_single_step_is_a_dot(tmp_path):
    metrics = [{"step": 40, "bits_per_dim": 7.5}]
    learning_curve(metrics, tmp_path / "one.png")
    learning_curves({"a": metrics, "b": metrics}, tmp_path / "two.png")
    for name, colour in (("one", (0x7F, 0x9F, 0xC4)), ("two", (0xFF, 0x7F, 0x0E))):
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        middle = pixels[:, int(0.4 * pixels.shape[1]) : int(0.6 * pixels.shape[1])]  # left of the legend
        assert (middle == colour).all(axis=-1).sum() > 20


def test_learning_curves_of_tables_are_in_nats(tmp_path):
    metrics = [
        {"step": i, "bits_per_dim": 3 + 1 / i, "loss": 9.0 / i, "validation_nats": -9.5 / i} for i in range(1, 50)
    ]
    paths = [tmp_path / "bits.png", tmp_path / "nats.png"]
    for path, nats in zip(paths, (False, True), strict=True):
        learning_curve(metrics, path, unit=NATS if nats else BITS_PER_DIM)
    assert paths[0].read_bytes() != paths[1].read_bytes()
