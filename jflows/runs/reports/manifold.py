"""`manifold.png`: a grid of images on the surface through four images in latent space."""

from pathlib import Path

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import DataError, InvalidValueError
from jflows.eval import latent
from jflows.flows import Density
from jflows.options import Count, Seed, checked
from jflows.runs.reports.interpolation import choose
from jflows.runs.reports.samples import MOST_IMAGES, pixel_bits, save_grid
from jflows.typing import Variables

FILE = "manifold.png"
NUM_ANGLES = 8


@checked
def draw_manifold(
    density: Density,
    variables: Variables,
    images: Data,
    path: Path,
    *,
    seed: Seed = 0,
    num_angles: Count = NUM_ANGLES,
    turn: str = "circle",
    in_order: bool = False,
) -> None:
    """Writes the images of `jflows.eval.manifold` as one grid: the first angle goes down, the second to the right.

    Args:
      seed: seed of the choice of the four images.
      num_angles, turn: see `jflows.eval.manifold`.
      in_order: whether the four are all images, which were named, in their order.
    Raises:
      InvalidValueError: if four images were not named, or the picture would be too large.
      DataError: if there are too few images, or no four of one class for a class-conditional flow.
    """
    if in_order and len(images) != latent.NUM_CORNERS:
        rule = f"must be given {latent.NUM_CORNERS} times: these images span the surface"
        raise InvalidValueError("manifold", "image", rule, len(images))
    if num_angles**2 > MOST_IMAGES:
        rule = f"must make at most {MOST_IMAGES:,} images in one picture, its square"
        raise InvalidValueError("manifold", "num_angles", rule, num_angles)
    if in_order:
        rows = np.arange(len(images))
    elif density.reading.context == "none":
        if len(images) < latent.NUM_CORNERS:
            rule, got = f"must have at least {latent.NUM_CORNERS} images", f"{len(images)} of {images.name!r}"
            raise DataError("manifold", "data", rule, got, "Name other data by {data}, or four files by {image}.")
        rows = choose(images, latent.NUM_CORNERS, seed, "manifold")
    else:
        rows = _of_one_class(images, seed)
    context = images.label[rows[0]] if density.reading.context == "labels" and images.label is not None else None
    grid = _manifold(density, variables, images.x[rows], num_angles, context, turn)
    save_grid(np.asarray(grid).reshape(-1, *density.event_shape), path, pixel_bits(density), columns=num_angles)


def _of_one_class(images: Data, seed: int) -> np.ndarray:
    """Four rows of the first class, in a random order, that has so many."""
    if images.label is None:
        fix = "Name other data by {data}."
        raise InvalidValueError("manifold", "data", "must have labels, as the flow needs them", images.name, fix)
    order = np.random.RandomState(seed % 2**32).permutation(len(images))
    for label in dict.fromkeys(images.label[order].tolist()):
        rows = order[images.label[order] == label]
        if len(rows) >= latent.NUM_CORNERS:
            return rows[: latent.NUM_CORNERS]
    rule = f"must have {latent.NUM_CORNERS} images of one class"
    raise DataError("manifold", "data", rule, repr(images.name), "Name other data by {data}, or four files by {image}.")


_manifold = jax.jit(latent.manifold, static_argnames=("flow", "num_angles", "turn"))
