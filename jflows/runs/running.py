"""`run`: trains and scores a recipe, and writes everything about it into one directory.

    result = jflows.run("glow_digits", steps=200)
    result.score.bits_per_dim, result.directory

The parts can be used alone: `prepare` (data and flow), `train`, `score`, `report`. Read next:
`jflows/runs/directory.py` (what is stored), `jflows/runs/studies.py` (restarts, folds, options swept).
"""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jflows.data import KNOWN, Data
from jflows.data.splits import ALL
from jflows.errors import InvalidValueError, RunError, path_of
from jflows.eval import Evaluation, evaluate
from jflows.flows import Density
from jflows.processes import together
from jflows.runs.configs import find_recipe
from jflows.runs.data import as_read, batches_of, facts_of, outline_of
from jflows.runs.directory import AS_IN_THE_RUN, RunDirectory, alone_in, load
from jflows.runs.files import write_json
from jflows.runs.metrics import read_metrics
from jflows.runs.recipe import Recipe
from jflows.runs.reports import Material, clusters, write_reports
from jflows.runs.reports.report import KEY_SEED
from jflows.runs.result_file import content_of
from jflows.runs.stored import StoredRecipe, flow_values, read_recipe
from jflows.train import FitResult, fit
from jflows.train.checkpoint import Checkpoints, check_unused
from jflows.train.progress import counting
from jflows.typing import Variables

RUNS = Path("runs")
"""The folder of runs for which no directory is given."""
SCORED_IMAGES, SCORED_ROWS = 2_000, 20_000
"""The number of training rows, the first ones, whose score decides which run of a study is chosen, by kind of data."""
SCORE_SEED = 0  # of evaluation noise, as the default of `jflows evaluate`
Progress = bool | None


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of `run`.

    Attributes:
      directory: the directory of the run, or of the study.
      recipe: the recipe with all its options.
      flow: the density that was built for the data.
      fitted: the result of `jflows.fit`.
      score: the score of the test rows; None if SIGTERM ended the training early, after a checkpoint.
      result: the content of result.json, or of a study's study.json.
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
        """The flow's collections, with the averaged parameters of the best validation, or of the last step."""
        return self.fitted.variables

    @property
    def interrupted(self) -> bool:
        """Whether SIGTERM ended the training early."""
        return self.score is None

    def __repr__(self) -> str:
        """One line, without the arrays."""
        return f"RunResult(directory={str(self.directory)!r}, score={self.score})"


class Prepared(NamedTuple):
    """The data and the flow of a run, before training.

    Attributes:
      recipe, name: the recipe, and the name of the config or preset that it came from.
      data: the training rows, as the loss sees them.
      validation: the validation rows, or None.
      test: the rows to score after training.
      flow: the density that was built for these data.
      facts: facts about the training rows, for config.json.
    """

    recipe: Recipe
    name: str
    data: Data
    validation: Data | None
    test: Data
    flow: Density
    facts: dict[str, Any]

    @property
    def steps(self) -> int:
        """Number of training steps of the whole run."""
        return self.recipe.train.total_steps(len(self.data.counted()))


def run(
    recipe: "Recipe | str | Path | Callable[..., Density]",
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    start_from: str | os.PathLike[str] | None = None,
    progress: Progress = None,
    restarts: int = 1,
    folds: int = 0,
    sweep: tuple[str, Sequence[Any]] | Mapping[str, Sequence[Any]] | None = None,
    ensemble: int = 1,
    **options: Any,
) -> RunResult:
    """Trains a recipe, scores it on the test rows and writes its reports, all in one directory.

    Args:
      recipe: a `Recipe`; a preset such as `jflows.maf`, or a `functools.partial` of one; the name of a config or of a
        preset; the path of a .py file that defines `config`; or the path of a run or its config.json, to repeat it.
      out: the run directory; None takes runs/<name>.
      resume: go on from the last checkpoint in `out`, with the options stored there unless others are given.
      start_from: the directory of a run of the same flow, from whose best weights training starts; the statistics by
        which that run standardised its data come along. None starts from new weights.
      progress: whether to show a bar or lines on stderr; None shows them on a terminal and in a notebook.
      restarts: number of runs, each from a seed of its own; the one with the best score on training rows is returned.
      folds: number of folds to run, of data that papers score in ten folds; the score is the mean over them. 0 runs
        none.
      sweep: an option and its values, each of which gets a run of its own, such as `("num_layers", (1, 2, 3))`; or
        several options, whose combinations are run, such as `{"num_layers": (1, 2), "seed": (0, 1, 2)}`.
      ensemble: number of runs from seeds that follow each other, trained at once by one program; their mixture with
        equal weights is written as a run too. 1 trains a single run.
      **options: any option of the recipe by its flat name: `steps=100`, `width=32`, `data="my.csv"`,
        `component__num_layers=4`. See `Recipe.with_options`.
    Returns:
      `RunResult`; of several runs, that of the chosen one, see `jflows/runs/studies.py`.
    Raises:
      InvalidValueError, InvalidTypeError: if an option is unknown or wrong.
      DataError: if the data cannot be loaded, or do not fit the flow.
      RunError: if the directory is in use, holds another run, or cannot be written; if training fails, or ends with a
        score that is NaN.
    Example:
      >>> import jflows
      >>> result = jflows.run("realnvp", data="two_moons", steps=100)  # doctest: +SKIP
      >>> result.score.nats  # doctest: +SKIP
      -1.42
    """
    name, found = find_recipe(recipe)
    directory = RUNS / name if out is None else path_of("run", "out", out)
    if restarts != 1 or folds or sweep is not None or ensemble != 1:
        if start_from is not None:
            rule, fix = "is for a single run, not for a study", "Leave it out, or train a single run."
            raise InvalidValueError("run", "start_from", rule, repr(str(start_from)), fix)
        from jflows.runs.studies import study

        return study(name, found.with_options(**options), directory, restarts, folds, sweep, ensemble, resume, progress)
    if resume and not isinstance(recipe, Recipe):
        stored = read_recipe(directory)
        stored.check_named(name)
        found = stored.recipe
    found = found.with_options(**options)
    return run_once(name, found, directory, resume=resume, progress=progress, start_from=start_from)


def run_once(
    name: str,
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    progress: Progress = None,
    draw: bool = True,
    start_from: str | os.PathLike[str] | None = None,
) -> RunResult:
    """Trains, scores and reports one run; `run` and studies are made of it.

    Args:
      draw: whether to write all reports; False writes the learning curve alone.
    """
    with together.first_before_others():  # who then find on disk what it has fetched
        prepared, variables = prepare(recipe, name), None
    if start_from is not None:
        variables = _weights_of(start_from, prepared, resume)
        origin = str(path_of("run", "start_from", start_from).resolve())
        prepared = prepared._replace(facts={**prepared.facts, "start_from": origin})
    if not resume:
        check_unused(directory)
    with alone_in(directory):
        fitted = train(prepared, directory, resume=resume, progress=progress, variables=variables)
        return finished(prepared, fitted, directory, progress=progress, draw=draw)


def finished(
    prepared: Prepared, fitted: FitResult, directory: Path, *, progress: Progress = None, draw: bool = True
) -> RunResult:
    """Scores and reports a run that was trained, unless it was interrupted; see `run_once`.

    Raises:
      RunError: if the score is NaN.
    """
    if fitted.interrupted:
        return RunResult(directory, prepared.recipe, prepared.flow, fitted, None, {})
    result = score(prepared, fitted, directory, progress=progress)
    draws = lambda: report(prepared, fitted.variables, result.evaluation, directory, draw=draw)
    files = together.by_first("run", draws) or ()
    if math.isnan(result.evaluation.nats):
        rule = "must not be NaN on the test rows; result.json and the reports are written"
        fix = "Look at the learning curve: lower {learning_rate}, or set {clip_norm}."
        raise RunError("run", "score", rule, f"NaN in {directory}", fix)
    found = result.evaluation
    return RunResult(directory, prepared.recipe, prepared.flow, fitted, found, result.content, tuple(files))


def prepare(recipe: Recipe, name: str = "") -> Prepared:
    """Loads the data of a recipe, and builds the flow for them.

    Args:
      name: name of the config or preset that the recipe came from.
    Raises:
      DataError, InvalidValueError: if the data cannot be loaded, or do not fit the flow.
    """
    recipe = dataclasses.replace(recipe, data=recipe.data.located())
    if recipe.data.name in KNOWN:
        recipe.build(recipe.data.outline())  # a flow that does not fit is refused before anything is fetched
    data, loss = recipe.data.load("train"), recipe.objective
    flow = recipe.build(outline_of(data))
    if recipe.data.domains and recipe.data.name not in KNOWN:  # a bad value is named by its row in the file
        flow.reading.check(recipe.data.load(ALL), "run")
    flow.reading.check(data, "run")
    validation = recipe.data.load("validation") if recipe.data.has_validation else None
    test = recipe.data.load("test")
    flow.reading.check(test, "run")
    facts = facts_of(data, test)
    data = recipe.data.for_training(data, loss.takes_labels, recipe.train.seed)
    return Prepared(recipe, name, data, validation, test, flow, facts)


def train(
    prepared: Prepared,
    directory: Path,
    *,
    resume: bool = False,
    progress: Progress = None,
    variables: Variables | None = None,
) -> FitResult:
    """Fits the flow, with checkpoints and metrics in the directory.

    Args:
      variables: where to start; None makes new ones.
    Raises:
      RunError: if the directory holds another run, or training fails.
    """
    recorder, recipe = recorder_of(prepared, directory, resume), prepared.recipe
    return fit(
        prepared.flow,
        prepared.data,
        recipe.train,
        validation=prepared.validation,
        run=recorder,
        loss=recipe.objective,
        variables=variables,
        progress=progress,
    )


def recorder_of(prepared: Prepared, directory: Path, resume: bool) -> RunDirectory:
    """The run directory, new or opened to go on.

    Raises:
      RunError: if the directory holds another run, or one that is further than this would go.
    """
    recipe, flow = prepared.recipe, prepared.flow
    saved, steps = (Checkpoints(directory).latest_step() or 0) if resume else 0, prepared.steps
    if saved > steps:
        rule = f"must not end before step {saved}, at which the run stands"
        raise RunError("run", "epochs" if recipe.train.epochs else "steps", rule, f"{steps} steps", AS_IN_THE_RUN)
    stored = StoredRecipe(prepared.name, recipe, prepared.facts)
    if not resume:
        return RunDirectory.create(directory, flow, stored.to_json())
    stored.check_continues(read_recipe(directory))
    return RunDirectory.resume(directory, flow, stored.to_json(), ("train", "facts"))


def _weights_of(run: str | os.PathLike[str], prepared: Prepared, resume: bool) -> Variables:
    """The best weights of a run whose flow is this one."""
    where = str(run)
    if resume:
        rule, fix = "must not be given with {resume=True}", "Leave it out: a run that goes on has its own weights."
        raise InvalidValueError("run", "start_from", rule, repr(where), fix)
    try:
        found, variables = load(path_of("run", "start_from", run))
    except RunError as error:
        raise error.renamed(run="start_from") from error
    if found != prepared.flow:
        old, new = flow_values(read_recipe(path_of("run", "start_from", run)).recipe), flow_values(prepared.recipe)
        changed = [name for name in new if old.get(name) != new[name]]
        changed = ["flow"] if "flow" in changed else changed  # the options of another preset say nothing more
        got = ", ".join(f"{name} = {old.get(name)!r} there and {new[name]!r} here" for name in changed)
        rule, fix = "must be a run of the same flow as is to be trained", "Give both the same options of the flow."
        raise RunError("run", "start_from", rule, got or f"{where}, whose data have another shape", fix)
    return variables


class Scored(NamedTuple):
    """The score of a run, and the content of its result.json."""

    evaluation: Evaluation
    content: dict[str, Any]


def score(prepared: Prepared, fitted: FitResult, directory: Path, *, progress: Progress = None) -> Scored:
    """Scores the test rows and writes result.json; for a mixture, also how well components agree with labels."""
    flow, size, test = prepared.flow, prepared.recipe.train.eval_batch_size, prepared.test
    started = time.perf_counter()
    found = scored(flow, fitted.variables, test, size, seed=SCORE_SEED, progress=progress)
    seconds = time.perf_counter() - started

    def write() -> dict[str, Any]:
        content = content_of(found, fitted, _metrics(directory), prepared, seconds)
        if clusters.NAME in flow.reports:
            rows = prepared.recipe.data.load("train")  # each once, with all labels, which training may not see
            of_training = clusters.report_on(flow, fitted.variables, first_rows(rows), size)
            shared = clusters.summary(clusters.report_on(flow, fitted.variables, test, size))
            content["mixture"] = shared | clusters.of_training(of_training, len(rows))
        write_json(directory / "result.json", content)
        return content

    content = together.gathered(together.by_first("run", write))[0]
    return Scored(found, content)


def first_rows(data: Data) -> Data:
    """The training rows by whose score a run is chosen: the first 20,000 of them, or the first 2,000 images."""
    return data.take(np.arange(min(len(data), SCORED_IMAGES if data.kind.has_pixels else SCORED_ROWS)))


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
    """The score of all rows by `jflows.eval.evaluate`, with progress on stderr unless `progress` is False."""
    batches = batches_of(data, batch_size, flow)
    shown = contextlib.nullcontext() if progress is False else counting("evaluating", len(data), data.kind.rows)
    with shown as on_batch:
        return evaluate(flow, variables, batches, jax.random.key(seed), num_draws, on_batch)


def report(
    prepared: Prepared, variables: Variables, evaluation: Evaluation, directory: Path, *, draw: bool = True
) -> list[str]:
    """Writes the reports of the flow, and returns the names of their files.

    Pictures show rows of a table that were drawn by their weights, and images of positive weight.
    """
    flow, test = prepared.flow, prepared.test
    shown = (prepared.data if len(test) < test.fewest_shown else test).as_shown(KEY_SEED)
    metrics = _metrics(directory)
    if prepared.recipe.objective.unit != "nats":  # then the loss of training steps has no place among likelihoods
        metrics = [{name: value for name, value in entry.items() if name != "loss"} for entry in metrics]
    material = Material(flow, variables, as_read(shown, flow), metrics, evaluation, directory)
    return write_reports(material, None if draw else ("learning_curve",))


def _metrics(directory: Path) -> list[dict[str, float]]:
    """The metrics of a run; none if the flow was fitted in memory, so that the directory is not that of a run."""
    return read_metrics(directory) if (directory / "config.json").is_file() else []
