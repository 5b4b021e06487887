"""`compare`: the scores of several runs in one table, and their learning curves in one figure."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from jflows.errors import InvalidTypeError, InvalidValueError, RunError, path_of
from jflows.eval import plots
from jflows.flows.density import BITS_PER_DIM, NATS, UNITS
from jflows.runs.files import read_json, saving
from jflows.runs.metrics import read_metrics
from jflows.runs.recipe import changes_what_is_scored
from jflows.runs.stored import read_recipe
from jflows.runs.studies import FILE as STUDY

FIGURE = "learning_curves.png"
STANDARD_ERROR = {NATS.key: "nats_standard_error", BITS_PER_DIM.key: "standard_error"}
RESULT = ("unit", "num_test", "test_nats", "nats_standard_error", "test_bits_per_dim", "standard_error", "steps")
RESULT += ("train_seconds", "num_parameters")  # keys of result.json that the table shows


@dataclasses.dataclass(frozen=True)
class Row:
    """A run in the table.

    Attributes:
      run: the run directory.
      preset, data: names of the preset that was trained, and of its data.
      unit: unit of the score, "nats" or "bits_per_dim".
      num_test: number of test rows that were scored.
      score, standard_error: the score of the test rows, and its standard error.
      steps, seconds: how long training took.
      num_parameters: number of the flow's trained parameters.
    """

    run: Path
    preset: str
    data: str
    unit: str
    num_test: int
    score: float
    standard_error: float
    steps: int
    seconds: float
    num_parameters: int


def compare(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Row]:
    """The rows of a table of runs, best first; with `out`, also one figure of their learning curves.

    Args:
      runs: directories of two or more finished runs; the directory of a study stands for all its runs.
      out: path of a PNG to write.
    Raises:
      RunError: if a directory is not that of a finished run.
      InvalidValueError: if there are fewer than two runs, or if their scores differ in unit or data.
    """
    if isinstance(runs, str | Path):
        raise InvalidTypeError("compare", "runs", "must be a list of run directories", repr(runs), f"Write [{runs!r}].")
    rows = [_row(run) for given in runs for run in _members(path_of("compare", "runs", given))]
    if len(rows) < 2:
        raise InvalidValueError("compare", "runs", "must be at least two runs", f"{len(rows)}")
    places = [row.run.resolve() for row in rows]
    if twice := [str(row.run) for row, place in zip(rows, places, strict=True) if places.count(place) > 1]:
        raise InvalidValueError("compare", "runs", "must be different runs", " and ".join(twice), "Name each once.")
    for by in ({r.unit: r.run for r in rows}, {r.data: r.run for r in rows}, {r.num_test: r.run for r in rows}):
        if len(by) > 1:
            got = ", ".join(f"{value} in {run}" for value, run in by.items())
            rule = "must be scored on the same data in the same unit"
            raise InvalidValueError("compare", "runs", rule, got, "Compare runs of one data set.")
    _check_options(rows)
    if out is not None:
        curves = {_name(row.run, rows): read_metrics(row.run) for row in rows}
        with saving(path_of("compare", "out", out)) as partial:
            plots.learning_curves(curves, partial, title=rows[0].data, unit=UNITS[rows[0].unit])
    worst_last = lambda row: math.inf if math.isnan(row.score) else UNITS[row.unit].as_loss(row.score)
    return sorted(rows, key=worst_last)


def _check_options(rows: list[Row]) -> None:
    """Raises `InvalidValueError` if runs differ in an option that changes what is scored."""
    found: dict[str, dict[str, Path]] = {}
    for row in rows:
        for name, option in read_recipe(row.run).recipe.options().items():
            if name != "data" and changes_what_is_scored(name, option.group):
                found.setdefault(name, {})[repr(option.value)] = row.run
    for name, values in found.items():
        if len(values) > 1:
            got = ", ".join(f"{value} in {run}" for value, run in values.items())
            raise InvalidValueError("compare", "runs", f"must have the same {name}, as scores do not compare", got)


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text: a heading, then one line for each run."""
    heading = ("run", "flow", UNITS[rows[0].unit].label, "±", "steps", "parameters", "seconds")
    lines: list[tuple[str, ...]] = [heading]
    for row in rows:
        numbers = (f"{row.score:.4f}", f"{row.standard_error:.4f}", f"{row.steps:,}", f"{row.num_parameters:,}")
        lines.append((_name(row.run, rows), row.preset, *numbers, f"{row.seconds:.0f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    words = 2  # columns of text, set flush left
    aligned = lambda line: "  ".join(
        cell.ljust(width) if column < words else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "\n".join(aligned(line).rstrip() for line in lines)


def _members(path: Path) -> list[Path]:
    """The run, or the runs of a study."""
    if not (path / STUDY).is_file():
        return [path]
    return sorted(config.parent for config in path.glob("*/config.json"))


def _row(run: Path) -> Row:
    recipe = read_recipe(run).recipe
    path = run / "result.json"
    fix = "Finish the run, or write the file anew: train with {resume=True}."
    try:
        result = read_json("compare", "run", path, fix=fix)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError("compare", "run", "must have a readable result.json", f"{run} ({error})", fix) from error
    if missing := [key for key in RESULT if key not in result]:
        raise RunError("compare", "run", "must have a readable result.json", f"{path} (no key {missing[0]!r})", fix)
    return Row(
        run=run,
        preset=recipe.to_json()["flow"]["preset"],
        data=recipe.data.name,
        unit=result["unit"],
        num_test=result["num_test"],
        score=result[f"test_{result['unit']}"],
        standard_error=result[STANDARD_ERROR[result["unit"]]],
        steps=result["steps"],
        seconds=result["train_seconds"],
        num_parameters=result["num_parameters"],
    )


def _name(run: Path, rows: Sequence[Row]) -> str:
    """The last part of the path if it tells runs apart, else all of it."""
    short = [row.run.name for row in rows]
    return run.name if len(set(short)) == len(short) else str(run)
