"""`inpainting.png`: images with hidden pixels filled in, and how likely they are before and after."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data import Data
from jflows.errors import InvalidValueError
from jflows.eval import inpainting, plots
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.options import Count, Option, Seed, checked
from jflows.runs.reports.report import save_image
from jflows.runs.reports.samples import DRAW_BATCH, MOST_IMAGES, pixel_bits
from jflows.typing import Key, Variables

FILE = "inpainting.png"
NUM = 8
NUM_STEPS = 2000
NUM_SHOWN = 5  # steps along the way, the start among them


class Filled(NamedTuple):
    """How likely images are whose hidden pixels are filled in, in the unit of the density: means over images.

    Attributes:
      before: the score with hidden pixels as they start.
      after: the score after the last step.
    """

    before: float
    after: float


@checked
def draw_inpainted(
    density: Density,
    variables: Variables,
    images: Data,
    masks: Mapping[str, np.ndarray],
    path: Path,
    *,
    num_steps: Count = NUM_STEPS,
    start: str = "noise",
    noise: Annotated[float, Option(low=0)] = 1.0,
    seed: Seed = 0,
) -> dict[str, Filled]:
    """Fills in the hidden pixels of all images under every mask, and writes a picture of them.

    With one mask, each image has a row: the image, what is observed of it, steps along the way, and the result. With
    several, each mask has a row: all images, what is observed of them, and the results.

    Args:
      masks: masks [height, width, 1 or channels] by their names.
      num_steps, start, noise: see `jflows.eval.inpaint`.
      seed: seed of all noise; an image gets the same one under every mask.
    Returns:
      The scores, by the names of masks.
    Raises:
      InvalidValueError: if the picture would be too large, or `inpaint` refuses a mask.
    """
    if 3 * len(images) * len(masks) > MOST_IMAGES:
        rule = f"must make at most {MOST_IMAGES:,} images in one picture"
        raise InvalidValueError("inpaint", "num", rule, f"{len(images)} images under {len(masks)} masks")
    shown = tuple(sorted({0, *np.geomspace(10, num_steps, NUM_SHOWN).astype(int)[:-1].tolist()} & {*range(num_steps)}))
    num, every = len(images), np.tile(np.arange(len(images)), len(masks))
    keys = example_keys(jax.random.key(seed), jnp.asarray(every))  # an image has one under all masks
    hidden = np.concatenate([np.broadcast_to(mask, images.x.shape) for mask in masks.values()])
    options = {"num_steps": num_steps, "start": start, "noise": noise, "shown": shown}
    x, log_prob, along = _filled(density, variables, images.take(every), hidden, keys, **options)
    found, rows = {}, []
    for place, name in enumerate(masks):
        own = slice(place * num, (place + 1) * num)
        before, after = (density.unit.score(log_prob[at, own].mean(), density.num_dims) for at in (0, -1))
        found[name] = Filled(float(before), float(after))
        observed = np.where(hidden[own], (2 ** pixel_bits(density) - 1) // 2, images.x).astype(images.x.dtype)
        rows.append((images.x, observed, *along[:, own], x[own]))
    _draw(
        density, rows, list(masks), ["original", "observed", *(f"step {step:,}" for step in (*shown, num_steps))], path
    )
    return found


def _draw(
    density: Density, rows: list[tuple[np.ndarray, ...]], masks: list[str], headings: list[str], path: Path
) -> None:
    """Draws images as they are, observed, along the way, and filled in: [num, *event_shape] each, for every mask."""
    bits, num = pixel_bits(density), len(rows[0][0])
    if len(rows) == 1:
        tiles, labels = np.stack(rows[0], axis=1).reshape(-1, *density.event_shape), []
    else:
        gap = np.full_like(rows[0][0][:1], 2**bits - 1)  # white, as the paper of the picture
        tiles = np.concatenate([part for x, observed, *_, result in rows for part in (x, gap, observed, gap, result)])
        labels = [name.replace("_", " ") for name in masks]
        headings = [text for name in ("original", "observed", "filled in") for text in (name, *[""] * num)][:-1]
    save_image(plots.image_grid(tiles, len(headings), num_bits=bits, labels=labels, headings=headings), path)


def _filled(
    density: Density, variables: Variables, images: Data, hidden: np.ndarray, keys: Key, **options: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Filled images, their log p [num_steps + 1, num], and images along the way, in batches of one size."""
    num, context, parts = len(images), density.reading.context_of(images), []
    size = math.ceil(num / math.ceil(num / DRAW_BATCH))
    for first in range(0, num, size):
        rows = np.arange(first, first + size) % num  # the last batch is filled up, so that all have one shape
        own = None if context is None else jnp.asarray(context[rows])
        given = (density, variables, images.x[rows], hidden[rows], keys[rows])
        parts.append(tuple(map(np.asarray, inpainting.inpaint(*given, context=own, **options))))
    x, log_prob, path = zip(*parts, strict=True)
    return np.concatenate(x)[:num], np.concatenate(log_prob, axis=1)[:, :num], np.concatenate(path, axis=1)[:, :num]
