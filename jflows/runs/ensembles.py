"""Ensembles: runs of one recipe from seeds that follow each other, trained at once, and their mixture as a run.

    runs/NAME/seed_0, seed_1, ...   the members, each a complete run that every command reads
    runs/NAME/ensemble              the mixture of all members with equal weights, as a run that is not trained further
    runs/NAME/study.json            the scores of the members, and that of the mixture

The density of the mixture is the mean of those of its members, log p(x) = logmeanexp_k log p_k(x), see
`jflows.flows.MixtureOfFlows`. Read next: `jflows/train/ensemble.py`, which trains; `jflows/runs/studies.py`.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from jflows.errors import InvalidValueError, RunError
from jflows.eval import Evaluation
from jflows.flows import Flow, MixtureOfFlows
from jflows.runs.directory import RunDirectory, alone_in
from jflows.runs.files import read_json
from jflows.runs.recipe import Recipe
from jflows.runs.running import Prepared, Progress, RunResult, finished, prepare, recorder_of, scored
from jflows.runs.stored import ENSEMBLE, StoredRecipe
from jflows.train import FitResult, fit_ensemble, init_state
from jflows.train.checkpoint import check_unused
from jflows.train.monitor import Standing

FOLDER = "ensemble"
STUDY_FILE = "study.json"


def run_together(
    name: str, recipes: Sequence[Recipe], places: Sequence[Path], resume: bool, progress: Progress
) -> list[RunResult | RunError]:
    """Trains, scores and reports the members of an ensemble; a member that failed has its error in its place.

    Args:
      recipes, places: the recipe and the directory of each member; recipes differ in their seeds alone.
    Raises:
      InvalidValueError: if the recipe is one of a mixture, whose mixtures are not written as runs, or the ensemble that
        goes on has other members.
      RunError: if a directory is in use, or every member failed.
    """
    first = prepare(recipes[0], name)
    if not first.flow.encodes:
        rule, fix = "must be of flows, not of mixtures of flows", "Train {restarts}, or call jflows.train.fit_ensemble."
        raise InvalidValueError("run", "ensemble", rule, name, fix)
    members = [_with_seed(first, recipe) for recipe in recipes]
    if resume:
        _check_members(places)
    else:
        for place in places:
            check_unused(place)
    with contextlib.ExitStack() as held:
        for place in places:
            held.enter_context(alone_in(place))
        pairs = list(zip(members, places, strict=True))
        recorders = [recorder_of(own, place, resume and (place / "config.json").is_file()) for own, place in pairs]
        options: Any = {"validation": first.validation, "loss": first.recipe.objective, "progress": progress}
        data = [own.data for own in members]
        try:
            fitted = fit_ensemble(first.flow, data, recipes[0].train, len(recipes), runs=recorders, **options)
        except RunError as error:
            if error.settings != ("runs",):
                raise
            raise error.renamed(runs="ensemble").at("run") from None
        return [
            finished(own, outcome, place, progress=progress, draw=False) if isinstance(outcome, FitResult) else outcome
            for (own, place), outcome in zip(pairs, fitted, strict=True)
        ]


def write_mixture(results: Sequence[RunResult], directory: Path, name: str, progress: Progress) -> Evaluation:
    """Writes the mixture of trained members as a run, and returns its score on the test rows."""
    prepared = prepare(results[0].recipe, name)
    flow = cast(Flow, prepared.flow)
    mixture = MixtureOfFlows((flow,), len(results))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(result.variables for result in results))
    variables = {collection: {"components": tree} for collection, tree in stacked.items()}
    facts = {**prepared.facts, ENSEMBLE: {"run": ", ".join(str(result.directory) for result in results)}}
    path = directory / FOLDER
    shutil.rmtree(path, ignore_errors=True)  # of an ensemble that goes on
    run = RunDirectory.create(path, mixture, StoredRecipe(name, prepared.recipe, facts).to_json())
    run.save(0, init_state(variables, optax.identity(), jax.random.key(0)), Standing())
    size = prepared.recipe.train.eval_batch_size
    return scored(mixture, variables, prepared.test, size, progress=progress)


def _check_members(places: Sequence[Path]) -> None:
    """Raises `InvalidValueError` if the ensemble that goes on has other members.

    study.json lists the members of one that ended. Of one that was killed, members that have saved nothing yet do not
    count, as the kill may have come between the first checkpoints of two of them.
    """
    directory, own = places[0].parent, {place.name for place in places}
    saved = {path.parents[1].name for path in directory.glob("seed_*/checkpoints/*") if path.name.isdecimal()}
    is_whole = (directory / STUDY_FILE).is_file()
    if is_whole:
        fix = "Remove it; `train --resume` writes it anew."
        saved = {f"seed_{row.get('seed')}" for row in read_json("run", "out", directory / STUDY_FILE, fix=fix)["runs"]}
    if saved - own or (is_whole and own - saved):
        seeds = ", ".join(sorted((name.removeprefix("seed_") for name in saved), key=lambda seed: (len(seed), seed)))
        got = f"{len(places)} members from {places[0].name.replace('_', ' ')} on"
        fix = "Use {ensemble} and {seed} of the ensemble, or train into another directory."
        raise InvalidValueError("run", "ensemble", f"must have the members of the directory, seeds {seeds}", got, fix)


def _with_seed(prepared: Prepared, recipe: Recipe) -> Prepared:
    """The same run from another seed, which may choose other rows that keep their labels."""
    recipe = dataclasses.replace(recipe, data=prepared.recipe.data)
    data, takes_labels = prepared.data, recipe.objective.takes_labels
    if takes_labels:
        data = recipe.data.for_training(recipe.data.load("train"), takes_labels, recipe.train.seed)
    return prepared._replace(recipe=recipe, data=data)
