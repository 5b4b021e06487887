"""What measures of out-of-distribution rows need of runs: their checks, and the evidence, computed once for all.

Read next: `jflows/eval/ood`, the measures; `jflows/runs/scores_of_run.py`, whose `ood_scores` uses this.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import InvalidValueError
from jflows.eval.ood import Evidence, Measure, base_norms, latent_norms
from jflows.eval.ood.base import BACKGROUND, ENSEMBLE, IMAGES, LATENT, TRAINING
from jflows.runs.data import as_read

if TYPE_CHECKING:
    from jflows.runs.scores_of_run import ScoresOfRun

FILE = "measures.csv"
BASE_DRAWS = 4096  # of the base, which put the mean of their norms within 1/64 of a deviation
BASE_STREAM = 0x62617365  # folded into the key, so that these draws are not the noise of rows
_RUN_OF = {BACKGROUND: "background", ENSEMBLE: "ensemble"}  # needs -> the setting that names runs for them
_ASK = {BACKGROUND: "the run of a background", ENSEMBLE: "further runs, trained from other seeds"}


def needs_of(measures: Sequence[Measure]) -> set[str]:
    """All that these measures need, see `jflows.eval.ood.base.NEEDS`."""
    return {need for measure in measures for need in measure.needs}


def check_measures(
    run: "ScoresOfRun",
    measures: Sequence[Measure],
    background: "ScoresOfRun | None",
    ensemble: Sequence["ScoresOfRun"],
) -> None:
    """Raises `InvalidValueError` unless these runs give what the measures need; nothing is compiled for it."""
    if not measures or len({measure.name for measure in measures}) < len(measures):
        rule = "must name at least one measure, and none twice"
        raise InvalidValueError("score", "measure", rule, ", ".join(measure.name for measure in measures) or "none")
    for measure in measures:
        measure.check(run.density)
        if measure.rows_per_value > 1 and len(measures) > 1:
            rule, fix = "must be 1 beside other measures, which judge single rows", "Choose this {measure} alone."
            raise InvalidValueError("score", "group", rule, measure.rows_per_value, fix)
    needed = needs_of(measures)
    given = {BACKGROUND: () if background is None else (background,), ENSEMBLE: tuple(ensemble)}
    for need, setting in _RUN_OF.items():
        names = ", ".join(measure.name for measure in measures)
        if need in needed and not given[need]:
            rule, fix = f"must be given for {names}: it takes {_ASK[need]}", f"Name a run by {{{setting}}}."
            raise InvalidValueError("score", setting, rule, None, fix)
        if given[need] and need not in needed:
            rule, fix = f"is not for {names}, which would ignore it", "Leave it out."
            raise InvalidValueError("score", setting, rule, str(given[need][0].directory), fix)
        for other in given[need]:
            _check_comparable(run, other, setting)
    members = [member.directory.resolve() for member in (run, *ensemble)]
    if len(set(members)) < len(members):
        rule = "must be other runs than the scored one, and each once"
        raise InvalidValueError("score", "ensemble", rule, ", ".join(str(member.directory) for member in ensemble))


def _check_comparable(run: "ScoresOfRun", other: "ScoresOfRun", setting: str) -> None:
    """Raises unless log densities of two runs are of the same rows in the same units."""
    own, its = run.density.reading, other.density.reading
    columns = tuple(run.stored.facts.get("columns", ())), tuple(other.stored.facts.get("columns", ()))
    for what, mine, theirs in (
        ("kind of data", own.kind, its.kind),
        ("shape", own.event_shape, its.event_shape),
        ("number of bits", own.num_bits, its.num_bits),
        ("columns", *columns),
    ):
        if mine != theirs:
            rule = f"must be of a density of the same {what} as the run, {_shown(mine)}"
            fix = (
                f"Train it on the same data{' with {num_bits=' + str(mine) + '}' if what == 'number of bits' else ''}."
            )
            raise InvalidValueError("score", setting, rule, f"{other.directory} with {_shown(theirs)}", fix)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) and value and isinstance(value[0], str) else str(value)


def gather(
    run: "ScoresOfRun",
    data_sets: Sequence[Data],
    measures: Sequence[Measure],
    background: "ScoresOfRun | None",
    ensemble: Sequence["ScoresOfRun"],
    **options: Any,
) -> Iterator[Evidence]:
    """The evidence for the measures, for each data set; what several measures need is computed once.

    Args:
      options: num_draws, batch_size, seed and progress, as of `ScoresOfRun.scores`.
    """
    needed, training, weight = needs_of(measures), None, None
    if TRAINING in needed:
        rows = _training_rows(run, max(measure.training_rows for measure in measures), options["seed"])
        training, weight = run.log_densities(rows, **options), rows.weight
    for data in data_sets:
        log_prob = run.log_densities(data, **options)
        found = Evidence(log_prob, run.density.num_dims, training, weight)
        if background is not None:
            found = found._replace(background=background.log_densities(data, **options))
        if ensemble:
            others = [other.log_densities(data, **options) for other in ensemble]
            found = found._replace(ensemble=np.stack([log_prob, *others]))
        if LATENT in needed:
            norms, drawn = _norms(run, data, options["batch_size"], options["seed"])
            found = found._replace(norms=norms, base_norms=drawn)
        if IMAGES in needed:
            found = found._replace(images=as_read(data, run.density).x)
        yield found


def _norms(run: "ScoresOfRun", data: Data, batch_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The norms of the latents of rows, and of draws of the base."""
    density: Any = run.density  # which has one latent space: `check_measures` has seen to it
    key, reading = jax.random.key(seed), density.reading.beyond_support()
    alike = data if data.weight is None else data.take(np.arange(len(data)), weight=None)
    norms = latent_norms(density, run.variables, eval_batches(alike, batch_size, reading), key)
    own, key = reading.context_of(data), jax.random.fold_in(key, BASE_STREAM)
    return np.concatenate(list(norms)), base_norms(density, run.variables, key, BASE_DRAWS, own)


def _training_rows(run: "ScoresOfRun", num: int, seed: int) -> Data:
    """`num` rows of the run's training part that count, drawn at random, or all if there are fewer."""
    rows = run.data(split="train")
    if not rows.kind.has_rows:
        rule, fix = "must not need training rows of a run without data", "Choose another {measure}."
        raise InvalidValueError("score", "measure", rule, f"{run.directory}, trained without", fix)
    rows = rows.counted()
    if len(rows) <= num:
        return rows
    return rows.take(np.sort(np.random.RandomState(seed % 2**32).permutation(len(rows))[:num]))
