"""Images on disk: the batches are those of images in memory, from any step on, and nothing else is read."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

import jflows
from jflows.data import TrainBatches, eval_batches, load
from jflows.errors import DataError, InvalidValueError, MissingPackageError
from jflows.runs import DataConfig, RunDirectory
from jflows.runs.data import checksum
from jflows.train import TrainConfig, fit

pytest.importorskip("grain", reason="images on disk are read ahead by grain")
NUM, SIDE = 23, 8
FOLDER_AND_PREPARED = ["folder", "digits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    made = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(NUM):
        place = made / ("even", "odd")[number % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(place / f"{number:02d}.png")
    return made


def both(name, folder, split="train", **options):
    return [load(folder if name == "folder" else name, split, stream=stream, **options) for stream in (False, True)]


@pytest.mark.parametrize("name", FOLDER_AND_PREPARED)
def test_batches_are_those_of_images_in_memory_from_any_step_on(name, folder):
    held, on_disk = both(name, folder, num_validation=3)
    assert repr(on_disk) == repr(held) and on_disk.event_shape == held.event_shape
    np.testing.assert_array_equal(on_disk.label, held.label)
    calls = [(3, 2), (5, 1), (6, 4)]
    options = {"batch_size": 8, "seed": 7, "mirror": True, "mutate": 0.1}
    wanted = [TrainBatches(held, **options).at(*call) for call in calls]
    for got, batch in zip(TrainBatches(on_disk, **options).along(calls), wanted, strict=True):
        for one, other in zip(got, batch, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", FOLDER_AND_PREPARED)
def test_scores_read_each_image_once_in_order(name, folder):
    held, on_disk = both(name, folder, "test")
    for got, batch in zip(eval_batches(on_disk, 16), eval_batches(held, 16), strict=True):
        for one, other in zip(got, batch, strict=True):
            np.testing.assert_array_equal(one, other)


def test_rows_are_taken_and_reduced_without_being_read(folder, monkeypatch):
    held, on_disk = load(folder), load(folder, stream=True)
    with monkeypatch.context() as patch:
        patch.setattr("jflows.data.files.folder.read_image", None)
        part = on_disk.take(np.array([5, 1, 2])).reduced(5)
        assert part.x.shape == (3, SIDE, SIDE, 3) and checksum(part) != checksum(on_disk)
    np.testing.assert_array_equal(part.x[:2], held.x[[5, 1]] >> 3)
    np.testing.assert_array_equal(part.x[-1], held.x[2] >> 3)
    for one, other in zip(on_disk.statistics(covariance=True).axes, held.statistics(covariance=True).axes, strict=True):
        np.testing.assert_allclose(one, other)


def test_a_run_that_streams_is_one_in_memory_also_when_it_is_resumed(folder, tmp_path):
    held, on_disk = load(folder), load(folder, stream=True)
    flow = jflows.nice_images(held.event_shape, 1, (4,))
    config = TrainConfig(steps=4, batch_size=4, log_every=2, checkpoint_every=2, parallel="none")
    config = dataclasses.replace(config, schedule="constant", warmup_steps=0)  # the same for any number of steps
    whole = fit(flow, held, config).state
    half, path = dataclasses.replace(config, steps=2), tmp_path / "run"
    fit(flow, on_disk, half, run=RunDirectory.create(path, flow))
    rest = fit(flow, on_disk, config, run=RunDirectory.resume(path, flow)).state
    for one, other in zip(*(jax.tree.leaves(state.params) for state in (whole, rest)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_bad_image_is_named_when_it_is_read(folder, tmp_path):
    from PIL import Image

    for number in range(4):
        Image.fromarray(np.zeros((SIDE, SIDE + number // 3, 3), np.uint8)).save(tmp_path / f"{number}.png")
    data = load(tmp_path, "all", stream=True)
    with pytest.raises(DataError, match=r"3\.png` must have the shape of 0\.png, \(8, 8, 3\); got shape \(8, 9, 3\)"):
        list(eval_batches(data, 2))


def test_what_needs_all_images_at_once_is_refused(folder):
    data = load(folder, stream=True)
    with pytest.raises(InvalidValueError, match="`stream` must be off for what needs all images in memory at once"):
        np.asarray(data.x)
    with pytest.raises(InvalidValueError, match="`stream` is for images in folders, and .* not for 'two_moons'"):
        load("two_moons", stream=True)
    with pytest.raises(InvalidValueError, match="`stream` is for images in folders"):
        DataConfig(name="red_wine", stream=True).load("train")


def test_grain_is_asked_for_where_it_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(MissingPackageError, match="`stream` needs grain, to read images ahead; .*pip install grain"):
        load(folder, stream=True)
