"""`reconstruction.png`: images, decode(encode(images)), and the error, magnified."""

import math
from pathlib import Path

import jax
import numpy as np

from jflows.data import Data
from jflows.eval import latent, plots
from jflows.flows import Density
from jflows.options import Count, Seed, checked
from jflows.runs.reports.interpolation import choose
from jflows.runs.reports.report import Material, Report, save_image
from jflows.runs.reports.samples import DRAW_BATCH, MAX_ROW, pixel_bits
from jflows.typing import Variables

FILE = "reconstruction.png"
NUM = 12


@checked
def draw_errors(
    density: Density, variables: Variables, images: Data, path: Path, *, seed: Seed = 0, num: Count = NUM
) -> float:
    """Writes data, reconstructions and magnified errors as three rows, of at most the first `MAX_ROW` images.

    Returns:
      The largest error of all `num` images, in pixel levels.
    Raises:
      DataError: if there are fewer than `num` images.
    """
    rows, errors, shown = choose(images, num, seed, "reconstruct"), [], []
    size, top = min(num, DRAW_BATCH), 2 ** pixel_bits(density) - 1
    for start in range(0, num, size):
        own = rows[np.arange(start, start + size) % num]  # the last batch is filled up, so that all have one shape
        context = images.label[own] if density.reading.context == "labels" and images.label is not None else None
        rebuilt, error = (np.asarray(a) for a in _reconstruct(density, variables, images.x[own], context))
        errors.append(error.max())
        shown = shown or [part[:MAX_ROW] for part in (images.x[own], rebuilt, error)]
    largest = float(np.max(errors))
    x, rebuilt, error = shown
    # A power of ten that makes the largest error visible; 1 where it is visible already.
    factor = 10 ** max(0, math.floor(math.log10(top / max(largest, 1e-12)))) if math.isfinite(largest) else 1
    parts = [x, np.clip(np.rint(np.nan_to_num(rebuilt)), 0, top), np.clip(np.nan_to_num(error) * factor, 0, top)]
    labels = ["data", "reconstruction", f"|error| times {factor:,}"]
    grid = plots.image_grid(np.concatenate(parts), len(x), num_bits=pixel_bits(density), labels=labels)
    save_image(grid, path)
    return largest


def write(material: Material) -> list[str]:
    """Draws the reconstructions of up to twelve images of the data."""
    num = min(NUM, len(material.data))
    draw_errors(material.density, material.variables, material.data, material.out / FILE, num=num)
    return [FILE]


_reconstruct = jax.jit(latent.reconstruct, static_argnames=("flow",))
REPORT = Report(write)
