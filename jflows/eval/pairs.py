"""`pairs_figure`: samples of a table beside its data, column by column and pair by pair.

It takes arrays and returns a matplotlib `Figure`; matplotlib and scipy are imported only when used. Read next:
`jflows/runs/reports/pairs.py`, which draws the samples.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError, did_you_mean
from jflows.eval import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8  # columns that are drawn if none are chosen
LIMIT = 16  # columns that may be chosen; more panels would be too small to read
SIDE, WIDEST = 2.5, 10.2  # inches: of a panel at most, and of all panels side by side
GAP = 0.09  # between panels
LEFT, RIGHT, BELOW, ABOVE = 0.75, 0.2, 0.62, 0.55  # around the panels
DOTS = 30_000  # of data over all panels, so that the file stays small
MOST_DOTS = 1500  # of data in one panel
BINS, FEWEST_BINS, CELLS = 40, 10, 60  # of a histogram, by the Rice rule in between, and along a side of a map
SMOOTHING = (
    7.0  # of a map, in cells, for one row; it falls as num^(-1/6), as the best one does (Scott 1992, section 6.3)
)
SHARES = (0.5, 0.9)  # of rows inside of the two lines
OUTSIDE, ROOM = 0.005, 0.06  # part of the rows on each side that limits may leave out, and room around the others
MOST_WHOLE = 60  # whole numbers that get a bin each
LABEL_OFFSET = 0.45  # inches: of names at the left, so that they stand in line
LETTERS = 13  # of a name, for an inch of a panel
DATA, SAMPLES, DATA_DOTS = "#3f6ea3", drawing.AFTER, "#9db8d6"


class _Column(NamedTuple):
    """One column that is drawn: its name, values of data and of samples, limits, and edges of bins."""

    name: str
    data: np.ndarray
    samples: np.ndarray
    low: float
    high: float
    edges: np.ndarray


def pairs_figure(
    data: ArrayLike,
    samples: ArrayLike,
    names: Sequence[str] = (),
    *,
    columns: Sequence[str] = (),
    title: str = "",
    data_name: str = "data",
    samples_name: str = "samples",
) -> "Figure":
    """Draws the marginals of all columns on a diagonal, and the maps of all pairs of columns below it.

    Dots are rows of data. Lines enclose half and nine tenths of the data, and of the samples, where they are densest
    (by histograms of 60 cells a side, smoothed over two cells for 2,000 rows). Limits leave out at most half a percent
    of either on each side.

    Args:
      data: rows of data; the first are drawn as dots.
      samples: rows of samples; those that are not finite are left out, and their number is stated.
      names: names of all columns; () calls them x0, x1, ...
      columns: names of the columns to draw, in this order; () draws all, or of more than eight those whose marginals
        differ most between data and samples, by the Kolmogorov-Smirnov distance, and says so.
      title, data_name, samples_name: texts above the panels.
    Shapes:
      data: [num, dim]; samples: [num_samples, dim].
    Raises:
      InvalidValueError: if shapes do not fit, there are too few rows, or a column is unknown or chosen twice.
    """
    x, drawn, names = _checked(data, samples, names)
    chosen = _chosen(names, columns) if columns else _most_different(x, drawn)
    finite = np.isfinite(drawn).all(axis=1)
    shown = [_column(names[i], x[:, i], drawn[finite, i]) for i in chosen]
    notes = [] if len(chosen) == len(names) else [_which(len(chosen), len(names), bool(columns))]
    lost = len(drawn) - int(finite.sum())
    notes += [f"{lost:,} of {len(drawn):,} samples are not finite and left out"] if lost else []
    figure, panels = _grid(len(shown))
    for row, vertical in enumerate(shown):
        _draw_marginal(panels[row, row], vertical)
        for column, across in enumerate(shown[:row]):
            _draw_pair(panels[row, column], across, vertical, DOTS // (len(shown) * (len(shown) - 1) // 2))
    _label(panels, shown)
    _explain(figure, title, [f"{data_name} ({len(x):,})", f"{samples_name} ({int(finite.sum()):,})"], notes, len(shown))
    return figure


def _checked(data: ArrayLike, samples: ArrayLike, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    x, drawn = np.asarray(data, np.float64), np.asarray(samples, np.float64)
    if x.ndim != 2 or drawn.ndim != 2 or x.shape[1] != drawn.shape[1] or min(x.shape) < 1:
        rule, got = "must be [num, dim] and [num_samples, dim]", f"shapes {x.shape} and {drawn.shape}"
        raise InvalidValueError("pairs_figure", ("data", "samples"), rule, got)
    for argument, values in (("data", x), ("samples", drawn)):
        if np.isfinite(values).all(axis=1).sum() < 2:
            raise InvalidValueError("pairs_figure", argument, "must have at least 2 finite rows", f"{len(values)} rows")
    names = list(names) or [f"x{i}" for i in range(x.shape[1])]
    if len(names) != x.shape[1]:
        raise InvalidValueError("pairs_figure", "names", f"must be {x.shape[1]} names", f"{len(names)}")
    return x, drawn, names


def _chosen(names: list[str], columns: Sequence[str]) -> list[int]:
    for name in columns:
        if name not in names or list(columns).count(name) > 1:
            rule, fix = f"must be different ones of {', '.join(names)}", did_you_mean(name, names).strip()
            raise InvalidValueError("pairs_figure", "columns", rule, repr(name), fix)
    if len(columns) > LIMIT:
        rule = f"must be at most {LIMIT}, or the panels are too small"
        raise InvalidValueError("pairs_figure", "columns", rule, len(columns), "Draw several figures.")
    return [names.index(name) for name in columns]


def _most_different(x: np.ndarray, drawn: np.ndarray) -> list[int]:
    """The columns whose marginals differ most, in order; all, if they are few."""
    if x.shape[1] <= MOST:
        return list(range(x.shape[1]))
    distances = [_distance(x[:, i], drawn[:, i]) for i in range(x.shape[1])]
    return sorted(np.argsort(distances, kind="stable")[-MOST:].tolist())


def _distance(values: np.ndarray, others: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance: the largest difference of the two distribution functions."""
    values, others = np.sort(values), np.sort(others[np.isfinite(others)])
    at = np.concatenate([values, others])
    shares = (np.searchsorted(part, at, side="right") / len(part) for part in (values, others))
    return float(np.abs(np.subtract(*shares)).max())


def _which(num: int, of: int, chosen: bool) -> str:
    return f"{num} of {of} columns" + ("" if chosen else ", those whose marginals differ most")


def _column(name: str, data: np.ndarray, samples: np.ndarray) -> _Column:
    ends = np.array([np.quantile(values, (OUTSIDE, 1 - OUTSIDE)) for values in (data, samples)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    whole = bool(np.all(data == np.round(data))) and high - low <= MOST_WHOLE
    if whole:
        low, high = np.floor(low) - 0.5, np.ceil(high) + 0.5
    room = ROOM * (high - low) or max(abs(high) * 1e-3, 1e-6)
    bins = int(np.clip(2 * min(len(data), len(samples)) ** (1 / 3), FEWEST_BINS, BINS))
    edges = np.arange(low, high + 0.75) if whole else np.linspace(low - room, high + room, bins + 1)
    return _Column(name, data, samples, low - room, high + room, edges)


def _grid(num: int) -> "tuple[Figure, np.ndarray]":
    """A figure, and its axes on and below the diagonal; None above it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = min(SIDE, (WIDEST - (num - 1) * GAP) / num)
    extent = num * side + (num - 1) * GAP
    width, height = LEFT + extent + RIGHT, ABOVE + extent + BELOW
    width, above = max(width, 4.6), ABOVE if num > 1 else ABOVE + 0.3
    height += above - ABOVE
    figure = Figure(figsize=(width, height), dpi=drawing.DPI)
    FigureCanvasAgg(figure)
    panels = np.full((num, num), None, object)
    for row in range(num):
        for column in range(row + 1):
            left, top = LEFT + column * (side + GAP), above + row * (side + GAP)
            place = (left / width, 1 - (top + side) / height, side / width, side / height)
            axes = panels[row, column] = figure.add_axes(place, label=f"{row},{column}")
            axes.spines[:].set_color(drawing.FAINT)
            axes.tick_params(color=drawing.FAINT, labelcolor=drawing.GREY, labelsize=7, length=2.5, pad=2)
    return figure, panels


def _draw_marginal(axes: "Axes", column: _Column) -> None:
    heights = []
    for values, colour, filled in ((column.data, DATA, True), (column.samples, SAMPLES, False)):
        counts, _ = np.histogram(values, column.edges)
        height = counts / (len(values) * np.diff(column.edges))
        heights.append(height.max())
        if filled:
            axes.stairs(height, column.edges, fill=True, color=DATA_DOTS, alpha=0.55)
        axes.stairs(height, column.edges, color=colour, linewidth=1.2)
    axes.set(xlim=(column.low, column.high), ylim=(0, 1.12 * max(heights)), yticks=[])
    axes.spines[["top", "left", "right"]].set_visible(False)


def _draw_pair(axes: "Axes", across: _Column, up: _Column, most_dots: int) -> None:
    num = min(MOST_DOTS, most_dots)
    axes.scatter(across.data[:num], up.data[:num], s=2.2, c=DATA_DOTS, alpha=0.7, linewidths=0, rasterized=True)
    edges = [np.linspace(column.low, column.high, CELLS + 1) for column in (across, up)]
    centres = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    for first, second, colour in ((across.data, up.data, DATA), (across.samples, up.samples, SAMPLES)):
        share = _map(first, second, edges)
        axes.contour(*centres, share.T, levels=_levels(share), colors=colour, linewidths=(0.9, 1.3), zorder=3)
    axes.set(xlim=(across.low, across.high), ylim=(up.low, up.high))


def _map(first: np.ndarray, second: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The share of rows in each cell, smoothed: [CELLS, CELLS]."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.histogram2d(first, second, edges)[0] / len(first), SMOOTHING * len(first) ** (-1 / 6))


def _levels(share: np.ndarray) -> list[float]:
    """The densities above which cells hold nine tenths, and half, of all rows on the map, ascending."""
    descending = np.sort(share.ravel())[::-1]
    summed = np.cumsum(descending)
    levels = [float(descending[np.searchsorted(summed, part * summed[-1])]) for part in sorted(SHARES, reverse=True)]
    return levels if levels[0] < levels[1] else levels[:1]


def _label(panels: np.ndarray, columns: list[_Column]) -> None:
    """Names and numbers along the left and the lower edge."""
    last, width = len(columns) - 1, panels[0, 0].figure.get_size_inches()[0]
    most = int(LETTERS * width * panels[0, 0].get_position().width)
    for row in range(len(columns)):
        for place in range(row + 1):
            axes, on_diagonal = panels[row, place], row == place
            axes.locator_params(axis="x", nbins=4)
            if not on_diagonal:
                axes.locator_params(axis="y", nbins=4)
            if row < last:
                axes.set_xticklabels([])
            else:
                axes.set_xlabel(_short(columns[place].name, most), fontsize=8.5, color=drawing.INK)
            if place or on_diagonal:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel(_short(columns[row].name, most), fontsize=8.5, color=drawing.INK)
                axes.yaxis.set_label_coords(-LABEL_OFFSET / (width * axes.get_position().width), 0.5)


def _short(name: str, most: int) -> str:
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")  # no formula


def _explain(figure: "Figure", title: str, what: list[str], notes: list[str], num: int) -> None:
    """The title, and what dots and lines mean, in the free corner at the upper right."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    top = 1 - 0.14 / height
    if title:
        figure.text(LEFT / width, top, title, fontsize=12, weight="bold", color=drawing.INK, va="top")
    dots = {"marker": "o", "markersize": 3.5, "markerfacecolor": DATA_DOTS, "markeredgewidth": 0}
    handles = [Line2D([], [], color=DATA, linewidth=1.3, **dots), Line2D([], [], color=SAMPLES, linewidth=1.3)]
    place = (1 - 0.12 / width, top)
    legend = figure.legend(handles, what, loc="upper right", bbox_to_anchor=place, frameon=False, fontsize=8.5)
    legend.set_alignment("right")
    text = [f"lines enclose {SHARES[0]:.0%} and {SHARES[1]:.0%}"] if num > 1 else []
    lines = "\n".join([*text, *notes])
    figure.text(1 - RIGHT / width, top - 0.46 / height, lines, fontsize=7.5, color=drawing.GREY, ha="right", va="top")
