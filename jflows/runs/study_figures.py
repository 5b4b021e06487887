"""The figures of a study: maps of the plane side by side for data of two columns, and learning curves otherwise.

If a sweep has values of `seed` beside those of other options, the curves are means over seeds. A sweep over numbers, of
mixtures, adds their BIC, such as that of mixtures of 2 to 10 components.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jflows.eval import bic_figure, cluster_plots, drawing, flows_figure, plots
from jflows.eval.mean_curves import Groups, mean_curves
from jflows.eval.plane import Panel
from jflows.flows import Flow, MixtureOfFlows
from jflows.runs.files import saving
from jflows.runs.metrics import Entry, read_metrics
from jflows.runs.reports import REPORTS
from jflows.runs.reports.report import KEY_SEED

if TYPE_CHECKING:
    from jflows.runs.running import RunResult

SHOWN_ROWS = 2000  # of the test part, in maps
SEED = "seed"  # the option over whose values curves are averaged


def draw_study(
    kind: str,
    labels: Sequence[dict[str, Any]],
    results: "Sequence[RunResult]",
    rows: Sequence[dict[str, Any]],
    best: int,
    directory: Path,
) -> list[str]:
    """Writes the figures, and returns the names of their files.

    Args:
      kind: "restarts", "folds" or "sweep".
      labels: what tells each run apart, such as {"num_layers": 2, "seed": 0}.
      results, rows: the results of all runs, and their entries in study.json.
      best: the index of the chosen run.
    """
    curves = [] if kind != "sweep" else bic_of_sweep(labels, rows, directory)
    return [_panels(kind, labels, results, rows, best, directory), *curves]


def _panels(
    kind: str,
    labels: Sequence[dict[str, Any]],
    results: "Sequence[RunResult]",
    rows: Sequence[dict[str, Any]],
    best: int,
    directory: Path,
) -> str:
    """Writes maps of the plane, or learning curves, and returns the name of the file."""
    flow = results[best].flow
    parts = enumerate(zip(labels, results, rows, strict=True))
    chosen = None if kind == "folds" else best
    titles = [_title(label, result, row, index == chosen) for index, (label, result, row) in parts]
    data = results[best].recipe.data.load("test")
    data = data if data.weight is None else data.drawn_by_weight(len(data), KEY_SEED)
    apply = [name for name in flow.reports if name in _MAPS and REPORTS[name].can(flow, data)]
    for name in apply:
        file, draw = _MAPS[name]
        with saving(directory / file) as partial:
            draw(results, titles, data.x[:SHOWN_ROWS], partial, directory.name)
        return file
    curves = [read_metrics(result.directory) for result in results]
    with saving(directory / "learning_curves.png") as partial:
        if SEED in labels[0] and len(labels[0]) > 1:
            mean_curves(_over_seeds(labels, curves), partial, title=directory.name, unit=flow.unit)
        else:
            names = [result.directory.name for result in results]
            runs = dict(zip(names, curves, strict=True))
            plots.learning_curves(runs, partial, title=directory.name, unit=flow.unit)
    return "learning_curves.png"


def bic_of_sweep(labels: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], directory: Path) -> list[str]:
    """Writes the BIC of a sweep of one option over numbers, and returns the names of its files; none for others."""
    (name, *others) = labels[0]
    values = [label[name] for label in labels]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    scores = [row["bic"] for row in rows if math.isfinite(row.get("bic", math.nan))]
    if others or len(rows) < 2 or not len(numbers) == len(scores) == len(rows):
        return []
    words = name.replace("_", " ").replace("num ", "number of ")
    figure = bic_figure(numbers, scores, name=words, title=f"{directory.name}: BIC of the training rows")
    with saving(directory / "bic.png") as partial:
        drawing.save(figure, partial)
    return ["bic.png"]


def _over_seeds(labels: Sequence[dict[str, Any]], curves: "Sequence[list[Entry]]") -> "Groups":
    """The metrics of all seeds of each combination of the other options, by the words for these options."""
    groups: Groups = {}
    for label, metrics in zip(labels, curves, strict=True):
        name = tuple(_in_words(option, value) for option, value in label.items() if option != SEED)
        groups.setdefault(name, []).append(metrics)
    return groups


def _in_words(option: str, value: Any) -> str:
    """A value that is a word speaks for itself; any other needs the name of its option."""
    return value if isinstance(value, str) else f"{option} {value}"


def _clusters(results: "Sequence[RunResult]", titles: list[str], x, path: Path, title: str) -> None:
    panels = [(cast(MixtureOfFlows, result.flow), result.variables) for result in results]
    cluster_plots.responsibility_maps(panels, x, path, titles=titles)


def _flows(results: "Sequence[RunResult]", titles: list[str], x, path: Path, title: str) -> None:
    pairs = zip(results, titles, strict=True)
    panels = [Panel(words, cast(Flow, result.flow), result.variables) for result, words in pairs]
    drawing.save(flows_figure(panels, x, title=f"{title}: log density and samples"), path)


_MAPS = {"clusters": ("clusters.png", _clusters), "page": ("flows.png", _flows)}
"""Report of one run -> file and figure of many."""


def _title(label: dict[str, Any], result: "RunResult", row: dict[str, Any], chosen: bool) -> str:
    """Above a panel: which run it is, and how good."""
    name = " ".join(f"{key} {value}" for key, value in label.items())
    if "elbo" in row:
        accuracy = f", accuracy {row['accuracy']:.3f}" if "accuracy" in row else ""
        words = f"ELBO {row['train_score']:.3f}{accuracy}"
    else:
        words = f"{row['score']:.3f} {result.flow.unit.label}"
    return ("chosen: " if chosen else "") + f"{name}: {words}"
