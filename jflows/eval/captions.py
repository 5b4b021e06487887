"""`captioned_grid`: rows of images with text under each, a heading over each column and a name beside each row."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval.plots import INK, PAPER, to_bytes
from jflows.options import Count, NumBits, checked

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 88  # pixels: small images are magnified by a whole number to at least this width, so that text fits below
FONT_SIZE, LARGER = 12, 2  # headings and names are larger than texts under images
LEADING, GAP, MARGIN = 3, 8, 10
QUIET = (110, 110, 110)


@checked
def captioned_grid(
    images: np.ndarray,
    captions: Sequence[Sequence[str]],
    *,
    headings: Sequence[str] = (),
    names: Sequence[str] = (),
    num_bits: NumBits = 8,
    side: Count = SIDE,
    font_size: Count = FONT_SIZE,
) -> "Image":
    """Puts images in rows on white, with a text of one or more lines under each.

    Args:
      images: integers in 0..2^num_bits - 1.
      captions: a text for each image, by row and column; lines are separated by line breaks.
      headings: a text over each column, or none.
      names: a text at the left of each row, or none.
      side: the least width of an image in pixels, to which small ones are magnified by a whole number.
      font_size: the size of the texts under images; headings and names are two larger.
    Shapes:
      images: [rows, columns, height, width, 1 or 3].
    Raises:
      InvalidValueError: for an empty or misshapen array, or captions of another number.
    """
    images = np.asarray(images)
    _check(images, captions)
    rows, columns, height, width, _ = images.shape
    from PIL import Image, ImageDraw, ImageFont

    font, heading = ImageFont.load_default(font_size), ImageFont.load_default(font_size + LARGER)
    line = font_size + LEADING
    magnify = max(1, math.ceil(side / width))
    high, wide = height * magnify, width * magnify
    texts = [text.split("\n") for line in captions for text in line]
    below = line * max(map(len, texts)) + GAP
    lengths = [font.getlength(part) for lines in texts for part in lines] + [heading.getlength(h) for h in headings]
    wide_cell = max(wide, *map(math.ceil, lengths)) + GAP
    left = MARGIN + (math.ceil(max(heading.getlength(name) for name in names)) + GAP if names else 0)
    top = MARGIN + (line + GAP if headings else 0)
    canvas = Image.new("RGB", (left + columns * wide_cell + MARGIN, top + rows * (high + below) + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(headings):
        draw.text((left + (column + 0.5) * wide_cell, MARGIN), text, fill=INK, font=heading, anchor="ma")
    tiles = np.broadcast_to(to_bytes(images, num_bits), (rows, columns, height, width, 3))
    for row in range(rows):
        y = top + row * (high + below)
        if names:
            draw.text((left - GAP, y + high / 2), names[row], fill=INK, font=heading, anchor="rm")
        for column in range(columns):
            centre = left + (column + 0.5) * wide_cell
            tile = tiles[row, column].repeat(magnify, axis=0).repeat(magnify, axis=1)
            canvas.paste(Image.fromarray(np.ascontiguousarray(tile)), (round(centre - wide / 2), y))
            for number, part in enumerate(texts[row * columns + column]):
                place = centre, y + high + 3 + number * line
                draw.text(place, part, fill=QUIET if number == 0 else INK, font=font, anchor="ma")
    return canvas


def _check(images: np.ndarray, captions: Sequence[Sequence[str]]) -> None:
    if images.ndim != 5 or 0 in images.shape or images.shape[-1] not in (1, 3):
        rule = "must be [rows, columns, height, width, 1 or 3]"
        raise InvalidValueError("captioned_grid", "images", rule, f"shape {images.shape}")
    rows, columns = images.shape[:2]
    sizes = {len(line) for line in captions}
    if len(captions) != rows or sizes != {columns}:
        rule, got = f"must be {rows} rows of {columns} texts", f"{len(captions)} rows of {sorted(sizes)}"
        raise InvalidValueError("captioned_grid", "captions", rule, got)
