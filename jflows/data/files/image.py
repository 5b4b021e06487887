"""One image file as integers: what is no plain gray or RGB image of 8 bits is refused, not converted with a loss.

Read next: `jflows/data/files/folder.py`.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jflows.errors import DataError

# Pillow's names of pixel formats; any other (16-bit "I;16", float "F", ...) would lose precision in silence.
_GRAY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA")
_ONE_OF_SEVERAL = ("MPO",)  # cameras add previews to a photograph, which is the first


def read_image(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """One file as uint8 [height, width, 1 or 3], turned as its EXIF data say.

    Args:
      size: height and width to which the image is centre-cropped and resized; None takes it as it is.
    Raises:
      DataError: if the file is damaged, holds several images, is not opaque, is in CMYK or the like, or has more than 8
        bits a channel.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError("load", str(path), "needs Pillow", str(error), "Run `pip install pillow`.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes and ways to store transparency
            with Image.open(path) as file:
                fault = _fault(file, path)
                if fault is None:
                    gray = file.mode in _GRAY_MODES
                    image = ImageOps.exif_transpose(file).convert("L" if gray else "RGB")
                    if size is not None:
                        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
                    pixels = np.asarray(image, np.uint8)
                    return pixels[..., None] if pixels.ndim == 2 else pixels
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... on damaged files
        got = f"{type(error).__name__}: {str(error).rstrip('.')}"
        raise DataError(
            "load", str(path), "must be an image that Pillow can read", got, "Remove it, or save it anew."
        ) from error
    raise fault


def _fault(file: Any, path: Path) -> DataError | None:
    """What keeps an opened image from being read without a loss."""
    frames = 1 if file.format in _ONE_OF_SEVERAL else getattr(file, "n_frames", 1)
    if frames > 1:
        got, fix = f"{frames} frames", "Save each as an image, such as by `convert in.gif -coalesce out_%d.png`."
        return DataError("load", str(path), "must hold one image", got, fix)
    # Pillow would cut these to 8 bits: its tiles, or the largest value of a PPM, tell.
    deep = next((repr(str(tile[-1])) for tile in file.tile if ";16" in str(tile[-1])), "")
    largest = file.tile[0][-1][-1] if file.format == "PPM" and isinstance(file.tile[0][-1], tuple) else 0
    deep = deep or (f"'{file.mode}' with values up to {largest}" if isinstance(largest, int) and largest > 255 else "")
    if not deep and file.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        fix = "Convert it by a colour profile, such as by `convert in.jpg -colorspace sRGB out.png`."
        return DataError("load", str(path), "must be gray or RGB", file.mode, fix)
    if deep or file.mode not in _GRAY_MODES + _COLOUR_MODES:
        fix = "Convert it to 8 bits, or save the images as integers in an .npz file."
        got = f"Pillow mode {deep or repr(file.mode)}"
        return DataError("load", str(path), "must have 8 bits per channel", got, fix)
    if file.has_transparency_data:
        least = file.convert("RGBA").getchannel("A").getextrema()[0]
        if least < 255:
            fix = "Flatten it onto a background, such as by `convert in.png -background white -flatten out.png`."
            return DataError("load", str(path), "must be opaque", f"an alpha channel that falls to {least}", fix)
    return None
