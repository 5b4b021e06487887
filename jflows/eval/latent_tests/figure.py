"""The picture of a `LatentReport`: how far each test, and each dimension, is from the base."""

from typing import TYPE_CHECKING

import numpy as np

from jflows.eval.drawing import FAINT, GREY, INK, plain
from jflows.eval.latent_tests.report import OF_DIMENSIONS, LatentReport, LatentTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4f6fa0", "#c0504d", "#d08a2e", "#5a9a6a", "#7d5fa0")  # of the five statistics of dimensions
LINEAR = 3.0  # up to which scales are linear, and beyond logarithmic
LEVEL = 0.05


def latent_figure(report: LatentReport, title: str = "") -> "Figure":
    """Draws the tests of a report, and the deviations of all dimensions, of which those that were found have colours.

    Args:
      title: text above the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    _draw_tests(left, report.tests)
    _draw_dimensions(right, report)
    words = f"{report.num:,} latents of {report.dim:,} dimensions, {report.num_sets:,} sets from the base"
    head = f"{title}: {words}" if title else words
    figure.suptitle(f"{head}; all tests together: p = {report.p_value:.3g}", x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def distance(test: LatentTest) -> float:
    """How far a statistic is out: 0 at the median of the base, 1 at its 95 % point; infinite if that has no spread."""
    spread = test.high - test.typical
    if spread > 0:
        return (test.value - test.typical) / spread
    return 0.0 if test.value == test.typical else float(np.copysign(np.inf, test.value - test.typical))


def _draw_tests(axes: "Axes", tests: tuple[LatentTest, ...]) -> None:
    places = np.arange(len(tests))[::-1]
    far = np.clip([distance(test) for test in tests], -1e3, 1e3)
    colours = ["#c0504d" if test.p_value <= LEVEL else "#4f6fa0" for test in tests]
    axes.hlines(places, 0, far, color=FAINT, linewidth=1.2)
    axes.scatter(far, places, c=colours, s=34, zorder=3)
    axes.axvline(0, color=GREY, linewidth=0.9)
    axes.axvline(1, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(min(-1.5, far.min() * 1.2), max(2.5, far.max() * 1.4))
    axes.set_yticks(places, [f"{test.name.replace('_', ' ')}   p = {test.p_value:.3g}" for test in tests])
    axes.set_xlabel("statistic; 0: median of the base, 1: its 95 % point", color=INK)
    plain(axes, "x")


def _draw_dimensions(axes: "Axes", report: LatentReport) -> None:
    dimensions = np.arange(report.dim)
    for name, colour, deviations, q_values in zip(
        OF_DIMENSIONS, COLOURS, report.deviations, report.q_values, strict=True
    ):
        found = q_values <= LEVEL
        axes.scatter(dimensions[~found], deviations[~found], color=FAINT, s=5, linewidths=0)
        axes.scatter(dimensions[found], deviations[found], color=colour, s=16, zorder=3, label=f"{name}: {found.sum()}")
    axes.axhline(0, color=GREY, linewidth=0.9)
    axes.set_yscale("symlog", linthresh=LINEAR)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    most = max(5.0, 1.3 * float(np.abs(report.deviations).max()))
    axes.set_ylim(-most, most)
    axes.set_xlabel("dimension", color=INK)
    axes.set_ylabel("deviations over sets from the base", color=INK)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8.5, title="dimensions\nthat differ"
    )
    legend.get_title().set(fontsize=8.5, color=GREY)
    plain(axes, "y")
