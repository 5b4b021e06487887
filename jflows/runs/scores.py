"""Scores of single rows: computed a batch at a time, checked, and written.

Read next: `jflows/runs/scores_of_run.py`, whose methods use this; `jflows.eval.auroc` compares scores.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import DataError
from jflows.eval import row_scores
from jflows.flows import Density
from jflows.runs.files import saving
from jflows.train.progress import counting
from jflows.typing import Variables

FILE = "scores.csv"
NAMES = {"nats": "log_prob_nats", "bits_per_dim": "bits_per_dim"}  # of scores, by the unit of the density
NAMED_ROWS = 5  # at most, in an error about rows


def scores_of(
    density: Density,
    variables: Variables,
    data: Data,
    batch_size: int,
    *,
    num_draws: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> np.ndarray:
    """The score of every row, see `TrainedRun.scores`; beside the data, memory holds one number a row, and a batch."""
    alike = data.take(np.arange(len(data)), weight=None) if data.weight is not None else data
    batches, key = eval_batches(alike, batch_size, density.reading.beyond_support()), jax.random.key(seed)
    shown = contextlib.nullcontext() if progress is False else counting("scoring", len(data), data.kind.rows)
    found, done = np.empty(len(data)), 0
    with shown as on_batch:
        for part in row_scores(density, variables, batches, key, num_draws):
            found[done : done + len(part)] = part
            done += len(part)
            if on_batch is not None:
                on_batch(done)
    bad = np.flatnonzero(np.isnan(found))
    if bad.size:
        rows = ", ".join(map(str, bad[:NAMED_ROWS])) + (", ..." if bad.size > NAMED_ROWS else "")
        rule, fix = "must have no row whose score is NaN", "Leave these rows out, or choose another {checkpoint}."
        raise DataError("score", "data", rule, f"{bad.size} of {len(data):,} in {data.name!r}: rows {rows}", fix)
    return found


def save_scores(found: np.ndarray, density: Density, path: Path) -> None:
    """Writes one score a line, below its name, as .csv."""
    save_columns({NAMES[density.unit.key]: found}, path)


def save_columns(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes columns of one length below their names, as .csv."""
    with saving(path) as partial:
        np.savetxt(partial, np.stack([*columns.values()], axis=1), "%.9g", ",", header=",".join(columns), comments="")
