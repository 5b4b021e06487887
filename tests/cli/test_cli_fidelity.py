"""`jflows fidelity`: how like real images samples are, on the tiny run of 8x8 digits."""

import json

import jax
import numpy as np
import pytest

import jflows as library
from jflows.data import ImageData
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.runs import TrainedRun
from jflows.runs.reports import fidelity
from tests.presets import filled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def networks(monkeypatch, folder):
    """Networks are trained for a few steps, and kept apart from those of a user."""
    monkeypatch.setattr(fidelity, "STEPS", 60)
    monkeypatch.setattr(fidelity, "cache_dir", lambda: folder)


def test_samples_lie_further_from_test_images_than_training_images_do(trained, jflows, folder, tmp_path):
    out = tmp_path / "out.json"
    shown = jflows("fidelity", trained, "--num", 200, "--out", out)
    assert shown.exit_code == 0, shown.output
    assert "distances from 200 test images of digits, in 64 features of a network" in shown.stdout
    assert "do not compare" in shown.stdout
    found = json.loads(out.read_text())
    assert (found["data"], found["label"], found["seed"]) == ("digits", None, 0)
    assert (found["weights"], found["step"]) == ("ema", 20)
    assert found["num"] == 200 and found["network"]["data"] == "digits" and found["network"]["accuracy"] > 0.5
    of_samples, of_training = found["samples"], found["training_images"]
    assert 0 < 3 * of_training["frechet_distance"] < of_samples["frechet_distance"]
    assert of_samples["kernel_distance"] > 5 * of_samples["kernel_distance_standard_error"] > 0
    assert abs(of_training["kernel_distance"]) < 5 * of_training["kernel_distance_standard_error"]
    line = next(line for line in shown.stdout.splitlines() if line.endswith("200 samples at temperature 1"))
    assert float(line.split()[1].strip(",")) == pytest.approx(of_samples["frechet_distance"], abs=1e-3)
    (kept,) = (folder / fidelity.FOLDER).iterdir()
    again = jflows("fidelity", trained, "--num", 200, "--out", tmp_path / "again.json")
    assert again.stdout.splitlines()[:3] == shown.stdout.splitlines()[:3] and "training a network" not in again.stderr
    cold = jflows("fidelity", trained, "--num", 40, "--temperature", 0, "--out", tmp_path / "cold.json")
    assert "40 samples at temperature 0" in cold.stdout
    whole = kept.read_bytes()
    with np.load(kept) as file:
        arrays = {name: file[name] for name in file.files if name != "hidden"}
    for damage in (
        lambda: kept.write_bytes(whole[:1000]),
        lambda: kept.write_bytes(b""),
        lambda: np.savez(kept, **arrays),
    ):
        damage()
        shown = jflows("fidelity", trained, "--num", 200)
        assert shown.exit_code == 2 and "must be a readable network" in shown.stderr and "Delete it" in shown.stderr
    kept.unlink()


def test_data_without_labels_or_of_another_shape_train_no_network(trained, jflows, tmp_path):
    x = np.zeros((40, 8, 8, 1), np.uint8)
    for name, arrays in {"plain": {"x": x}, "wide": {"x": x.repeat(2, axis=2), "label": np.arange(40) % 2}}.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    for name, part in {
        "plain": "`--network` must have labels, which train the network; got",
        "wide": "`--network` must have event shape (8, 8, 1); got",
    }.items():
        shown = jflows("fidelity", trained, "--network", tmp_path / f"{name}.npz")
        assert shown.exit_code == 2 and part in shown.stderr and shown.stderr.count("\n") == 1
        assert "by --network" in shown.stderr


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--num", 19], "fidelity: `--num` must be at least 20 images; got 19. Compare more."),
        (["--num", 361], "fidelity: `--num` must be at most 360, as 'digits' has 360 images here"),
        (
            ["--split", "train"],
            "fidelity: `--data` must be images that the run was not trained on; got its training im",
        ),
        (["--label", "3"], "`--label` needs a class-conditional flow; got 3"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(trained, jflows, monkeypatch, args, part):
    monkeypatch.setattr(fidelity, "STEPS", 1)
    shown = jflows("fidelity", trained, *args)
    assert shown.exit_code == 2 and part in shown.stderr


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"new": "digits"}, InvalidTypeError, "fidelity: `new` must be TableData, ImageData or NoData; got str"),
        ({"path": 3}, InvalidTypeError, "fidelity: `path` must be a str or a path; got int"),
        ({"network": 3}, InvalidTypeError, "fidelity: `network` must be a str or a path; got int"),
        ({"network": "nosuch"}, DataError, "fidelity: `network` .*nosuch"),
        ({"num": 40.5}, InvalidTypeError, "`num` must be an int or None; got 40.5"),
        ({"seed": -1}, InvalidValueError, "`seed` must be .*; got -1"),
        ({"temperature": -1.0}, InvalidValueError, "`temperature` must be at least 0; got -1.0"),
    ],
)
def test_arguments_in_python_are_checked(trained, monkeypatch, options, error, part):
    monkeypatch.setattr(fidelity, "STEPS", 1)
    run = TrainedRun.open(trained)
    with pytest.raises(error, match=part):
        run.fidelity(**{"new": run.data()} | options)


class Brightness:
    """A network with one feature, the mean of an image."""

    def features(self, x, num_bits):
        assert num_bits == 8
        return np.asarray(x, np.float64).mean(axis=(1, 2, 3))[:, None]


def test_a_class_is_compared_with_images_of_that_class():
    label = np.arange(80) % 2  # class 1 is bright
    draw = np.random.default_rng(0)
    rows, new = (
        ImageData(
            name, (draw.integers(0, 60, (80, 4, 4, 1)) + 150 * label[:, None, None, None]).astype(np.uint8), label
        )
        for name in ("rows", "new")
    )
    flow = library.glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_classes=2)
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), rows.x, rows.label), 0)
    given = (flow, variables, Brightness(), rows, new)
    for chosen in (0, 1):
        found = fidelity.measure_fidelity(*given, network_data="rows", num=30, label=chosen)
        assert found.label == chosen and found.of_training.frechet < 10
    mixed = fidelity.measure_fidelity(*given, network_data="rows", num=30)
    assert mixed.label is None
    with pytest.raises(DataError, match="`num` must be at most 40, as 'new' has 40 images here"):
        fidelity.measure_fidelity(*given, network_data="rows", num=41, label=1)
    with pytest.raises(DataError, match="without labels"):
        plain = [ImageData(each.name, each.x) for each in (rows, new)]
        fidelity.measure_fidelity(*given[:3], *plain, network_data="rows", num=20, label=1)
