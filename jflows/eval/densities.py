"""`densities_figure`: data, density and samples of models of the plane side by side, one row for each model.

Read next: `jflows/eval/plane.py`, which draws one flow from all sides.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval import drawing
from jflows.eval.plane import GRID, cells_of, log_prob_of
from jflows.flows.density import Density
from jflows.typing import Array, Key, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5000  # points of data, and as many samples
HIGHEST = 0.998  # quantile of the densities at which colours end, so that one narrow peak does not hide all else
COLUMNS, WIDTH, GAP = 3, 8.4, 0.1
DOT = 1.6


class Modelled(NamedTuple):
    """One row of `densities_figure`: its title, a density with its variables, and rows of data [num, 2]."""

    title: str
    density: Density
    variables: Variables
    x: np.ndarray


def densities_figure(rows: Sequence[Modelled], *, key: Key | None = None, title: str = "") -> "Figure":
    """Draws data, density and samples of each model; the three panels of a row have the same limits.

    Densities are drawn as they are, not their logarithms, each row in colours of its own. Data are their first 5,000
    rows, and there are as many samples; the hue of a point is its angle around the mean.

    Args:
      rows: models of data with two columns; flows and mixtures of flows.
      key: key of the samples, and of the noise of estimated log-dets; None takes `jax.random.key(0)`.
      title: text above the figure.
    Raises:
      InvalidValueError: if there is no model, or one is not of two columns, or takes a context.
    """
    if not rows:
        raise InvalidValueError("densities_figure", "rows", "must hold at least one model", "none")
    for row in rows:
        _check(row)
    key, page = jax.random.key(0) if key is None else key, drawing.Page(title, WIDTH)
    for index, row in enumerate(rows):
        x = np.asarray(row.x)
        box = drawing.square(x)
        found = _computed(row.density, row.variables, key, cells_of(box, x.dtype))
        density, samples = np.exp(np.asarray(found[0])).reshape(GRID, GRID), np.asarray(found[1])
        above = drawing.HEADING if index == 0 else GAP
        panels = page.row(COLUMNS, gap=GAP, ticks=False, above=above, section=row.title)
        drawing.points(panels[0], x[:SHOWN], drawing.colours_of_data(x[:SHOWN]), box, DOT)
        finite = density[np.isfinite(density)]
        top = float(np.quantile(finite, HIGHEST)) if finite.size else 0.0
        drawing.density(panels[1], density, box, 0.0, top or 1.0)
        drawing.points(panels[2], samples, drawing.colours_of_data(samples), box, DOT)
        if index == 0:
            for axes, words in zip(panels, ("data", "density", "samples"), strict=True):
                drawing.heading(axes, words)
    return page.finish()


@functools.partial(jax.jit, static_argnames="density")
def _computed(density: Density, variables: Variables, key: Key, cells: Array) -> tuple[Array, Array]:
    """Log densities of the cells, and samples."""
    own = key if density.needs_key else None
    return log_prob_of(density, variables, cells, own), density.sample(variables, key, (SHOWN,))


def _check(row: Modelled) -> None:
    density, shape = row.density, np.shape(row.x)
    if density.event_shape != (2,) or density.reading.context != "none":
        got = f"event_shape {density.event_shape}, context {density.reading.context!r}"
        rule = "must hold densities of two columns, without a context"
        raise InvalidValueError("densities_figure", "rows", rule, got)
    if len(shape) != 2 or shape[1] != 2 or not shape[0]:
        raise InvalidValueError("densities_figure", "rows", "must hold data [num, 2]", f"shape {shape}")
