"""`bic`: a score that charges a model for its parameters, to choose a number of components; and its figure."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from jflows.errors import InvalidValueError
from jflows.eval.drawing import GREY, INK, plain
from jflows.options import Count, NotNegative, Option, checked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE, CHOSEN = "#7f9fc4", "#c0504d"  # as the two curves of a learning curve

Nats = Annotated[float, Option(infinite=True)]


@checked
def bic(nats: Nats, num_parameters: NotNegative, num_rows: Count) -> float:
    """The Bayesian information criterion; lower is better.

        BIC = k ln n - 2 log L,   log L = n * nats

    It approximates -2 log p(rows | model) for n much larger than k, and for models whose likelihood has one maximum.
    Networks have many equivalent maxima and are not trained to one, so that k counts more than it should: take it as a
    penalty to compare equal architectures by, such as mixtures of different numbers of components, and nothing more.

    Source: Schwarz 1978, Annals of Statistics 6(2), "Estimating the dimension of a model".

    Args:
      nats: mean log-likelihood of a row, in nats, of the rows that the model was fitted to.
      num_parameters: k, the number of free parameters of the density.
      num_rows: n, the number of rows.
    Example:
      >>> round(bic(-2.0, 10, 1000), 2)
      4069.08
    """
    return num_parameters * math.log(num_rows) - 2 * num_rows * nats


def bic_figure(values: Sequence[float], scores: Sequence[float], *, name: str = "", title: str = "") -> "Figure":
    """Draws BIC against what was varied, such as the number of components, with the lowest one marked.

    Args:
      values: what was varied, one number for each model.
      scores: the BIC of each model.
      name: what the values are, below the axis.
      title: text above the axes.
    Raises:
      InvalidValueError: if there are not as many scores as values, or none is finite.
    """
    if len(values) != len(scores) or not any(map(math.isfinite, scores)):
        got = f"{len(values)} values, {len(scores)} scores"
        rule = "must be as many, at least one of them finite"
        raise InvalidValueError("bic_figure", ("values", "scores"), rule, got)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    pairs = sorted(zip(values, scores, strict=True))
    axes.plot(*zip(*pairs, strict=True), "o-", color=CURVE, markersize=5, linewidth=1.5)
    at, lowest = min((pair for pair in pairs if math.isfinite(pair[1])), key=lambda pair: pair[1])
    axes.plot([at], [lowest], "o", color=CHOSEN, markersize=8)
    axes.annotate(f"lowest at {at:g}", (at, lowest), (8, -4), textcoords="offset points", color=CHOSEN, va="top")
    axes.set_xticks([value for value, _ in pairs])
    axes.margins(0.06, 0.14)
    axes.set_xlabel(name)
    axes.set_ylabel("BIC, nats (lower is better)")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    plain(axes, "y", labels=GREY)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure
