"""`neighbours.png`: samples above the training images that lie nearest to them, and how near these are."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import DataError
from jflows.eval import nearest, plots
from jflows.flows import Density
from jflows.options import Count, Seed, Temperature, checked
from jflows.runs.reports import samples
from jflows.runs.reports.interpolation import choose
from jflows.runs.reports.report import save_image
from jflows.typing import Variables

FILE = "neighbours.png"
NUM = 500
SHOWN, ROWS = 12, 4  # samples in the picture, and nearest images of each
ORDINALS = ("nearest", "second", "third", "fourth")


class Nearness(NamedTuple):
    """How near samples, and new data, lie to the training images: Euclidean distances in pixel levels.

    Attributes:
      of_samples, of_new: the median distance to the nearest training image, of samples and of images that were not
        trained on.
      closer: the share of samples that lie closer than the median new image; 0.5 if both are distributed alike.
      num: the number of samples, and of new images.
      num_rows: the number of training images.
    """

    of_samples: float
    of_new: float
    closer: float
    num: int
    num_rows: int


@checked
def draw_neighbours(
    density: Density,
    variables: Variables,
    rows: Data,
    new: Data,
    path: Path,
    *,
    num: Count | None = None,
    temperature: Temperature = 1.0,
    label: int | None = None,
    seed: Seed = 0,
) -> Nearness:
    """Writes the samples that lie nearest to a training image, nearest first, above the four nearest images of each.

    Args:
      rows: the training images, with the bits that the density models.
      new: images that were not trained on, among which the seed chooses.
      num: number of samples, and of new images; None takes 500, or as many as there are new images.
      label: the class of the samples; None draws all classes in turn.
    Raises:
      InvalidValueError: if the density has no such class.
      DataError: if there are fewer than `num` new images, or fewer than four training images.
    """
    if len(rows) < ROWS:
        rule = f"must have at least {ROWS} training images"
        raise DataError("neighbours", "data", rule, f"{len(rows)} of {rows.name!r}", "Train on more.")
    num = min(NUM, len(new)) if num is None else num
    chosen = new.x[choose(new, num, seed, "neighbours")]
    context = samples.contexts(density, rows, num, label)
    drawn = samples.draw(density, variables, jax.random.key(seed), num, context, temperature)
    of_samples, of_new = nearest.nearest_rows(drawn, rows.x, ROWS), nearest.nearest_rows(chosen, rows.x)
    order = np.argsort(of_samples.distance[:, 0], kind="stable")[:SHOWN]
    shown = [drawn[order], *(rows.x[of_samples.index[order, place]] for place in range(ROWS))]
    bits = samples.pixel_bits(density)
    labels = ("sample", *ORDINALS)
    save_image(plots.image_grid(np.concatenate(shown), len(order), num_bits=bits, labels=labels), path)
    first, other = of_samples.distance[:, 0], of_new.distance[:, 0]
    median = float(np.median(other))
    # A tie counts half, as for one image of two that are equal.
    closer = float(np.mean(first < median) + np.mean(first == median) / 2)
    return Nearness(float(np.median(first)), median, closer, num, len(rows))
