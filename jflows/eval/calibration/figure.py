"""The picture of a `Calibration`: ranks, the transform and coverage, each less what a right density gives."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jflows.eval.calibration.ranks import Ranks
from jflows.eval.calibration.report import Calibration
from jflows.eval.drawing import GREY, INK, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND, CURVE = "#dcdcdc", "#4f6fa0"
POINTS = 199  # at which the distribution function of the transform is drawn


def calibration_figure(found: Calibration, ranks: Ranks, title: str = "", pit: ArrayLike | None = None) -> "Figure":
    """Draws the distribution function of ranks minus that of uniform ones, and the coverage, with 95 % bands.

    Bands hold each point by itself, by the binomial distribution; the p-values of `found` are of whole curves.

    Args:
      title: text above the figure.
      pit: [num, dim], the transform of which `found` has the tests; it gets a panel like that of ranks.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    u = None if pit is None else np.asarray(pit, np.float64)
    figure = Figure(figsize=(9.6 if u is None else 13.2, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    *others, right = figure.subplots(1, 2 if u is None else 3)
    num, steps = len(ranks.values), ranks.num_draws + 1
    at = np.arange(1, steps) / steps
    below = [np.bincount(column, minlength=steps).cumsum()[:-1] / num for column in np.asarray(ranks.values).T]
    _draw_curves(others[-1], at, np.array(below) - at, num)
    others[-1].set(xlabel="share of draws below", ylabel="true values below, less that share")
    if u is not None:
        points = np.linspace(0.0, 1.0, POINTS + 2)[1:-1]
        shares = np.array([np.searchsorted(np.sort(column), points, side="right") for column in u.T]) / num
        _draw_curves(others[0], points, shares - points, num)
        others[0].set(xlabel="probability below, by the base", ylabel="latents below, less that probability")
    _draw_curves(right, found.levels, (found.coverage - found.levels)[None], num, marker="o")
    right.set(xlabel="probability of the region of highest density", ylabel="true values inside, less that probability")
    head = f"{title}: " if title else ""
    words = f"{head}{num:,} cases, ranks among {ranks.num_draws:,} draws; all tests together: p = {found.p_value:.3g}"
    figure.suptitle(words, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def _draw_curves(axes: "Axes", at: np.ndarray, curves: np.ndarray, num: int, marker: str | None = None) -> None:
    """Draws curves [k, points], each the fainter the more there are, above the band of the binomial distribution."""
    from scipy.stats import binom

    low, high = (binom.ppf(share, num, at) / num - at for share in (0.025, 0.975))
    axes.fill_between(at, low, high, color=BAND, linewidth=0, zorder=0)
    axes.axhline(0, color=GREY, linewidth=0.9)
    axes.plot(at, curves.T, marker=marker, markersize=3.5, color=CURVE, linewidth=1.1, alpha=max(0.15, 1 / len(curves)))
    axes.set_xlim(0, 1)
    plain(axes, "y")
