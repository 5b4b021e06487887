"""`content_of`: what result.json holds: the score on the test rows, with steps, times, versions and the recipe."""

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jflows._version import __version__
from jflows.eval import Evaluation
from jflows.runs.stored import StoredRecipe
from jflows.train import FitResult

if TYPE_CHECKING:
    from jflows.runs.running import Prepared


def content_of(
    score: Evaluation, fitted: FitResult, metrics: Sequence[Mapping[str, float]], prepared: "Prepared", seconds: float
) -> dict[str, Any]:
    """The content of result.json. `train_seconds` adds up all parts of a run that was stopped and resumed, each with
    its compilation; `evaluated_step` is that of the best validation, or the last one.

    Args:
      metrics: the lines of metrics.jsonl, none for a flow that was fitted in memory.
      seconds: what scoring took.
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
        "effective_num_test": score.effective_examples,
        "unit": prepared.flow.unit.key,
        "steps": int(fitted.state.step),
        "planned_steps": prepared.steps,
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
