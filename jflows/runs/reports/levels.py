"""The picture of `jflows levels`: images whose latent is drawn anew, one level at a time."""

from pathlib import Path
from typing import cast

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import InvalidValueError
from jflows.eval import plots, resample_levels
from jflows.eval.levels import check_levels
from jflows.flows import Density, Flow
from jflows.options import Count, Seed, Temperature, checked
from jflows.runs.reports.interpolation import choose
from jflows.runs.reports.report import save_image
from jflows.runs.reports.samples import MOST_IMAGES, pixel_bits
from jflows.typing import Variables

FILE = "levels.png"
BATCH = 64  # images per call


@checked
def draw_levels(
    density: Density,
    variables: Variables,
    images: Data,
    path: Path,
    *,
    seed: Seed = 0,
    num: Count = 8,
    num_draws: Count = 3,
    temperature: Temperature = 1.0,
) -> None:
    """Writes one row for each image: the image, then draws of each level, the finest first.

    Args:
      seed: seed of the choice of images, and of the draws.
      num: number of images.
      num_draws: number of draws of each level.
      temperature: see `jflows.eval.resample_levels`.
    Raises:
      InvalidValueError: if the flow has no levels, or the picture would be too large.
      DataError: if there are fewer images than `num`.
    """
    flow = cast(Flow, density)
    check_levels("levels", flow)
    levels, columns = len(flow.level_sizes), 1 + len(flow.level_sizes) * num_draws
    if num * columns > MOST_IMAGES:
        rule = f"must make at most {MOST_IMAGES:,} images in one picture, with {{num_draws}}"
        raise InvalidValueError("levels", "num", rule, f"{num} rows of {columns}")
    rows = choose(images, num, seed, "levels")
    context = flow.reading.context_of(images)
    x, context = images.x[rows], None if context is None else context[rows]
    draws = []
    for key in jax.random.split(jax.random.key(seed), num_draws):
        parts = []
        for start in range(0, num, BATCH):
            part = slice(start, start + BATCH)
            own, of_part = None if context is None else context[part], jax.random.fold_in(key, start)
            parts.append(np.asarray(_resampled(flow, variables, x[part], of_part, own, temperature)))
        draws.append(np.concatenate(parts))
    by_level = np.stack(draws, axis=2).reshape(num, levels * num_draws, *flow.event_shape)
    grid = np.concatenate([x[:, None], by_level], axis=1).reshape(-1, *flow.event_shape)
    headings = ["image"] + [text for level in range(levels) for text in (f"level {level + 1}", *[""] * (num_draws - 1))]
    save_image(plots.image_grid(grid, columns, num_bits=pixel_bits(flow), headings=headings), path)


_resampled = jax.jit(resample_levels, static_argnames="flow")
