"""The picture of a `ModalityReport`: latents along the direction that shows modes best."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jflows.eval.drawing import AFTER, GREY, INK, plain
from jflows.eval.latent_tests.report import checked_latents
from jflows.eval.modes.report import ModalityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = "#c9d3e2"
POINTS = 400


def modality_figure(latents: ArrayLike, report: ModalityReport, title: str = "") -> "Figure":
    """Draws the histogram of latents along `report.projection`, with one normal and with the two that were fitted.

    Args:
      latents: [num, *latent_shape], those of the report.
      title: text above the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    best = report.projection
    draw_projection(axes, checked_latents("modality_figure", latents) @ best.direction, best)
    axes.set_xlabel(f"latents along a {best.family} direction; gain {best.gain:.3f} nats, dip {best.dip:.4f}")
    head = f"{title}: " if title else ""
    words = f"{head}modes: p = {report.p_value:.3g} beside the base, {report.unimodal_p_value:.3g} beside one mode"
    figure.suptitle(words, x=0.01, ha="left", fontsize=10, color=INK)
    return figure


def draw_projection(axes: "Axes", values: np.ndarray, mixture) -> None:
    """Draws numbers [num] as a histogram, with one normal, and with two that have share, mean and deviation [2]."""
    from scipy.stats import norm

    axes.hist(values, bins=int(np.clip(len(values) // 12, 24, 80)), density=True, color=BARS, linewidth=0)
    at = np.linspace(values.min(), values.max(), POINTS)
    two = norm.pdf(at[:, None], mixture.mean, mixture.deviation) @ mixture.share
    axes.plot(at, norm.pdf(at, values.mean(), values.std()), color=GREY, linewidth=1.3, label="one normal")
    axes.plot(at, two, color=AFTER, linewidth=1.5, label="two normals")
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8.5)
    plain(axes, "x")
