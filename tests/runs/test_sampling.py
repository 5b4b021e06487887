"""Samples of a run: in chunks, in any number, by one key each; and files that would be absurd."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from jflows import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import memory, sampling
from jflows.runs import TrainedRun


@pytest.fixture(scope="module")
def opened(trained) -> TrainedRun:
    return TrainedRun.open(trained.directory)


def test_a_sample_does_not_depend_on_how_many_are_drawn(opened, monkeypatch):
    many = opened.sample(100)
    for num in (1, 7, 50):
        np.testing.assert_array_equal(opened.sample(num), many[:num])
    for size in (1, 30, 1000):
        np.testing.assert_array_equal(np.concatenate(list(opened.sample_in_chunks(100, chunk_size=size))), many)


def test_files_are_written_in_chunks(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 16)
    for name in ("a.npy", "a.csv"):
        path = opened.save_samples(opened.sample_in_chunks(50), tmp_path / name, num=50)
        found = np.load(path) if name == "a.npy" else np.loadtxt(path, delimiter=",", skiprows=1)
        np.testing.assert_allclose(found, opened.sample(50), rtol=1e-6)
    with pytest.raises(InvalidValueError, match="`num` must be given with samples in chunks"):
        opened.save_samples(opened.sample_in_chunks(5), tmp_path / "b.npy")


def test_what_neither_memory_nor_disk_holds_is_refused(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_on_host", lambda: 10**9)
    with pytest.raises(InvalidValueError, match="`num` must let .* into memory: it needs at least 17.2 GB, and 1 GB"):
        opened.sample(2**31 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(InvalidValueError, match="must fit on the disk: the file needs about 20 kB, and 1 kB are free"):
        opened.save_samples(opened.sample_in_chunks(1000), tmp_path / "c.csv", num=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda run: run.sample(0), InvalidValueError, "sample: `num` must be at least 1; got 0"),
        (
            lambda run: run.sample_in_chunks(5, chunk_size=0),
            InvalidValueError,
            "`chunk_size` must be at least 1; got 0",
        ),
        (lambda run: run.sample(2.5), InvalidTypeError, "sample: `num` must be an int; got 2.5"),
        (lambda run: run.sample(5, seed=2**63), InvalidValueError, "sample: `seed` must be 0 to 9223372036854775807"),
        (
            lambda run: run.sample(5, temperature=float("nan")),
            InvalidValueError,
            "`temperature` must be at least 0",
        ),
        (lambda run: run.evaluate(None), InvalidTypeError, "evaluate: `data` must be"),
        (lambda run: run.evaluate(run.data(), num_draws=1.5), InvalidTypeError, "`num_draws` must be an int; got 1.5"),
        (lambda run: run.evaluate(run.data(), batch_size=0), InvalidValueError, "`batch_size` must be at least 1"),
        (lambda run: run.evaluate(run.data(), seed=-1), InvalidValueError, "`seed` must be 0 to 9223372036854775807"),
        (
            lambda run: TrainedRun.open(run.directory / "checkpoints" / "20"),
            RuntimeError,
            "with checkpoint=20",
        ),
        (
            lambda run: TrainedRun.open(run.directory, checkpoint=2.5),
            InvalidTypeError,
            "must be a step, or one",
        ),
    ],
)
def test_arguments_out_of_range(opened, call, error, message):
    with pytest.raises(error, match=message):
        call(opened)


def test_a_score_that_is_nan_is_an_error(opened):
    broken = dataclasses.replace(opened, variables=jax.tree.map(lambda leaf: leaf * np.nan, opened.variables))
    with pytest.raises(DataError, match="evaluate: `data` must have scores that are numbers"):
        broken.evaluate(opened.data(), progress=False)


def test_a_huge_batch_is_that_of_the_rows(opened):
    data = opened.data()
    assert opened.evaluate(data, batch_size=2**31 - 1, progress=False) == opened.evaluate(data, progress=False)
