"""Known data sets through tensorflow-datasets, shown by the digits, which need no network."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jflows.data import KNOWN, load
from jflows.data.known import digits
from jflows.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[3]
LAST = {"num_validation": 1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    load("digits", data_dir=folder)
    return folder


def run_python(code, *arguments):
    """A process of its own, started but not waited for."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_digits_splits_hold_every_image_once(data_dir):
    from sklearn.datasets import load_digits

    original = np.minimum(load_digits().images, 15).astype(np.uint8)[..., None]
    train = load("digits", num_validation=200, data_dir=data_dir)
    validation = load("digits", "validation", num_validation=200, data_dir=data_dir)
    test = load("digits", "test", data_dir=data_dir)
    assert [len(part) for part in (train, validation, test)] == [1237, 200, 360]
    assert (train.name, train.event_shape, train.num_bits, train.num_classes) == ("digits", (8, 8, 1), 4, 10)
    assert train.x.max() == 15
    together = np.concatenate([train.x, validation.x, test.x])
    assert sorted(image.tobytes() for image in together) == sorted(image.tobytes() for image in original)


def test_validation_is_the_end_of_train(data_dir):
    whole = load("digits", data_dir=data_dir)
    validation = load("digits", "validation", num_validation=37, data_dir=data_dir)
    assert np.array_equal(whole.x[-37:], validation.x)
    assert whole.label is not None
    assert np.array_equal(whole.label[-37:], validation.label)


def test_labels_belong_to_their_images(data_dir):
    data, (x, label) = load("digits", data_dir=data_dir), digits.read()["train"]
    assert np.array_equal(data.x, x)
    assert np.array_equal(data.label, label)
    assert np.bincount(label).min() > 100  # every class is there


def test_prepared_data_opens_with_plain_tensorflow_datasets(data_dir):
    records = tfds.data_source("jflows_digits", split="train[:10%]", data_dir=str(data_dir))
    assert len(records) == 144
    assert records[0]["image"].shape == (8, 8, 1)


def test_every_prepared_data_set_has_a_builder_made_from_the_registry():
    from jflows.data.store.builders import BUILDERS

    prepared = {name for name, known in KNOWN.items() if hasattr(known, "prepare_seconds")}
    assert set(BUILDERS) == prepared >= {"digits", "mnist", "fashion_mnist", "cifar10", "power", "gas", "bsds300"}
    for name, builder in BUILDERS.items():
        assert (builder.name, builder.DATA, str(builder.VERSION)) == (f"jflows_{name}", KNOWN[name], "1.0.0")
        assert tfds.core.registered.imported_builder_cls(f"jflows_{name}") is builder


def test_attributes_and_names_of_classes_are_kept_with_the_images(tmp_path, monkeypatch):
    attributes = {"glasses": np.array([1, 0, -1, 1], np.int8)}
    x = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    arrays = {"train": (x, np.array([0, 1, 1, 0]), attributes), "test": (x[:1], np.array([1]), {"glasses": [0]})}
    facts = dict(name="faces", attributes=("glasses",), class_names=("ann", "bob"), num_classes=2, num_train=4)
    known = dataclasses.replace(digits.DATA, read=lambda: arrays, num_test=1, num_bits=8, **facts)
    monkeypatch.setitem(sys.modules["jflows.data.load"].__dict__, "KNOWN", {**KNOWN, "faces": known})
    train, validation = (
        load("faces", num_validation=1, data_dir=tmp_path),
        load("faces", "validation", **LAST, data_dir=tmp_path),
    )
    assert train.attributes["glasses"].tolist() == [1, 0, -1] and train.class_names == ("ann", "bob")
    assert validation.attributes["glasses"].tolist() == [1] and validation.attributes["glasses"].dtype == np.int8
    records = tfds.data_source("jflows_faces", split="train", data_dir=str(tmp_path))
    assert [record["attributes"]["glasses"] for record in records] == [1, 0, -1, 1]


def test_tensorflow_datasets_can_prepare_by_itself(tmp_path, data_dir, capsys):
    builder = tfds.builder("jflows_digits", data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == 1437
    capsys.readouterr()
    assert np.array_equal(load("digits", data_dir=tmp_path).x, load("digits", data_dir=data_dir).x)
    assert capsys.readouterr().err == ""  # nothing had to be prepared


def test_load_prints_one_short_report_and_no_noise(tmp_path, capfd):
    load("digits", data_dir=tmp_path)
    load("digits", data_dir=tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["jflows.data:", word, "digits"] for word in ("preparing", "prepared")
    ]


def test_damaged_prepared_data_are_named_and_never_returned(tmp_path):
    load("digits", data_dir=tmp_path)
    file = next(tmp_path.glob("jflows_digits/1.0.0/*train.array_record*"))
    raw = bytearray(file.read_bytes())
    raw[20000] ^= 1  # one bit of pixel data
    file.write_bytes(raw)
    with pytest.raises(DataError, match=r"`train` split can be read; got RuntimeError.*Delete this folder"):
        load("digits", data_dir=tmp_path)
    (file.parent / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"must be a folder that tensorflow-datasets can open.*Delete this folder"):
        load("digits", data_dir=tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="must be a folder that can be read and written"):
        load("digits", data_dir=tmp_path / "file" / "below")


def test_two_processes_may_prepare_at_once(tmp_path):
    leftover = tmp_path / "jflows_digits" / "incomplete.KILLED_1.0.0"
    leftover.mkdir(parents=True)
    code = "import sys; from jflows.data import load; print(load('digits', data_dir=sys.argv[1]).x.sum())"
    processes = [run_python(code, tmp_path) for _ in range(2)]
    results = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0] != ""
    assert sum("preparing" in err for _, err in results) == 1
    assert not leftover.exists()


def test_importing_jflows_data_loads_none_of_the_heavy_packages():
    code = (
        "import sys, jflows.data; "
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'PIL', 'sklearn') if name in sys.modules])"
    )
    out, err = run_python(code).communicate(timeout=100)
    assert out.strip() == "[]", err
