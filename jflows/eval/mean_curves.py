"""Learning curves of groups of runs: the mean over the seeds of each group, and their deviation."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval import plots
from jflows.flows.density import BITS_PER_DIM, Unit

Metrics = Sequence[Mapping[str, float]]
Groups = dict[tuple[str, ...], list[Metrics]]
"""The entries of metrics.jsonl of the runs of each group, by the words that tell the groups apart."""
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")
DASHES = ("solid", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
BAND = 0.18  # opacity of the band of one deviation


class Curve(NamedTuple):
    """The curve of a group: steps at which all its runs have a score, the mean over the runs, and the deviation."""

    step: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    num_runs: int


def mean_curves(groups: Groups, path: str | PathLike[str], *, title: str = "", unit: Unit = BITS_PER_DIM) -> None:
    """Writes a PNG with one curve for each group: validation where it was measured, else training.

        mean_k = sum_r loss_rk / R,    deviation_k^2 = sum_r (loss_rk - mean_k)^2 / (R - 1)         over R runs

    The first word of a group chooses the colour, the others the dashes. A band shows one deviation on each side, and
    the legend, worst group first, the last mean.

    Args:
      groups: the metrics of the runs of each group.
      path: path of the PNG.
      title: text above the axes.
      unit: `BITS_PER_DIM`, or `NATS`, which draws the negative log-likelihood in nats per event.
    Raises:
      InvalidValueError: if there is no group, or the runs of a group have no step in common.
    """
    if not groups:
        raise InvalidValueError("mean_curves", "groups", "must hold at least one group", "none")
    curves = {name: curve_of(runs, unit) for name, runs in groups.items()}
    firsts, others = (list(dict.fromkeys(part)) for part in ((n[:1] for n in groups), (n[1:] for n in groups)))
    figure, axes = plots.curve_axes()
    for name, curve in sorted(curves.items(), key=lambda item: -item[1].mean[-1]):
        colour = COLOURS[firsts.index(name[:1]) % len(COLOURS)]
        dashes = DASHES[others.index(name[1:]) % len(DASHES)]
        label = f"{', '.join(name)}: {_last(curve)}"
        marker = "o" if len(curve.step) == 1 else ""
        axes.plot(curve.step, curve.mean, marker=marker, color=colour, linestyle=dashes, linewidth=1.6, label=label)
        if curve.num_runs > 1:
            low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
            axes.fill_between(curve.step, low, high, color=colour, alpha=BAND, linewidth=0)
    step = np.concatenate([curve.step for curve in curves.values()])
    shown = [curve.mean[curve.step > plots.EARLY * step.max()] for curve in curves.values()]
    plots.finish_curves(axes, step, shown, title, unit)
    figure.savefig(path, format="png")


def curve_of(runs: Sequence[Metrics], unit: Unit = BITS_PER_DIM) -> Curve:
    """The mean and the deviation over runs at the steps that all of them have; the deviation of one run is 0.

    Raises:
      InvalidValueError: if there is no such step.
    """
    found = [dict(zip(*map(np.ndarray.tolist, _scores(metrics, unit)), strict=True)) for metrics in runs]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    if not steps:
        raise InvalidValueError("mean_curves", "groups", "must hold runs with a step in common", f"{len(found)} runs")
    values = np.array([[scores[step] for step in steps] for scores in found])
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
    return Curve(np.array(steps), values.mean(axis=0), deviation, len(runs))


def _scores(metrics: Metrics, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and the loss at each: of validation if it was measured, else of training."""
    step, score = plots.series(metrics, f"validation_{unit.key}")
    if len(step):
        return step, unit.as_loss(score)
    return plots.series(metrics, unit.curve_key)


def _last(curve: Curve) -> str:
    """The last mean, with its deviation over seeds."""
    return f"{curve.mean[-1]:.3f}" + (f" ± {curve.deviation[-1]:.3f}" if curve.num_runs > 1 else "")
