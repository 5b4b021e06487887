"""The toys: reproducible, of the stated moments and supports, with the right labels."""

import numpy as np
import pytest

from jflows.data import load, toys
from jflows.data.toys import TOYS
from jflows.errors import InvalidValueError

NUM = 20000


@pytest.mark.parametrize("name", TOYS)
def test_rows_depend_on_seed_alone_and_splits_differ(name):
    assert np.array_equal(getattr(toys, name)(50, seed=3).x, getattr(toys, name)(50, seed=3).x)
    assert not np.array_equal(getattr(toys, name)(50, seed=3).x, getattr(toys, name)(50, seed=4).x)
    train, validation, test = (load(name, split) for split in ("train", "validation", "test"))
    assert [part.x.shape for part in (train, validation, test)] == [(NUM, 2), (5000, 2), (10000, 2)]
    assert train.name == name
    assert not set(train.x[:, 0].tolist()) & set(test.x[:, 0].tolist()) & set(validation.x[:, 0].tolist())
    # One density: all means within 5 standard errors of each other.
    for part in (validation, test):
        error = train.x.std(axis=0) * np.sqrt(1 / len(train) + 1 / len(part))
        assert np.all(np.abs(train.x.mean(axis=0) - part.x.mean(axis=0)) < 5 * error)


@pytest.mark.parametrize(
    ("data", "num_classes"),
    [
        (toys.two_moons(NUM), 2),
        (toys.circles(NUM, num_circles=3), 3),
        (toys.pinwheel(NUM, num_wings=7), 7),
        (toys.spirals(NUM, num_arms=4), 4),
        (toys.eight_gaussians(NUM), 8),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_parts_are_equally_likely(data, num_classes):
    counts = np.bincount(data.label)
    assert data.num_classes == len(counts) == num_classes
    expected = NUM / num_classes
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_no_label_where_there_are_no_parts():
    assert toys.checkerboard(5).label is None and toys.swiss_roll(5).label is None


def test_moons_are_half_circles():
    data = toys.two_moons(NUM, noise=0.0)
    for label, centre, side in ((0, (0.0, 0.0), 1), (1, (1.0, 0.5), -1)):
        moon = data.x[data.label == label] - np.array(centre, np.float32)
        np.testing.assert_allclose(np.linalg.norm(moon, axis=-1), 1, atol=1e-6)
        assert (side * moon[:, 1]).min() > -1e-6


def test_circles_have_their_radii():
    data = toys.circles(NUM, num_circles=4, noise=0.0)
    np.testing.assert_allclose(np.linalg.norm(data.x, axis=-1), (data.label + 1) / 4, atol=1e-6)


def test_pinwheel_turned_by_one_wing_is_the_next_wing():
    data = toys.pinwheel(NUM, num_wings=5)
    turn = 2 * np.pi / 5
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    first, second = data.x[data.label == 0], data.x[data.label == 1]
    error = first.std(axis=0).max() * np.sqrt(2 / len(first))
    assert np.abs((first @ rotation.T).mean(axis=0) - second.mean(axis=0)).max() < 5 * error
    assert np.linalg.norm(first.mean(axis=0)) > 1  # a wing lies to one side


def test_spirals_follow_their_arms():
    data = toys.spirals(NUM, num_arms=3, noise=0.0)
    radius, angle = np.linalg.norm(data.x, axis=-1), np.arctan2(data.x[:, 1], data.x[:, 0])
    turns = (angle - np.pi * radius - 2 * np.pi * data.label / 3) / (2 * np.pi)
    far = radius > 0.1  # nearer, the angle is lost to rounding
    np.testing.assert_allclose(turns[far], np.rint(turns[far]), atol=1e-4)


def test_gaussians_have_the_stated_spread():
    data = toys.eight_gaussians(NUM)
    for label in range(8):
        part = data.x[data.label == label]
        centre = 3 * np.array([np.cos(np.pi * label / 4), np.sin(np.pi * label / 4)])
        assert np.abs(part.mean(axis=0) - centre).max() < 5 * 0.3 / np.sqrt(len(part))
        assert np.abs(part.std(axis=0) - 0.3).max() < 5 * 0.3 / np.sqrt(2 * len(part))


def test_checkerboard_is_uniform_on_half_of_the_squares():
    square = np.floor((toys.checkerboard(NUM).x + 4) / 2).astype(int)
    assert square.min() == 0 and square.max() == 3
    assert np.all((square[:, 0] + square[:, 1]) % 2 == 0)
    counts = np.bincount(square[:, 0] * 4 + square[:, 1], minlength=16)
    assert np.count_nonzero(counts) == 8
    assert np.abs(counts[counts > 0] - NUM / 8).max() < 5 * np.sqrt(NUM / 8)


def test_swiss_roll_is_a_spiral():
    x = 5 * toys.swiss_roll(NUM, noise=0.0).x.astype(np.float64)
    t = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(np.stack([t * np.cos(t), t * np.sin(t)], axis=-1), x, atol=1e-4)
    assert 1.5 * np.pi - 1e-5 < t.min() < t.max() < 4.5 * np.pi + 1e-5


def test_bad_arguments():
    with pytest.raises(InvalidValueError, match="toys: `num` must be positive; got 0"):
        toys.two_moons(0)
    with pytest.raises(InvalidValueError, match="toys: `number of parts` must be positive; got 0"):
        toys.pinwheel(10, num_wings=0)
