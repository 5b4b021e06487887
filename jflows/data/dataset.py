"""`load`: a data set by name or path, as one array of integers; every check of values and shapes is made here.

Known names are prepared once by tensorflow-datasets and then read in bulk; a folder of images or an .npz file is read
as it is. Everything stays in memory as uint8 (CIFAR-10: 184 MB). Read next: `jflows/data/batches.py`.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jflows.data.archives import cache_dir
from jflows.data.sources import SOURCES
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, check_choice

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images as integers, with labels or without; checked at construction.

    Attributes:
      name: for messages and file names.
      x: [num, height, width, channels], integers in 0..2^num_bits - 1; any integer dtype is taken, uint8 is kept.
      label: integers [num] in 0..num_classes - 1, kept as int32, or None.
      num_bits: 1..8.
      num_classes: None exactly when `label` is None; if left out with labels, the largest label plus one.
    Raises:
      DataError: if dtype, rank, range or labels break these rules; the message names the first bad row.
    Example:
      >>> data = ImageData("noise", np.zeros((10, 8, 8, 1), np.uint8), num_bits=4)
      >>> len(data), data.event_shape
      (10, (8, 8, 1))
    """

    name: str
    x: np.ndarray
    label: np.ndarray | None = None
    num_bits: int = 8
    num_classes: int | None = None

    def __post_init__(self):
        check_choice("ImageData", "num_bits", self.num_bits, range(1, 9))
        object.__setattr__(self, "x", check_images(self.x, self.num_bits, self.name))
        if self.label is None:
            object.__setattr__(self, "num_classes", None)
            return
        label = check_labels(self.label, len(self.x), self.num_classes, self.name)
        object.__setattr__(self, "label", label)
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", int(label.max()) + 1)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.x.shape[1:]

    def reduced(self, num_bits: int) -> "ImageData":
        """The same images with `num_bits` <= `self.num_bits` bits; itself if nothing changes."""
        if num_bits == self.num_bits:
            return self
        return replace(self, x=reduce_bits(self.x, num_bits, self.num_bits), num_bits=num_bits)


def load(
    name_or_path: str | os.PathLike[str],
    split: str = "train",
    *,
    num_validation: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
) -> ImageData:
    """Loads one split of a data set into memory.

    Args:
      name_or_path: "digits", "mnist", "fashion_mnist" or "cifar10"; or a path to a folder of images or an .npz file
        (see `jflows.data.files`). A name wins over a folder of that name: write "./mnist" for the folder.
      split: "train", "validation" or "test".
      num_validation: the last so many training rows make up "validation", and "train" leaves them out.
      data_dir: where known data sets are prepared; default `cache_dir() / "tfds"`.
      size: of folders only: height and width (one int for both) to which images are centre-cropped and resized.
    Raises:
      DataError: if the data are unknown, missing, damaged, of unequal shapes or out of range.
      InvalidTypeError: if `name_or_path` is neither a str nor a path.
      InvalidValueError: if `split`, `num_validation` or `size` breaks its rule.
    Example:
      >>> data = load("digits", "test")  # doctest: +SKIP
      >>> data.x.shape, data.num_bits  # doctest: +SKIP
      ((360, 8, 8, 1), 4)
    """
    if not isinstance(name_or_path, str | os.PathLike):
        fix = "Pass a name such as 'mnist' or a path; wrap arrays in ImageData(name, x)."
        raise InvalidTypeError("load", "name_or_path", "must be a str or a path", type(name_or_path).__name__, fix)
    check_choice("load", "split", split, SPLITS)
    name = os.fspath(name_or_path)
    if name in SOURCES:
        if size is not None:
            raise InvalidValueError("load", "size", f"is for folders of images, not for {name!r}", size, "Drop it.")
        return _load_known(name, split, num_validation, Path(data_dir) if data_dir else cache_dir() / "tfds")
    from jflows.data import files

    path = Path(name).expanduser()
    if path.is_dir():
        return files.load_folder(path, split, num_validation, size)
    if path.is_file() and path.suffix == ".npz":
        if size is not None:
            raise InvalidValueError("load", "size", "is for folders of images, not for .npz files", size, "Drop it.")
        return files.load_npz(path, split, num_validation)
    known = ", ".join(repr(known) for known in SOURCES)
    rule = f"must be one of {known}, or the path of an existing folder of images or .npz file"
    raise DataError("load", "name_or_path", rule, repr(name), "Check the spelling.")


def split_rows(split: str, num_train: int, num_validation: int) -> tuple[int, int]:
    """First and one past last of the training rows that make up "train" or "validation".

    Raises:
      InvalidValueError: unless 0 <= num_validation < num_train, and 0 < num_validation for "validation".
    """
    if not 0 <= num_validation < num_train:
        rule = f"must leave at least one of the {num_train} training rows and not be negative"
        raise InvalidValueError("load", "num_validation", rule, num_validation)
    if split == "train":
        return 0, num_train - num_validation
    if num_validation == 0:
        fix = "Set num_validation, or use split='test'."
        raise InvalidValueError("load", "num_validation", "must be positive for split='validation'", 0, fix)
    return num_train - num_validation, num_train


def reduce_bits(x: np.ndarray, num_bits: int, from_bits: int = 8) -> np.ndarray:
    """Keeps the `num_bits` highest of `from_bits` bits: floor(x / 2^(from_bits - num_bits)), as Glow's 5-bit images.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039.

    Raises:
      InvalidValueError: unless 1 <= num_bits <= from_bits.
    Example:
      >>> reduce_bits(np.array([0, 7, 8, 255], np.uint8), num_bits=5)
      array([ 0,  0,  1, 31], dtype=uint8)
    """
    check_choice("reduce_bits", "num_bits", num_bits, range(1, from_bits + 1))
    return x >> (from_bits - num_bits)


def check_images(x: np.ndarray, num_bits: int, name: str) -> np.ndarray:
    """Returns `x` as contiguous uint8 [num, height, width, channels], or raises `DataError` naming what is wrong."""
    x = np.asarray(x)
    if x.ndim != 4 or 0 in x.shape:
        fix = "Add the channel axis: x[..., None]." if x.ndim == 3 else "Reshape it."
        rule = "must have rank 4, [num, height, width, channels], with no empty axis"
        raise DataError(f"ImageData {name!r}", "x", rule, f"shape {x.shape}", fix)
    high = 2**num_bits - 1
    if x.dtype.kind not in "ui":
        fix = f"Convert it: (x * {high}).round().astype(np.uint8) if its values are in [0, 1]."
        if x.dtype.kind == "f":
            _check_finite(x, name)
        raise DataError(f"ImageData {name!r}", "x", f"must hold integers in 0..{high}", f"dtype {x.dtype}", fix)
    if x.dtype != np.uint8 or num_bits < 8:
        bad = np.flatnonzero(((x < 0) | (x > high)).reshape(len(x), -1).any(axis=1))
        if bad.size:
            row = x[bad[0]]
            got = f"values {row.min()}..{row.max()} in row {bad[0]} ({bad.size} bad rows)"
            fix = f"Reduce it with reduce_bits(x, {num_bits}) or set num_bits to what the data have."
            raise DataError(f"ImageData {name!r}", "x", f"must be in 0..{high} (num_bits={num_bits})", got, fix)
    return np.ascontiguousarray(x, dtype=np.uint8)


def check_labels(label: np.ndarray, num: int, num_classes: int | None, name: str) -> np.ndarray:
    """Returns `label` as int32 [num], or raises `DataError` naming what is wrong."""
    label = np.asarray(label)
    where = f"ImageData {name!r}"
    if label.shape != (num,):
        raise DataError(where, "label", f"must have shape ({num},), one for each image", f"shape {label.shape}")
    if label.dtype.kind not in "ui":
        fix = "Number the classes from 0: np.unique(label, return_inverse=True)[1]."
        raise DataError(where, "label", "must hold integers", f"dtype {label.dtype}", fix)
    high = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if label.min() < 0 or label.max() > high:
        rule = "must not be negative" if num_classes is None else f"must be in 0..{high} (num_classes={num_classes})"
        raise DataError(where, "label", rule, f"values {label.min()}..{label.max()}", "Number the classes from 0.")
    return label.astype(np.int32)


def _check_finite(x: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    if bad.size:
        value = "NaN" if np.isnan(x[bad[0]]).any() else "infinity"
        got = f"{value} in row {bad[0]} ({bad.size} bad rows, dtype {x.dtype})"
        fix = "Remove these rows, then convert to integers."
        raise DataError(f"ImageData {name!r}", "x", "must be finite integers", got, fix)


def _load_known(name: str, split: str, num_validation: int, data_dir: Path) -> ImageData:
    source = SOURCES[name]
    start, stop = (0, source.num_test) if split == "test" else split_rows(split, source.num_train, num_validation)
    try:
        from jflows.data import builders
    except ImportError as error:
        fix = "Run `pip install tensorflow-datasets array_record` (TensorFlow itself is not needed)."
        raise DataError("load", name, "needs tensorflow-datasets", str(error), fix) from error
    builder = builders.prepare(name, data_dir)
    x, label = builders.read_rows(builder, "test" if split == "test" else "train", start, stop)
    return ImageData(name, x, label, source.num_bits, source.num_classes)
