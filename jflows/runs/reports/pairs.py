"""`pairs.png`: samples of a table beside its data: marginals on the diagonal, pairs of columns below it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.data import Data
from jflows.eval import pairs_figure
from jflows.flows import Density
from jflows.runs.reports import samples
from jflows.runs.reports.report import KEY_SEED, Material, Report, save_figure
from jflows.typing import Key, Variables

FILE = "pairs.png"
NUM = 2000  # samples


def draw_pairs(
    density: Density,
    variables: Variables,
    key: Key,
    data: Data,
    path: Path,
    *,
    columns: Sequence[str] = (),
    num: int = NUM,
    context: np.ndarray | None = None,
    given: str = "",
    title: str = "",
) -> None:
    """Draws `num` samples and the data, rows as often as their weights say; see `jflows.eval.pairs_figure`.

    Args:
      context: contexts of the samples, [num, *context_shape]; None takes those of the data in turn, so that both have
        the same contexts.
      given: what the contexts are, in words, if they are not those of the data.
    """
    shown = data if data.weight is None else data.drawn_by_weight(len(data), KEY_SEED)
    own = density.reading.context_of(shown)
    if context is None and own is not None:
        context = own[np.arange(num) % len(own)]
    drawn = samples.draw(density, variables, key, num, context, 1.0)
    names = (f"samples at {given}", "data of all contexts") if given else ("samples", "data")
    words = {"title": title, "samples_name": names[0], "data_name": names[1]}
    save_figure(pairs_figure(shown.x, drawn, data.columns, columns=columns, **words), path)


def can(density: Density, data: Data) -> bool:
    """Whether data and events are rows of a table."""
    return data.kind.has_columns and len(density.event_shape) == 1


def write(material: Material) -> list[str]:
    """Draws two thousand samples beside the rows of the data."""
    path, title = material.out / FILE, material.out.name
    draw_pairs(material.density, material.variables, material.key, material.data, path, title=title)
    return [FILE]


REPORT = Report(write, can)
