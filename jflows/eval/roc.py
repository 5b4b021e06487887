"""`roc`: the trade between rows that are found and false alarms, of which `auroc` is the area; and its picture.

Read next: `jflows/eval/separation.py`, the area with its standard error; `jflows/eval/ood`, scores to compare.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.drawing import FAINT, INK, plain
from jflows.eval.separation import auroc, checked_scores, checked_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#9a9a9a", "#c0504d", "#4f6fa0", "#d08a2e", "#5a9a6a", "#7d5fa0")  # likelihood, the usual baseline, in grey
SIDE = 5.6  # inches


class Roc(NamedTuple):
    """A receiver operating characteristic: one point for each threshold, from none called to all called.

    Attributes:
      found: share of the first set at or above the threshold, from 0 to 1.
      false_alarms: share of the second set at or above it, from 0 to 1.
    """

    found: np.ndarray
    false_alarms: np.ndarray


def roc(
    scores: ArrayLike,
    others: ArrayLike,
    weight: ArrayLike | None = None,
    other_weight: ArrayLike | None = None,
) -> Roc:
    """The receiver operating characteristic of a score: rows of the first set are to be found by high scores.

    The area below it, by the trapezoidal rule, is that of `auroc`: ties count half.

    Args:
      scores, others: scores of the rows to be found, and of all others.
      weight, other_weight: how much each row counts; None counts all alike.
    Shapes:
      scores, weight: [m]; others, other_weight: [n] -> two arrays [number of different scores + 1].
    Raises:
      InvalidValueError, DataError: see `auroc`.
    Example:
      >>> roc([3.0, 2.0], [2.0, 1.0]).found.tolist()
      [0.0, 0.5, 1.0, 1.0]
    """
    s, t = checked_scores("roc", "scores", scores), checked_scores("roc", "others", others)
    of_s, of_t = checked_weights("weight", weight, len(s)), checked_weights("other_weight", other_weight, len(t))
    every, place = np.unique(-np.concatenate([s, t]), return_inverse=True)
    shares = []
    for at, own in ((place[: len(s)], of_s), (place[len(s) :], of_t)):
        counts = np.bincount(at, weights=own, minlength=len(every))
        shares.append(np.concatenate([[0.0], np.cumsum(counts) / counts.sum()]))
    return Roc(*shares)


def roc_figure(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    weight: ArrayLike | None = None,
    other_weight: ArrayLike | None = None,
    title: str = "",
    found: str = "found",
    false_alarms: str = "false alarms",
) -> "Figure":
    """Draws ROC curves on one square, with their areas and standard errors.

    Args:
      curves: name -> the scores of the rows to be found, and of the others; at most six.
      weight, other_weight: how much each row to be found, and each other row, counts; None counts all alike.
      title: text above the square.
      found, false_alarms: what the shares on the vertical and the horizontal axis are of.
    Raises:
      InvalidValueError: if there is no curve, or more than six; and see `roc`.
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise InvalidValueError("roc_figure", "curves", f"must hold 1 to {len(COLOURS)} curves", len(curves))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIDE, SIDE + 0.25 + 0.22 * -(-len(curves) // 2)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    for colour, (name, (scores, others)) in zip(COLOURS, curves.items(), strict=False):
        weights = (weight, other_weight)
        curve, area = roc(scores, others, *weights), auroc(scores, others, *weights)
        label = f"{name.replace('_', ' ')}  {area.value:.4f} ± {area.standard_error:.4f}"
        axes.plot(curve.false_alarms, curve.found, color=colour, linewidth=1.8, label=label, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=false_alarms, ylabel=found)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    plain(axes, "both")
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=9, title="area below the curve", frameon=False)
    legend.get_title().set(fontsize=8.5, color=FAINT)
    return figure
