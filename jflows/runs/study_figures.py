"""The figure of a study: maps of the plane side by side for data of two columns, and learning curves otherwise."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jflows.eval import cluster_plots, drawing, flows_figure, plots
from jflows.eval.plane import Panel
from jflows.flows import NATS, Flow, MixtureOfFlows
from jflows.runs.files import saving
from jflows.runs.metrics import read_metrics
from jflows.runs.reports import REPORTS
from jflows.runs.reports.report import KEY_SEED

if TYPE_CHECKING:
    from jflows.runs.running import RunResult

SHOWN_ROWS = 2000  # of the test part, in maps


def draw_study(
    kind: str, results: "Sequence[RunResult]", rows: Sequence[dict[str, Any]], best: int, directory: Path
) -> list[str]:
    """Writes the figure, and returns the names of its files.

    Args:
      kind: "restarts", "folds" or "sweep".
      results, rows: the results of all runs, and their entries in study.json.
      best: the index of the chosen run.
    """
    flow = results[best].flow
    pairs = enumerate(zip(results, rows, strict=True))
    titles = [_title(result, row, kind, index == best) for index, (result, row) in pairs]
    data = results[best].recipe.data.load("test")
    data = data if data.weight is None else data.drawn_by_weight(len(data), KEY_SEED)
    apply = [name for name in flow.reports if name in _MAPS and REPORTS[name].can(flow, data)]
    for name in apply:
        file, draw = _MAPS[name]
        with saving(directory / file) as partial:
            draw(results, titles, data.x[:SHOWN_ROWS], partial, directory.name)
        return [file]
    curves = {place.directory.name: read_metrics(place.directory) for place in results}
    with saving(directory / "learning_curves.png") as partial:
        plots.learning_curves(curves, partial, title=directory.name, nats=flow.unit is NATS)
    return ["learning_curves.png"]


def _clusters(results: "Sequence[RunResult]", titles: list[str], x, path: Path, title: str) -> None:
    panels = [(cast(MixtureOfFlows, result.flow), result.variables) for result in results]
    cluster_plots.responsibility_maps(panels, x, path, titles=titles)


def _flows(results: "Sequence[RunResult]", titles: list[str], x, path: Path, title: str) -> None:
    pairs = zip(results, titles, strict=True)
    panels = [Panel(words, cast(Flow, result.flow), result.variables) for result, words in pairs]
    drawing.save(flows_figure(panels, x, title=f"{title}: log density and samples"), path)


_MAPS = {"clusters": ("clusters.png", _clusters), "page": ("flows.png", _flows)}
"""Report of one run -> file and figure of many."""


def _title(result: "RunResult", row: dict[str, Any], kind: str, chosen: bool) -> str:
    """Above a panel: which run it is, and how good."""
    name = " ".join(f"{key} {row[key]}" for key in list(row)[:1])
    if "elbo" in row:
        accuracy = f", accuracy {row['accuracy']:.3f}" if "accuracy" in row else ""
        words = f"ELBO {row['train_score']:.3f}{accuracy}"
    else:
        words = f"{row['score']:.3f} {result.flow.unit.label}"
    return ("chosen: " if chosen and kind != "folds" else "") + f"{name}: {words}"
