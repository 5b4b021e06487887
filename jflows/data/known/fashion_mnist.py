"""Fashion-MNIST: 70,000 articles of clothing."""

import gzip
from pathlib import Path

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.store.archives import Archive
from jflows.data.store.debian import members_of

ARCHIVE = Archive(
    registry="debian",
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file_name="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    megabytes=30.9,
)


def read(path: Path) -> Arrays:
    """60,000 and 10,000 images of 28x28 in the original order."""
    members = members_of(path)

    def idx(name: str, offset: int) -> np.ndarray:
        packed = members[f"./usr/share/datasets/fashion-mnist/{name}.gz"]
        return np.frombuffer(gzip.decompress(packed), np.uint8, offset=offset)

    def split(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        x = idx(f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
        return x, idx(f"{prefix}-labels-idx1-ubyte", 8).astype(np.int32)

    return {"train": split("train"), "test": split("t10k")}


DATA = FixedImages(
    name="fashion_mnist",
    title="Fashion-MNIST articles of clothing, 28x28 gray",
    licence="The images are under the MIT licence.",
    credit="Cite Xiao et al. 2017, arXiv:1708.07747.",
    event_shape=(28, 28, 1),
    num_classes=10,
    num_train=60000,
    num_test=10000,
    mirror=True,
    archive=ARCHIVE,
    prepare_seconds=5,
    read=read,
)
