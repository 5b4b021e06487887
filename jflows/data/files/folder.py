"""Images in a folder.

A folder holds images (PNG, JPEG, BMP, ...) or one subfolder of images for each class; or subfolders `train` and `test`,
and `validation` if there is one, each of which is such a folder (see `SPLIT_WORDS` for other names of these). Without
them, a seeded tenth of the images is held out for testing.
"""

import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.dataset import ImageData
from jflows.data.files.attributes import read_attributes
from jflows.data.files.base import FileFormat
from jflows.data.files.image import read_image
from jflows.data.splits import ALL, hold_out, split_rows
from jflows.data.stored import StoredImages
from jflows.errors import DataError, InvalidValueError, path_of

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Names of the subfolders of a split, in lower case; in the folder they may be in any."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def load(folder: Path, split: str, num_validation: int, options: Mapping[str, Any]) -> ImageData:
    """Loads one split of a folder of images, files in the order of their names, then shuffled by a fixed seed.

    Gray images have 1 channel, all others become RGB (jflows/data/files/image.py says which are refused). If the folder
    has subfolders with images, these are the classes, numbered in the order of their names (as numbers, if all are);
    the data keep the names. Names that start with "." or "__" are ignored. Files whose suffix is not that of an image
    are ignored too, and a warning tells how many there are.

    Args:
      folder: a folder of images, of folders of images, or of `train` and `test`, as the head of this module says.
      split: "train", "validation" or "test".
      num_validation: how many of the shuffled training rows, the last ones, are "validation".
      options: `size`, height and width (one int for both) to which images are centre-cropped and resized; without it
        images are taken as they are, and all must have the same shape; `attributes`, the path of a .csv file with
        attributes of the images, see `jflows/data/files/attributes.py`; `stream`, whether images stay on disk until
        they are needed, so that one that breaks a rule is found only then.
    Raises:
      DataError: if there are no images, or if one cannot be read, has more than 8 bits or another shape; it is named.
      InvalidValueError: if `size` or `num_validation` breaks its rule.
    """
    target, named = _target_size(options.get("size")), _split_folders(folder)
    if "validation" in named and num_validation:
        rule, fix = "must be 0 for a folder that holds a validation part", "Drop it, or move these images to training."
        raise InvalidValueError("load", "num_validation", rule, num_validation, fix)
    parts, classes = tuple(named.values()) or (folder,), _class_names(named.get("train", folder))
    listed = _list_images(named.get("train", folder), classes)
    if split == ALL:
        chosen = [entry for part in parts for entry in _list_images(part, classes)]
    elif split in named:
        chosen = _list_images(named[split], classes)
        chosen = _shuffled(chosen) if split == "train" else chosen
    elif named:
        chosen = _shuffled(listed)
    else:
        train, test = hold_out(len(listed), str(folder), fewest=1)
        chosen = [listed[row] for row in (test if split == "test" else train)]
    table = None if "attributes" not in options else path_of("load", "attributes", options["attributes"])
    others = _others([place for part in parts for place in (part, *(part / name for name in classes))])
    others = [path for path in others if table is None or path.resolve() != table.resolve()]
    if others:
        count = "1 file" if len(others) == 1 else f"{len(others)} files"
        text = f"{folder}: passed over {count} without the suffix of an image, such as {others[0].name}."
        warnings.warn(text, stacklevel=4)
    if split not in ("test", ALL) and "validation" not in named:
        start, stop = split_rows(split, len(chosen), num_validation)
        chosen = chosen[start:stop]
    files = _ImageFiles(folder, [path for path, _ in chosen], target, model=listed[0][0])
    x: Any = files.stored() if options.get("stream") else files(np.arange(len(chosen)))
    label = np.array([label for _, label in chosen], np.int32) if classes else None
    own: dict[str, Any] = {"num_classes": len(classes) or None, "class_names": tuple(classes)}
    if table is not None:
        every = [path for part in parts for path, _ in _list_images(part, classes)]
        own["attributes"] = _attributes(table, folder, every, [path for path, _ in chosen])
    return ImageData(folder.name, x, label, **own)


def has_validation(folder: Path) -> bool:
    """Whether a folder holds a validation part."""
    return "validation" in _split_folders(folder)


def has_test(folder: Path) -> bool:
    """Whether a folder holds a test part."""
    return "test" in _split_folders(folder)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The subfolders of the splits; none if the folder holds images or classes.

    Raises:
      DataError: if a split stands twice, is missing beside another one, or stands beside classes.
    """
    named: dict[str, Path] = {}
    others = [path for path in _visible(folder) if path.is_dir() and _holds_images(path)]
    for path in list(others):
        for split, words in SPLIT_WORDS.items():
            if path.name.lower() in words:
                if split in named:
                    got = f"{named[split].name} and {path.name}"
                    raise DataError("load", str(folder), f"must hold one folder of the {split} images", got)
                named[split] = path
                others.remove(path)
    if not named or (len(named) == 1 and others):  # a class may be called "train"
        return {}
    got = ", ".join(path.name for path in (*named.values(), *others))
    if "train" not in named or "test" not in named:
        rule = "must hold both a train and a test folder where one folder is named after a split"
        raise DataError("load", str(folder), rule, got, "Add or rename one; {num_validation} makes a validation part.")
    if others or _images_in(folder):
        got += ", ".join(["", *(path.name for path in _images_in(folder)[:1])])
        rule, fix = "must hold nothing but splits where it holds a train and a test folder", "Move the rest."
        raise DataError("load", str(folder), rule, got, fix)
    return named


def _shuffled(listed: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """Shuffled, or else the last rows, which make up "validation", would all be of the last class."""
    return [listed[row] for row in np.random.RandomState(0).permutation(len(listed))]


def _attributes(table: Path, folder: Path, every: list[Path], chosen: list[Path]) -> dict[str, np.ndarray]:
    """The attributes of the chosen images out of every image of the folder."""
    files = [path.relative_to(folder).as_posix() for path in every]
    row_of = {path: row for row, path in enumerate(every)}
    rows = np.array([row_of[path] for path in chosen], int)
    return {name: values[rows] for name, values in read_attributes(table, files).items()}


def _visible(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    return sorted(paths, key=lambda path: path.name)


def _images_in(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _others(folders: list[Path]) -> list[Path]:
    """The visible files of these folders, where they exist, that are not images by their suffix."""
    found = [path for folder in folders if folder.is_dir() for path in _visible(folder)]
    return [path for path in found if path.suffix.lower() not in SUFFIXES and path.is_file()]


def _holds_images(folder: Path, above: tuple[Path, ...] = ()) -> bool:
    """Whether images lie in a folder or below it; a link to a folder above is passed over."""
    place = folder.resolve()
    if place in above:
        return False
    inside = (path for path in _visible(folder) if path.is_dir())
    return bool(_images_in(folder)) or any(_holds_images(path, (*above, place)) for path in inside)


def _class_names(folder: Path) -> list[str]:
    """Names of the subfolders that hold images, in order; the empty list if the images lie in the folder itself."""
    names = [path.name for path in _visible(folder) if path.is_dir() and _holds_images(path)]
    if names and _images_in(folder):
        got = f"{_images_in(folder)[0].name} beside the class folder {names[0]}"
        fix = "Move the loose images into a class folder, or the subfolders elsewhere."
        raise DataError("load", str(folder), "must hold either images or class folders, not both", got, fix)
    for name in names:
        deeper = [path for path in _visible(folder / name) if path.is_dir() and _holds_images(path)]
        if deeper:
            rule, got = "must hold its images in class folders, no deeper", f"{name}/{deeper[0].name}"
            raise DataError("load", str(folder), rule, got, "Move these images up, or name the folder above them.")
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _list_images(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Every image with its label, -1 where there are no classes."""
    if extra := sorted(set(_class_names(folder)) - set(classes)):
        rule = f"must have no class that the training folder lacks ({classes or 'it has none'})"
        raise DataError("load", str(folder), rule, extra, "Give both folders the same class folders.")
    if not classes:
        listed = [(path, -1) for path in _images_in(folder)]
    else:
        present = [(label, folder / name) for label, name in enumerate(classes) if (folder / name).is_dir()]
        listed = [(path, label) for label, subfolder in present for path in _images_in(subfolder)]
    if not listed:
        rule, others = f"must hold images ({', '.join(SUFFIXES)}) or class folders of images", _others([folder])
        got = f"none, but {others[0].name}" if others else "none"
        raise DataError("load", str(folder), rule, got, "Convert them, or name a file if you mean one." * bool(others))
    return listed


def _target_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    pair = (size, size) if isinstance(size, int) else size
    if pair is not None and (len(pair) != 2 or min(pair) < 1):
        raise InvalidValueError("load", "size", "must be a positive int or (height, width)", size)
    return pair


class _ImageFiles:
    """The images of files by their number; all must have the shape of `model`, the first training image by name."""

    def __init__(self, folder: Path, paths: list[Path], size: tuple[int, int] | None, model: Path):
        self.folder, self.paths, self.size, self.model = folder, paths, size, model
        self.shape = read_image(model, size).shape

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Reads images: int [num] -> uint8 [num, height, width, channels]."""
        x = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            image = read_image(self.paths[row], self.size)
            if image.shape != self.shape:
                rule = f"must have the shape of {self.model.name}, {self.shape}"
                fix = "Crop or resize them to one shape, or set {size}."
                if image.shape[-1] != self.shape[-1]:
                    fix = "Convert all images to gray or all to colour."
                raise DataError("load", str(self.paths[row]), rule, f"shape {image.shape}", fix)
            x[place] = image
        return x

    def stored(self) -> StoredImages:
        """All of them, to be read when they are needed; told from others by their names and sizes in bytes."""
        mark = zlib.crc32(str(self.size).encode())
        for path in self.paths:
            mark = zlib.crc32(f"{path.relative_to(self.folder).as_posix()} {path.stat().st_size}".encode(), mark)
        return StoredImages(self, np.arange(len(self.paths)), self.shape, mark)


FORMAT = FileFormat((), ("images",), ("size", "stream", "attributes"), load, has_validation, has_test)
