"""`interpolation.png`: images along latent paths between pairs of images, one row for each pair."""

from pathlib import Path

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import DataError, InvalidValueError
from jflows.eval import latent
from jflows.flows import Density
from jflows.options import Count, Seed, checked
from jflows.runs.reports.report import Material, Report
from jflows.runs.reports.samples import MOST_IMAGES, pixel_bits, save_grid
from jflows.typing import Variables

FILE = "interpolation.png"
NUM_PAIRS = 8
BOTH = "both"  # modes, in one picture


@checked
def draw_paths(
    density: Density,
    variables: Variables,
    images: Data,
    path: Path,
    *,
    seed: Seed = 0,
    num_pairs: Count | None = None,
    num_steps: Count = 10,
    mode: str = "linear",
    in_order: bool = False,
    same_class: bool = False,
) -> None:
    """Writes one row per pair of images: the images along the path between them in latent space.

    Args:
      seed: seed of the choice of pairs.
      num_pairs: number of pairs; None draws eight.
      num_steps: number of images in a row, both ends included.
      mode: "linear", "spherical", or "both" for one row of each.
      in_order: whether pairs are rows 0 and 1, 2 and 3, and so on, of images that were named; then all are drawn.
      same_class: whether both images of a pair are of one class, and pairs go through the classes in turn; for a
        class-conditional flow they always are.
    Raises:
      InvalidValueError: if the picture would be too large, or images without labels are paired by class.
      DataError: if there are too few images, or too few pairs of one class.
    """
    modes = latent.MODES if mode == BOTH else (mode,)
    for name, given in (("num_pairs", num_pairs is not None), ("same_class", same_class)):
        if in_order and given:
            raise InvalidValueError("interpolate", name, "must be left out with {image}, of which all pairs are drawn")
    if in_order and len(images) % 2:
        fix = "The first pair is the first two."
        raise InvalidValueError("interpolate", "image", "must be given an even number of times", len(images), fix)
    num_pairs = len(images) // 2 if in_order else num_pairs or NUM_PAIRS
    if num_pairs * num_steps * len(modes) > MOST_IMAGES:
        rule = f"must make at most {MOST_IMAGES:,} images in one picture, with {{num_steps}}"
        raise InvalidValueError("interpolate", "num_pairs", rule, f"{num_pairs} pairs of {num_steps} steps")
    if in_order:
        first, second = np.arange(len(images)).reshape(-1, 2).T
    else:
        first, second = _pairs(density, images, num_pairs, seed, same_class)
    context = images.label[first] if density.reading.context == "labels" and images.label is not None else None
    ends = (density, variables, images.x[first], images.x[second], num_steps, context)
    paths = np.stack([np.asarray(_interpolate(*ends, each)) for each in modes], axis=1)
    labels = list(modes) * num_pairs if mode == BOTH else ()
    save_grid(paths.reshape(-1, *density.event_shape), path, pixel_bits(density), num_steps, labels)


def choose(images: Data, num: int, seed: int, where: str, setting: str = "num", each: int = 1) -> np.ndarray:
    """Chooses `each` rows for each of `num`, all different: [each * num].

    Args:
      where, setting: what errors call the function, and the argument that is `num`.
    Raises:
      DataError: if there are fewer rows.
    """
    most = len(images) // each
    if most < num:
        per = f", {each} for each" if each > 1 else ""
        rule = f"must be at most {most}, as {images.name!r} has {len(images)} images here{per}"
        raise DataError(where, setting, rule, num, "Ask for fewer, or name other data by {data}.")
    return np.random.RandomState(seed % 2**32).permutation(len(images))[: each * num]


def write(material: Material) -> list[str]:
    """Draws the paths between up to eight pairs of the data."""
    num_pairs = min(NUM_PAIRS, len(material.data) // 2)
    draw_paths(material.density, material.variables, material.data, material.out / FILE, num_pairs=num_pairs)
    return [FILE]


_interpolate = jax.jit(latent.interpolate, static_argnames=("flow", "num_steps", "mode"))


def _pairs(density: Density, images: Data, num: int, seed: int, same_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `num` pairs, of one class each if that is asked for or the flow is class-conditional."""
    conditional = density.reading.context != "none"
    if not conditional and not same_class:
        rows = choose(images, num, seed, "interpolate", "num_pairs", 2)
        return rows[:num], rows[num:]
    if images.label is None:
        why = "as the flow needs them" if conditional else "to pair images of one class"
        fix = "Name other data by {data}." if conditional else "Leave out {same_class}, or name other data by {data}."
        raise InvalidValueError("interpolate", "data", f"must have labels, {why}", images.name, fix)
    order = np.random.RandomState(seed % 2**32).permutation(len(images))
    by_class = [order[images.label[order] == label] for label in range(images.num_classes or 0)]
    pairs = [rows[i : i + 2] for i in range(0, len(order), 2) for rows in by_class if len(rows) >= i + 2][:num]
    if len(pairs) < num:
        rule = f"must be at most {len(pairs)}, as {images.name!r} has so many pairs of images of one class here"
        raise DataError("interpolate", "num_pairs", rule, num, "Ask for fewer, or name other data by {data}.")
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


REPORT = Report(write)
