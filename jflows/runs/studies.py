"""`study`: several runs of one recipe that answer one question: restarts, folds, a sweep of options, an ensemble.

    jflows.run("vmonf_pinwheel", restarts=5)                              which seed found the best optimum
    jflows.run("made_red_wine", folds=10)                                 the score over all ten folds
    jflows.run("realnvp", data="two_moons", sweep=("num_layers", (1, 2, 4)))    what an option is worth
    jflows.run("realnvp", data="two_moons", sweep={"num_layers": (1, 2), "seed": (0, 1, 2)})    the same over seeds
    jflows.run("maf_power", ensemble=5)                                   five seeds at once, and their mixture

Every run gets a directory of its own inside that of the study, so that each can be evaluated or sampled from. Restarts
and sweeps choose the run with the best score on training rows; neither labels nor test rows take part in choosing. A
study that goes on (`resume=True`) may have more values than before: it trains the runs that are missing.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jflows.data import KNOWN, Data
from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.eval import Evaluation, evaluate
from jflows.processes import together
from jflows.runs.baselines import mixture_baseline
from jflows.runs.data import batches_of
from jflows.runs.ensembles import STUDY_FILE, run_together, write_mixture
from jflows.runs.files import write_json
from jflows.runs.recipe import Recipe, changes_what_is_scored
from jflows.runs.reports import clusters
from jflows.runs.running import SCORE_SEED, Progress, RunResult, first_rows, run_once
from jflows.runs.study_figures import SEED, draw_study

MOST_RUNS = 1000
DIGITS = 4  # of the numbers in study.json
FILE = STUDY_FILE
Sweep = tuple[str, Sequence[Any]] | Mapping[str, Sequence[Any]]
"""An option and its values, or several options with the values of each."""


class Member(NamedTuple):
    """One run of a study: its label, such as {"seed": 1}, and its recipe."""

    label: dict[str, Any]
    recipe: Recipe


def study(
    name: str,
    recipe: Recipe,
    directory: Path,
    restarts: int = 1,
    folds: int = 0,
    sweep: Sweep | None = None,
    ensemble: int = 1,
    resume: bool = False,
    progress: Progress = None,
) -> RunResult:
    """Trains all runs of a study, and writes study.json and one figure of all runs.

    Args:
      name, recipe: the name of the config, and its recipe with all options.
      directory: the directory of the study; each run has a folder in it.
      restarts, folds, sweep, ensemble: see `jflows.run`; exactly one of them must be given.
      resume: go on with a study that was stopped, or that has more values now; finished runs are not trained again.
      progress: whether to show a bar or lines on stderr; None shows them on a terminal and in a notebook.
    Returns:
      The result of the chosen run, with the content of study.json. For folds, the score is the mean over folds, with
      its standard error over folds, and the flow is that of the first fold. For an ensemble, it is that of the mixture.
    Raises:
      InvalidValueError: if not exactly one of the four is given, or the option to sweep is unknown.
    """
    kind, members = members_of(recipe, restarts, folds, sweep, ensemble)
    _check_members(members)
    train = _trained_together if kind == "ensemble" else _one_by_one
    rows, results, labels = [], [], []
    for member, result in zip(members, train(name, kind, members, directory, resume, progress), strict=False):
        if isinstance(result, RunError):
            rows.append({**member.label, "error": str(result)})
            continue
        if result.interrupted:
            return result
        results.append(result)
        labels.append(member.label)
        rows.append({**member.label, **_row(result, kind)})
    scores = [row for row in rows if "error" not in row]
    best = 0 if kind == "folds" else _best(kind, scores)
    chosen = results[best]
    content = {"study": kind, "chosen": labels[best] if kind != "folds" else None, **_mean(rows, kind)}
    score = _over_folds(results) if kind == "folds" else chosen.score
    if kind == "ensemble" and len(results) > 1:
        score = write_mixture(results, directory, name, progress)
        content |= dict(
            zip(("score", "standard_error"), map(_rounded, _score_of(score, chosen.flow.unit.key)), strict=True)
        )
    if clusters.NAME in chosen.flow.reports:
        content["gaussian_mixture"] = _gaussian_mixture(chosen)
    content |= _over_seeds(labels, scores)
    content |= {"unit": chosen.flow.unit.key, "runs": rows, "config": {"config": name, **recipe.to_json()}}

    def write() -> list[str]:
        write_json(directory / FILE, content)
        return [FILE, *draw_study(kind, labels, results, scores, best, directory)]

    files = together.by_first("run", write) or ()
    return RunResult(directory, chosen.recipe, chosen.flow, chosen.fitted, score, content, tuple(files))


def _one_by_one(
    name: str, kind: str, members: list[Member], directory: Path, resume: bool, progress: Progress
) -> Iterator[RunResult]:
    """The results of runs that are trained one after the other, until one is interrupted."""
    for member in members:
        place = _place(directory, member)
        going_on = resume and (place / "config.json").is_file()
        try:
            yield run_once(name, member.recipe, place, resume=going_on, progress=progress, draw=False)
        except InvalidValueError as error:
            if kind != "folds" or error.settings != ("fold",):
                raise
            raise InvalidValueError("run", "folds", error.rule, len(members), "Leave it out.") from error


def _trained_together(
    name: str, kind: str, members: list[Member], directory: Path, resume: bool, progress: Progress
) -> list[RunResult | RunError]:
    """The results of runs that are trained at once."""
    places = [_place(directory, member) for member in members]
    return run_together(name, [member.recipe for member in members], places, resume, progress)


def _place(directory: Path, member: Member) -> Path:
    """The directory of one run of a study."""
    return directory / "_".join(f"{key}_{_word(value)}" for key, value in member.label.items())


def _best(kind: str, rows: list[dict[str, Any]]) -> int:
    """The run with the best score on training rows; one without a finite score is never chosen."""
    finite = [index for index, row in enumerate(rows) if math.isfinite(row["train_score"])]
    if not finite:
        got = ", ".join(str(row["train_score"]) for row in rows)
        raise RunError("run", kind, "must have a run with a finite score on training rows", got)
    return max(finite, key=lambda index: rows[index]["train_score"])


def members_of(
    recipe: Recipe, restarts: int, folds: int, sweep: Sweep | None, ensemble: int = 1
) -> tuple[str, list[Member]]:
    """The kind of a study, "restarts", "folds", "sweep" or "ensemble", and its runs."""
    for name, value in (("restarts", restarts), ("folds", folds), ("ensemble", ensemble)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidTypeError("run", name, "must be a whole number", repr(value))
    given = {"restarts": restarts != 1, "folds": folds, "sweep": sweep is not None, "ensemble": ensemble != 1}
    asked = [name for name, is_given in given.items() if is_given]
    if len(asked) != 1:
        fix = "Choose one of them; a sweep may have values of seed."
        raise InvalidValueError("run", tuple(asked), "must not be asked for together", None, fix)
    for name, value in (("restarts", restarts), ("folds", folds or 1), ("ensemble", ensemble)):
        if not 1 <= value <= MOST_RUNS:
            raise InvalidValueError("run", name, f"must be 1 to {MOST_RUNS}", repr(value))
    if folds:
        return "folds", [Member({"fold": fold}, recipe.with_options(fold=fold)) for fold in range(folds)]
    if sweep is None:
        seeds = range(recipe.train.seed, recipe.train.seed + max(restarts, ensemble))
        return asked[0], [Member({"seed": seed}, recipe.with_options(seed=seed)) for seed in seeds]
    return "sweep", _swept(recipe, sweep)


def _swept(recipe: Recipe, sweep: Sweep) -> list[Member]:
    """One run for each value of an option, or for each combination of the values of several."""
    fix = 'Write sweep=("num_layers", (1, 2, 3)), or sweep={"num_layers": (1, 2), "seed": (0, 1)}.'
    pairs = list(sweep.items()) if isinstance(sweep, Mapping) else [sweep]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise InvalidTypeError("run", "sweep", "must be the name of an option and its values", repr(sweep), fix)
    for option, values in pairs or [("", ())]:
        if not isinstance(values, list | tuple | range) or not values:
            raise InvalidValueError("run", "sweep", "must hold at least one value", repr(values), fix)
        if len({_word(value) for value in values}) < len(values):
            raise InvalidValueError("run", "sweep", "must hold different values", repr(values))
        declared = recipe.options().get(option.replace("__", "."))
        if declared is not None and changes_what_is_scored(declared.name, declared.group):
            rule = "must not be an option that changes what is scored, as the scores would not compare"
            raise InvalidValueError("run", "sweep", rule, repr(option), "Run them one by one.")
    num_runs = math.prod(len(values) for _, values in pairs)
    if num_runs > MOST_RUNS:
        raise InvalidValueError("run", "sweep", f"must make at most {MOST_RUNS} runs", num_runs, "Give fewer values.")
    names = [option for option, _ in pairs]
    labels = [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(values for _, values in pairs))]
    return [Member(label, recipe.with_options(**label)) for label in labels]


def _check_members(members: list[Member]) -> None:
    """Raises before the first run is trained if the flow of any run does not fit its data.

    Data in files are not loaded for it: they are checked when the run that takes them begins.
    """
    for member in members:
        data = member.recipe.data
        if data.name in KNOWN:
            member.recipe.build(data.outline())


def train_score(result: RunResult, data: Data) -> float:
    """The score by which a run is chosen, in nats: the mean ELBO of a mixture, or else the mean log-likelihood.

    Args:
      data: training rows, of which the first 20,000 are scored, or the first 2,000 images; the bound of a mixture is in
        its result already.
    """
    if "mixture" in result.result:
        return result.result["mixture"]["train_elbo"]
    flow, size = result.flow, result.recipe.train.eval_batch_size
    return evaluate(flow, result.variables, batches_of(first_rows(data), size, flow), jax.random.key(SCORE_SEED)).nats


def _row(result: RunResult, kind: str) -> dict[str, Any]:
    """A run in study.json: the score on test rows, and that on training rows where runs are chosen by it."""
    assert result.score is not None
    content = result.result
    row: dict[str, Any] = {} if kind == "folds" else {"train_score": _rounded(train_score(result, _train_rows(result)))}
    score, error = _score_of(result.score, result.flow.unit.key)
    row |= {"score": _rounded(score), "standard_error": _rounded(error), "step": content["evaluated_step"]}
    row |= {"num_parameters": content["num_parameters"], "seconds": content["train_seconds"]}
    return row | dict(content.get("mixture", {}))


def _gaussian_mixture(result: RunResult) -> dict[str, Any] | None:
    """The scores of a Gaussian mixture with the same number of components on the same rows."""
    data = result.recipe.data
    return mixture_baseline(data.load("train"), data.load("test"), result.flow.reading.num_classes or 1)


def _train_rows(result: RunResult) -> Data:
    return result.recipe.data.load("train")


def _score_of(score: Evaluation, unit: str) -> tuple[float, float]:
    return (score.nats, score.nats_standard_error) if unit == "nats" else (score.bits_per_dim, score.standard_error)


def _mean(rows: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The mean over folds and its standard error; empty for any other study."""
    if kind != "folds":
        return {}
    scores = [row["score"] for row in rows]
    error = float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else None
    return {"score": _rounded(float(np.mean(scores))), "standard_error": None if error is None else _rounded(error)}


def _over_seeds(labels: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For a sweep with values of seed beside other options: mean and deviation of the score of each combination."""
    if SEED not in labels[0] or len(labels[0]) == 1:
        return {}
    groups: dict[tuple[Any, ...], list[float]] = {}
    names = [name for name in labels[0] if name != SEED]
    for label, row in zip(labels, rows, strict=True):
        groups.setdefault(tuple(label[name] for name in names), []).append(row["score"])
    found = []
    for values, scores in groups.items():
        deviation = _rounded(float(np.std(scores, ddof=1))) if len(scores) > 1 else None
        score = {"score": _rounded(float(np.mean(scores))), "deviation": deviation, "num_runs": len(scores)}
        found.append({**dict(zip(names, values, strict=True)), **score})
    return {"over_seeds": found}


def _over_folds(results: list[RunResult]) -> Evaluation:
    """The mean scores over folds, with the standard error over folds (NaN if there is only one)."""
    scores = [result.score for result in results if result.score is not None]
    over: Callable[[str], np.ndarray] = lambda name: np.array([getattr(score, name) for score in scores])
    error = lambda name: float(np.std(over(name), ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else float("nan")
    return Evaluation(
        float(over("bits_per_dim").mean()),
        error("bits_per_dim"),
        float(over("nats").mean()),
        error("nats"),
        int(over("num_examples").sum()),
        float(over("effective_examples").sum()),
    )


def _word(value: Any) -> str:
    """A value as part of the name of a folder."""
    return "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value).replace("/", "-")


def _rounded(value: float) -> float:
    return round(value, DIGITS)
