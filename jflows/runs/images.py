"""Image files that a user names: `read_images` gives data as a trained density reads them, `read_mask` a mask.

Read next: `jflows/runs/pictures.py`, whose `images` gives them to interpolation, inpainting and edits;
`jflows/data/files/image.py`, which reads one file.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.data import ImageData
from jflows.data.files.image import read_image
from jflows.errors import DataError, InvalidValueError, did_you_mean, path_of
from jflows.eval.inpainting import MASKS, check_mask, hidden_pixels
from jflows.flows import Density
from jflows.typing import Shape

COLOURS = {1: "gray", 3: "colour"}  # by the number of channels
ALL_MASKS = "all"  # stands for the ten by name
WHITE = 128  # of a mask, and above
PILLOW_MODES = {1: "L", 3: "RGB"}


def read_images(
    paths: Sequence[str | os.PathLike[str]], density: Density, label: int | None = None, setting: str = "image"
) -> ImageData:
    """Image files in the given order, with the bits that a density of images models.

    Files are read as those of a folder of images are, and nothing is cropped, resized or turned to gray: an image of
    another size or colour is refused, as a guess would change what the density sees. Bits are reduced by the rule of
    all data, `ImageData.reduced`, which drops the lowest ones.

    Args:
      paths: the files, at least one.
      density: a density of images.
      label: the class of all images; must be given exactly if the density is class-conditional.
      setting: the name by which errors call the paths.
    Raises:
      InvalidValueError: if there is no path, the density is not one of images, or the label does not suit it.
      DataError: if a file is missing or damaged, or its image is of another size or colour; the message says which.
    """
    reading = density.reading
    if not reading.kind.has_pixels:
        rule = "must be left out, as the run is not one of images"
        raise InvalidValueError("images", setting, rule, None, "Name rows by {data}.")
    if not paths:
        raise InvalidValueError("images", setting, "must name at least one file", "none")
    labels = None if label is None else np.full(len(paths), label, np.int32)
    if reading.context == "labels" and label is None:
        rule = f"must be given with {{{setting}}}, as the flow is class-conditional"
        raise InvalidValueError("images", "label", rule, None)
    if reading.context != "labels" and label is not None:
        raise InvalidValueError("images", "label", "needs a class-conditional flow", label, "Leave it out.")
    if label is not None and not 0 <= label < (reading.num_classes or 1):
        raise InvalidValueError("images", "label", f"must be 0 to {(reading.num_classes or 1) - 1}", label)
    found = [_read(path_of("images", setting, path), reading.event_shape, setting) for path in paths]
    name = ", ".join(Path(path).name for path in paths)
    return ImageData(name, np.stack(found), labels, num_classes=reading.num_classes).reduced(reading.num_bits)


def read_mask(name: str | os.PathLike[str], density: Density, seed: int = 0) -> np.ndarray:
    """A mask for inpainting, by its name in `jflows.eval.hidden_pixels`, or from an image file, where white is hidden.

    Args:
      name: the name of a mask, or the path of an image of the size that the density is for, in gray or colour; a pixel
        is white if all its channels are at least 128.
      density: a density of images.
      seed: seed of masks that are random.
    Returns:
      bool [height, width, 1].
    Raises:
      InvalidValueError: if it is neither a name nor a file, or hides nothing or everything.
      DataError: if the file cannot be read, or its image is of another size.
    """
    shape = density.reading.event_shape
    if name in MASKS:
        return hidden_pixels(str(name), shape, seed)
    path = path_of("inpaint", "mask", name) if str(name).strip() else None
    if path is None or not path.is_file():
        named = f"{', '.join(MASKS)}, {ALL_MASKS} (these ten)"
        rule = f"must be one of {named}, or the path of an image file, in which white is hidden"
        near = did_you_mean(str(name), (*MASKS, ALL_MASKS)).strip()
        is_path = path is not None and (path.is_dir() or path.suffix or len(path.parts) > 1)
        what = "" if path is None or not is_path else ", a folder" if path.is_dir() else ", which does not exist"
        raise InvalidValueError("inpaint", "mask", rule, f"{str(name)!r}{what}", near)
    image = read_image(path, None)
    if image.shape[:2] != shape[:2]:
        rule, got = f"must be {_size(shape)}, as the images of the run", f"{path}, {_size(image.shape)}"
        how = f"PIL.Image.open('in.png').resize(({shape[1]}, {shape[0]})).save('out.png')"
        fix = f"Convert it, such as in Python by {how}."
        raise DataError("inpaint", "mask", rule, got, fix)
    return check_mask("inpaint", np.min(image, axis=-1, keepdims=True) >= WHITE, shape)


def _read(path: Path, event_shape: Shape, setting: str) -> np.ndarray:
    """One file as uint8 [height, width, channels] of the right shape."""
    if not path.is_file():
        what = "which is a folder" if path.is_dir() else "which does not exist"
        fix = "Name the files in it one by one, or the folder by {data}." if path.is_dir() else ""
        raise DataError("images", setting, "must name a file", f"{path}, {what}", fix)
    image = read_image(path, None)
    if image.shape == event_shape:
        return image
    rule, got = f"must be {_in_words(event_shape)}, as the flow is for", f"{path}, {_in_words(image.shape)}"
    height, width, channels = event_shape
    how = "" if image.shape[2] == channels else f".convert({PILLOW_MODES.get(channels)!r})"
    how += "" if image.shape[:2] == (height, width) else f".resize(({width}, {height}))"
    fix = f"Convert it, such as in Python by PIL.Image.open('in.png'){how}.save('out.png')."
    raise DataError("images", setting, rule, got, fix if channels in PILLOW_MODES else "")


def _in_words(shape: Shape) -> str:
    """The size and colour of an image, such as "28x28 pixels (width x height) in gray"."""
    return f"{_size(shape)} in {COLOURS.get(shape[2], f'{shape[2]} channels')}"


def _size(shape: Shape) -> str:
    return f"{shape[1]}x{shape[0]} pixels (width x height)"
