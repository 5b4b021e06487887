"""Figures of the report, narrow enough to be read on a phone: radii, failures, attributes, and densities of classes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jflows.eval.coherence.attributes import AttributePlane
from jflows.eval.coherence.classes import ClassTable
from jflows.eval.coherence.regions import Region
from jflows.eval.coherence.shells import Shell
from jflows.eval.drawing import AFTER, BEFORE, FAINT, GREY, INK, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DPI = 5.2, 110
BINS = 40
COLOURS = ("#4f6fa0", "#c0504d", "#d08a2e", "#5a9a6a")


def radius_figure(latents: ArrayLike, base: ArrayLike, regions: Sequence[Region]) -> "Figure":
    """Histograms of the distances of latents of data, and of draws of the base, from the mean of the base.

    Args:
      latents, base: distances in deviations, [num] and [num_draws].
      regions: whose bounds are drawn below.
    """
    figure = _figure(3.3)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    own, drawn = np.asarray(latents, np.float64), np.asarray(base, np.float64)
    both = np.concatenate([own, drawn])
    low, high = np.quantile(both, (0.002, 0.998))
    room = 0.12 * max(float(high - low), 1e-6)
    edges = np.linspace(max(0.0, low - room), high + room, BINS + 1)
    for values, colour, name in ((drawn, FAINT, "draws of the base"), (own, AFTER, "embedded test data")):
        above.hist(values, edges, density=True, histtype="stepfilled", color=colour, alpha=0.55, label=name)
    above.set(yticks=[], ylabel="density")
    above.legend(frameon=False, fontsize=8, loc="upper left")
    for place, region in enumerate(regions):
        left, right = np.clip(region.radius, edges[0], edges[-1])
        if right > left:
            below.plot((left, right), (place, place), color=COLOURS[place], linewidth=5, solid_capstyle="butt")
        else:
            below.annotate(
                "< further in", (edges[0], place), color=COLOURS[place], fontsize=8, va="center", annotation_clip=False
            )
    below.set_yticks(range(len(regions)), [region.name for region in regions])
    below.set_ylim(-0.6, len(regions) - 0.4)
    below.set_xlabel("distance from the mean, in deviations", color=INK)
    for axes in (above, below):
        plain(axes, "x")
    return figure


def shells_figure(shells: Sequence[Shell], parts: Sequence[Shell]) -> "Figure":
    """The share of samples that fail, against their radius, with two standard errors.

    Args:
      shells: the shells of draws at several temperatures.
      parts: the shells of draws of the base itself, divided by radius.
    """
    figure = _figure(2.6)
    axes = figure.subplots()
    for group, colour, name in ((shells, BEFORE, "at a temperature"), (parts, AFTER, "draws of the base, by radius")):
        place, share = [each.radius for each in group], [each.failing for each in group]
        errors = [2 * each.standard_error for each in group]
        axes.errorbar(
            place, share, errors, color=colour, marker="o", markersize=4, linewidth=1.2, capsize=2, label=name
        )
    axes.axhline(0.01, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("mean distance from the mean of the base, in deviations", color=INK)
    axes.set_ylabel("share that fails", color=INK)
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "y")
    return figure


def attributes_figure(planes: Sequence[AttributePlane]) -> "Figure":
    """Bars of the accuracies of attributes on held-out rows, beside the majority, and of their support vectors."""
    figure = _figure(1.3 + 0.42 * len(planes))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1))
    places = np.arange(len(planes))[::-1]
    bars = {
        "balanced accuracy": ([each.balanced_accuracy for each in planes], AFTER),
        "accuracy": ([each.accuracy for each in planes], BEFORE),
        "majority": ([each.majority for each in planes], FAINT),
    }
    for row, (name, (values, colour)) in enumerate(bars.items()):
        left.barh(places + 0.27 * (1 - row), values, 0.25, color=colour, label=name)
    left.axvline(0.5, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    left.set_xlim(0, 1)
    left.set_yticks(places, [each.name.replace("_", " ") for each in planes])
    left.set_ylim(-0.55, len(planes) - 0.45)
    left.set_xlabel("share of held-out rows", color=INK)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", frameon=False, fontsize=8, ncols=3)
    right.barh(places, [each.num_support / sum(each.num_fitted) for each in planes], 0.5, color=COLOURS[3])
    right.set_xlim(0, 1)
    right.set_xlabel("support vectors", color=INK)
    for axes in (left, right):
        plain(axes, "x")
    return figure


def classes_figure(table: ClassTable, base_log_prob: ArrayLike, log_prob: ArrayLike) -> "Figure":
    """Histograms of log densities of held-out rows, and of how far ahead a class is, by their true class.

    With two classes, it is ln p under the second less ln p under the first; with more, ln p under the row's own class
    less the largest under another one. Rows are told right where their own class is ahead.

    Args:
      base_log_prob, log_prob: ln p(u) under the base and ln p(x) of the rows of `table.label`, in nats, [num].
    """
    many = len(table.names) > 2
    figure = _figure(4.6 + 0.2 * len(table.names) * many)
    above, axes = figure.subplots(2, 1, height_ratios=(2.2, 2.4 + 0.2 * len(table.names) * many))
    of_own = np.take_along_axis(table.of_classes, table.label[:, None], axis=1)[:, 0]
    densities = {"ln p(u) under the own class": of_own, "ln p(u) under the base": base_log_prob, "ln p(x)": log_prob}
    _draw_groups(above, {name: np.asarray(values, np.float64) for name, values in densities.items()})
    above.set_xlabel("nats", color=INK)
    if len(table.names) == 2:
        ahead = table.of_classes[:, 1] - table.of_classes[:, 0]
        label = f"ln p under {table.names[1]!r} less under {table.names[0]!r}, in nats"
    else:
        others = np.where(np.arange(len(table.names)) == table.label[:, None], -np.inf, table.of_classes)
        ahead, label = of_own - others.max(axis=1), "ln p under the own class less the best other, in nats"
    groups = {name: ahead[table.label == number] for number, name in enumerate(table.names)}
    (_draw_ridges if many else _draw_groups)(axes, groups)
    axes.axvline(0, color=GREY, linewidth=0.9)
    axes.set_xlabel(label, color=INK)
    return figure


def _edges(groups: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bins for all groups, which leave out the outermost half per cent."""
    low, high = np.quantile(np.concatenate(list(groups.values())), (0.005, 0.995))
    room = 0.05 * max(float(high - low), 1e-6)
    return np.linspace(low - room, high + room, BINS + 1)


def _draw_ridges(axes: "Axes", groups: Mapping[str, np.ndarray]) -> None:
    """One histogram above the other, each with its name at the left."""
    edges, names = _edges(groups), list(groups)[::-1]
    for place, name in enumerate(names):
        counts = np.histogram(groups[name], edges)[0]
        axes.stairs(place + 0.85 * counts / max(counts.max(), 1), edges, baseline=place, fill=True, color=BEFORE)
    axes.set_yticks(np.arange(len(names)) + 0.3, names, fontsize=8)
    axes.set_ylim(-0.1, len(names))
    plain(axes, "x")


def _draw_groups(axes: "Axes", groups: Mapping[str, np.ndarray]) -> None:
    """Histograms of a few groups of numbers over one range."""
    edges = _edges(groups)
    for (name, values), colour in zip(groups.items(), COLOURS, strict=False):
        axes.hist(values, edges.tolist(), density=True, histtype="stepfilled", color=colour, alpha=0.5, label=name)
    axes.set(yticks=[], ylabel="density")
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "x")


def _figure(height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
