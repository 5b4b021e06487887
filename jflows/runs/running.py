"""`run`: a recipe from its data to its report, in one directory.

    result = jflows.run("glow_digits", steps=200)
    result.score.bits_per_dim, result.directory

The parts can be used alone: `prepare` (data and flow), `train`, `score`, `report`. Read next:
`jflows/runs/directory.py` (what is stored), `jflows/runs/studies.py` (restarts, folds, one option swept).
"""

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jflows._version import __version__
from jflows.data import Data
from jflows.eval import Evaluation, evaluate
from jflows.flows import Density
from jflows.runs.configs import find_recipe
from jflows.runs.data import NOUNS, as_read, batches_of, facts_of, outline_of
from jflows.runs.directory import RunDirectory, alone_in, read_metrics
from jflows.runs.files import write_text
from jflows.runs.recipe import Recipe
from jflows.runs.reports import Material, clusters, write_reports
from jflows.runs.stored import StoredRecipe, read_recipe
from jflows.train import FitResult, fit
from jflows.train.checkpoint import check_unused
from jflows.train.progress import counting
from jflows.typing import Variables

RUNS = Path("runs")
"""Where runs are put that are told no directory."""
SHOWN_ROWS = 1000  # of a table in its pictures; where fewer are for testing, the training rows are drawn
SCORE_SEED = 0  # of evaluation noise, as the default of `jflows evaluate`
Progress = bool | None


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What `run` returns.

    Attributes:
      directory: of the run, or of the study.
      recipe: with all its options.
      flow: built for the data.
      fitted: what `jflows.fit` returned, the variables among it.
      score: of the test rows; None if SIGTERM ended the training early, whose checkpoint is saved.
      result: the content of result.json; of a study, that of study.json.
      files: names of the reports that were written.
    """

    directory: Path
    recipe: Recipe
    flow: Density
    fitted: FitResult
    score: Evaluation | None
    result: Mapping[str, Any]
    files: tuple[str, ...] = ()

    @property
    def variables(self) -> Variables:
        """The averaged parameters of the best validation, or of the last step."""
        return self.fitted.variables

    @property
    def interrupted(self) -> bool:
        """Whether SIGTERM ended the training early."""
        return self.score is None

    def __repr__(self) -> str:
        """Without the arrays."""
        return f"RunResult(directory={str(self.directory)!r}, score={self.score})"


class Prepared(NamedTuple):
    """What a run trains: data and flow.

    Attributes:
      recipe, name: the recipe, and the name of the config or preset that it came from.
      data: training rows, as the loss sees them.
      validation: held out, or None.
      test: rows to score.
      flow: built for these data.
      facts: about the training rows, for config.json.
    """

    recipe: Recipe
    name: str
    data: Data
    validation: Data | None
    test: Data
    flow: Density
    facts: dict[str, Any]


def run(
    recipe: "Recipe | str | Path | Callable[..., Density]",
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    progress: Progress = None,
    restarts: int = 1,
    folds: int = 0,
    sweep: tuple[str, Sequence[Any]] | None = None,
    **options: Any,
) -> RunResult:
    """Trains a recipe, scores it on the test rows, and writes its reports; all into one directory.

    Args:
      recipe: a `Recipe`; a preset such as `jflows.maf`, or a `functools.partial` of one; the name of a config or of a
        preset; or the path of a .py file that defines `config`, of a run, or of its config.json, which repeats it.
      out: the run directory; runs/<name> if None.
      resume: go on from the last checkpoint in `out`, with the options stored there unless others are given.
      progress: a bar or lines on stderr: None where someone watches, True always, False never.
      restarts: so many runs from different seeds, of which the one with the best score on training rows is kept.
      folds: so many folds of data that papers score in ten; the score is the mean over them.
      sweep: an option and the values it takes in turn, such as `("num_layers", (1, 2, 3))`.
      **options: any option of the recipe by its flat name: `steps=100`, `width=32`, `data="my.csv"`,
        `component__num_layers=4`. See `Recipe.with_options`.
    Returns:
      `RunResult`; that of the chosen run if there are several, see `jflows/runs/studies.py`.
    Raises:
      InvalidValueError, InvalidTypeError: if an option is unknown or wrong.
      DataError: if the data cannot be had, or do not fit the flow.
      RunError: if the directory is in use, holds another run, or cannot be written; if training fails.
    Example:
      >>> import jflows
      >>> result = jflows.run("realnvp", data="two_moons", steps=100)  # doctest: +SKIP
      >>> result.score.nats  # doctest: +SKIP
      -1.42
    """
    name, found = find_recipe(recipe)
    directory = RUNS / name if out is None else Path(out)
    if restarts != 1 or folds or sweep is not None:
        from jflows.runs.studies import study

        return study(name, found.with_options(**options), directory, restarts, folds, sweep, resume, progress)
    named = not isinstance(recipe, Recipe)
    found = read_recipe(directory).recipe if resume and named else found
    return run_once(name, found.with_options(**options), directory, resume=resume, progress=progress)


def run_once(
    name: str,
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    progress: Progress = None,
    draw: bool = True,
) -> RunResult:
    """One run of a study, or the only one.

    Args:
      draw: whether to write all reports, or the learning curve alone.
    """
    if not resume:
        check_unused(directory)
    prepared = prepare(recipe, name)
    with alone_in(directory):
        fitted = train(prepared, directory, resume=resume, progress=progress)
        if fitted.interrupted:
            return RunResult(directory, prepared.recipe, prepared.flow, fitted, None, {})
        result = score(prepared, fitted, directory, progress=progress)
        files = report(prepared, fitted.variables, result.evaluation, directory, draw=draw)
    found = result.evaluation
    return RunResult(directory, prepared.recipe, prepared.flow, fitted, found, result.content, tuple(files))


def prepare(recipe: Recipe, name: str = "") -> Prepared:
    """The data of a recipe, and the flow built for them.

    Args:
      name: of the config or preset that the recipe came from.
    Raises:
      DataError, InvalidValueError: if the data cannot be had, or do not fit the flow.
    """
    data, loss = recipe.data.load("train"), recipe.objective
    flow = recipe.build(outline_of(data))
    flow.reading.check(data, "run")
    validation = recipe.data.load("validation") if recipe.data.has_validation else None
    test, facts = recipe.data.load("test"), facts_of(data)
    data = recipe.data.for_training(data, loss.takes_labels, recipe.train.seed)
    return Prepared(recipe, name, data, validation, test, flow, facts)


def train(prepared: Prepared, directory: Path, *, resume: bool = False, progress: Progress = None) -> FitResult:
    """Fits the flow, with checkpoints and metrics in the directory.

    Raises:
      RunError: if the directory holds another run, or training fails.
    """
    recipe, flow = prepared.recipe, prepared.flow
    stored = StoredRecipe(prepared.name, recipe, prepared.facts)
    if resume:
        stored.check_continues(read_recipe(directory))
        recorder = RunDirectory.resume(directory, flow, stored.to_json(), ("train", "facts"))
    else:
        recorder = RunDirectory.create(directory, flow, stored.to_json())
    return fit(
        flow,
        prepared.data,
        recipe.train,
        validation=prepared.validation,
        run=recorder,
        loss=recipe.objective,
        progress=progress,
    )


class Scored(NamedTuple):
    """A score, and the content of the result.json that tells of it."""

    evaluation: Evaluation
    content: dict[str, Any]


def score(prepared: Prepared, fitted: FitResult, directory: Path, *, progress: Progress = None) -> Scored:
    """Scores the test rows and writes result.json; of mixtures, how components agree with labels too."""
    flow, size, test = prepared.flow, prepared.recipe.train.eval_batch_size, prepared.test
    started = time.perf_counter()
    found = scored(flow, fitted.variables, test, size, seed=SCORE_SEED, progress=progress)
    seconds = time.perf_counter() - started
    content = _result(found, fitted, read_metrics(directory), prepared, seconds)
    if clusters.NAME in flow.reports:
        content["mixture"] = clusters.summary(clusters.report_on(flow, fitted.variables, test))
    write_text(directory / "result.json", json.dumps(content, indent=2) + "\n")
    return Scored(found, content)


def scored(
    flow: Density,
    variables: Variables,
    data: Data,
    batch_size: int,
    *,
    seed: int = SCORE_SEED,
    num_draws: int = 1,
    progress: Progress = None,
) -> Evaluation:
    """`jflows.eval.evaluate` of all rows, with progress on stderr unless that is False."""
    batches = batches_of(data, batch_size, flow)
    shown = contextlib.nullcontext() if progress is False else counting("evaluating", len(data), NOUNS[data.kind])
    with shown as on_batch:
        return evaluate(flow, variables, batches, jax.random.key(seed), num_draws, on_batch)


def report(
    prepared: Prepared, variables: Variables, evaluation: Evaluation, directory: Path, *, draw: bool = True
) -> list[str]:
    """Writes the reports of the flow, and returns the names of their files."""
    flow, test = prepared.flow, prepared.test
    shown = prepared.data if flow.reading.kind == "table" and len(test) < SHOWN_ROWS else test
    metrics = read_metrics(directory)
    if prepared.recipe.objective.unit != "nats":  # then the loss of training steps has no place among likelihoods
        metrics = [{name: value for name, value in entry.items() if name != "loss"} for entry in metrics]
    material = Material(flow, variables, as_read(shown, flow), metrics, evaluation, directory)
    return write_reports(material, None if draw else ("learning_curve",))


def _result(
    score: Evaluation, fitted: FitResult, metrics: list[dict[str, float]], prepared: Prepared, seconds: float
) -> dict[str, Any]:
    """The content of result.json. `train_seconds` adds up all parts of a run that was stopped and resumed, each with
    its compilation; `evaluated_step` is that of the best validation, or the last one.
    """
    steps = np.diff([0, *(entry["step"] for entry in metrics)])
    rates = [entry["examples_per_second"] for entry in metrics]
    batch_size = prepared.recipe.train.batch_size
    spent = sum(n * batch_size / rate for n, rate in zip(steps, rates, strict=True) if rate)
    spent += sum(entry.get("compile_seconds", 0) for entry in metrics)
    device = jax.devices()[0]
    return {
        "test_bits_per_dim": score.bits_per_dim,
        "standard_error": score.standard_error,
        "test_nats": score.nats,
        "nats_standard_error": score.nats_standard_error,
        "num_test": score.num_examples,
        "unit": prepared.flow.unit.key,
        "steps": int(fitted.state.step),
        "planned_steps": prepared.recipe.train.total_steps(len(prepared.data)),
        "evaluated_step": fitted.step,
        "skipped": int(fitted.state.skipped),
        "train_seconds": round(float(spent), 1),
        "evaluation_seconds": round(seconds, 1),
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(fitted.state.params)),
        "jflows": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "cpu_count": os.cpu_count(),
        "config": StoredRecipe(prepared.name, prepared.recipe, prepared.facts).to_json(),
    }
