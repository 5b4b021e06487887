"""Known data sets through tensorflow-datasets: digits for real, the others by fakes of their archives."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jflows.data import load, sources
from jflows.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]


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
    data, (x, label) = load("digits", data_dir=data_dir), sources.read_digits()["train"]
    assert np.array_equal(data.x, x)
    assert np.array_equal(data.label, label)
    assert np.bincount(label).min() > 100  # every class is there


def test_prepared_data_opens_with_plain_tensorflow_datasets(data_dir):
    records = tfds.data_source("jflows_digits", split="train[:10%]", data_dir=str(data_dir))
    assert len(records) == 144
    assert records[0]["image"].shape == (8, 8, 1)


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


def fake_images(num, *shape):
    return np.random.RandomState(num).randint(0, 256, (num, *shape)).astype(np.uint8)


def test_read_mnist_restores_bytes_and_joins_the_packages_validation_rows(tmp_path, monkeypatch):
    x, label = fake_images(9, 28, 28, 1), np.arange(9)
    parts = [(x[rows].reshape(-1, 784) / np.float32(256), label[rows]) for rows in (slice(5), slice(5, 7), slice(7, 9))]
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickle.dumps(tuple(parts))))
    monkeypatch.setattr(sources, "fetch", lambda archive: tmp_path / "wheel")
    arrays = sources.read_mnist()
    assert np.array_equal(arrays["train"][0], x[:7])
    assert np.array_equal(arrays["train"][1], label[:7])
    assert np.array_equal(arrays["test"][0], x[7:])
    assert arrays["test"][1].tolist() == [7, 8]


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_read_fashion_mnist_from_a_debian_package(tmp_path, monkeypatch):
    files = {}
    for prefix, num in (("train", 6), ("t10k", 3)):
        folder = "./usr/share/datasets/fashion-mnist"
        files[f"{folder}/{prefix}-images-idx3-ubyte.gz"] = gzip.compress(bytes(16) + fake_images(num, 784).tobytes())
        files[f"{folder}/{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(bytes(8) + bytes(range(num)))
    package = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0"), ("data.tar.xz", tar_of(files))):  # 3 bytes: odd, so padded
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n".encode() + content
        package += b"\n" * (len(content) % 2)
    (tmp_path / "deb").write_bytes(package)
    monkeypatch.setattr(sources, "fetch", lambda archive: tmp_path / "deb")
    arrays = sources.read_fashion_mnist()
    assert np.array_equal(arrays["train"][0], fake_images(6, 784).reshape(6, 28, 28, 1))
    assert np.array_equal(arrays["test"][0], fake_images(3, 784).reshape(3, 28, 28, 1))
    assert arrays["test"][1].tolist() == [0, 1, 2]

    (tmp_path / "deb").write_bytes(b"!<arch>\n")
    with pytest.raises(DataError, match="must be a Debian package"):
        sources.read_fashion_mnist()


def test_read_cifar10_takes_one_image_from_each_png_row(tmp_path, monkeypatch):
    x = fake_images(12, 32, 32, 3)
    files = {"package/package.json": b"{}"}
    for row, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        buffer = io.BytesIO()
        Image.fromarray(x[2 * row : 2 * row + 2].reshape(2, 1024, 3)).save(buffer, "png")
        files[f"package/{name}.png"] = buffer.getvalue()
    files["package/train_lables.json"] = json.dumps(list(range(10))).encode()
    files["package/test_lables.json"] = json.dumps([4, 2]).encode()
    (tmp_path / "tgz").write_bytes(tar_of(files))
    monkeypatch.setattr(sources, "fetch", lambda archive: tmp_path / "tgz")
    arrays = sources.read_cifar10()
    assert np.array_equal(arrays["train"][0], x[:10])
    assert np.array_equal(arrays["test"][0], x[10:])
    assert (arrays["train"][1].tolist(), arrays["test"][1].tolist()) == (list(range(10)), [4, 2])
