"""`recalibrate_run`: a run whose base is fitted anew to embedded data, written as a run of its own."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import optax

from jflows.data import Data, eval_batches
from jflows.errors import InvalidValueError, check_choice
from jflows.eval.latent_tests import latents_of
from jflows.eval.recalibration import KINDS, Recalibration, recalibrate
from jflows.flows import Flow
from jflows.options import Seed, checked
from jflows.runs.data import as_read
from jflows.runs.directory import RunDirectory
from jflows.runs.files import check_empty
from jflows.runs.stored import RECALIBRATED
from jflows.runs.trained import TrainedRun
from jflows.train.monitor import Standing
from jflows.train.step import init_state

BATCH = 250  # rows per call
AUTO = "auto"


class RecalibratedRun(NamedTuple):
    """The result of `recalibrate_run`.

    Attributes:
      found: the base that was chosen, and what each is worth.
      num_fitted, num_held_out: numbers of rows to which bases were fitted, and by which one was chosen.
      split: which rows they were: validation, or train where the run has no validation rows.
      path: the directory that was written; None if the flow's own base was kept.
    """

    found: Recalibration
    num_fitted: int
    num_held_out: int
    split: str
    path: Path | None


@checked
def recalibrate_run(trained: TrainedRun, out: Path, *, base: str = AUTO, seed: Seed = 0) -> RecalibratedRun:
    """Fits bases to the latents of a run's rows, and writes the flow with the chosen one into a directory of its own.

    Validation rows are taken, which the flow was not trained on, or training rows where the run has no others; half of
    them, by the seed, choose the base. The directory is one of a run that is evaluated and sampled from like any other,
    but cannot be trained further; it holds the averaged weights.

    Args:
      trained: an opened run, see `jflows.eval.recalibrate` for the flows that suit.
      out: an unused directory.
      base: a kind of base, or "auto" for the one that held-out rows follow best.
      seed: seed of the noise of dequantization and of the halves.
    Raises:
      InvalidValueError, DataError: if the flow, or its rows, do not suit.
      RunError: if the directory is in use.
    """
    check_choice("recalibrate", "base", base, (AUTO, *KINDS))
    check_empty("recalibrate", out)
    density = trained.density
    if not density.encodes:
        rule = "must be that of a flow: a mixture of flows has no single latent space"
        raise InvalidValueError("recalibrate", "run", rule, None, "Train a flow.")
    flow, split = cast(Flow, density), "validation" if trained.stored.recipe.data.num_validation else "train"
    rows = as_read(trained.data(split=split), density)
    if rows.weight is not None:
        raise InvalidValueError("recalibrate", "run", "must be of rows that count alike", "rows with weights")
    if flow.context_shape is not None:
        rule = "must be of a flow without a context: its base would have to be fitted for each"
        raise InvalidValueError("recalibrate", "run", rule, f"context_shape={flow.context_shape}")
    order = np.random.RandomState(seed % 2**32).permutation(len(rows))
    z = latents_of(flow, trained.variables, eval_batches(rows, BATCH, flow.reading), jax.random.key(seed))[order]
    half = len(rows) // 2
    kinds = None if base == AUTO else (base,)
    found = recalibrate(flow, trained.variables, z[:half], z[half:], kinds, _labels(rows, order[:half], base))
    path = _written(trained, found, out) if found.flow != flow else None
    return RecalibratedRun(found, half, len(rows) - half, split, path)


def _labels(rows: Data, chosen: np.ndarray, base: str) -> np.ndarray | None:
    """The classes of rows, unless none was asked for and some class has too few of them."""
    if rows.label is None:
        return None
    label = np.asarray(rows.label)[chosen]
    number, counts = np.unique(label, return_counts=True)
    suits = number[0] >= 0 and len(number) > 1 and counts.min() > 1
    return label if suits or base == "classes" else None


def _written(trained: TrainedRun, found: Recalibration, out: Path) -> Path:
    facts = {**trained.stored.facts, RECALIBRATED: {"run": str(trained.directory), "base": found.kind}}
    config: dict[str, Any] = trained.stored._replace(facts=facts).to_json()
    directory = RunDirectory.create(out, found.flow, config)
    state = init_state(found.variables, optax.identity(), jax.random.key(0))
    directory.save(0, state, Standing())
    return directory.path
