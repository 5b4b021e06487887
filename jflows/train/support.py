"""`check_support`: before the first step, rows outside of a flow's support are refused by row, column and layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors.base import OUTSIDE
from jflows.data import Data, eval_batches
from jflows.errors import DataError
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.typing import Array, Batch, Key, Variables

COLUMNS = 1024  # most columns that are tried one by one, to name the one at fault


def check_support(flow: Density, variables: Variables, data: Data, key: Key, batch_size: int, what: str) -> None:
    """Raises `DataError` if the density of a row is 0, as its loss would be infinite and its gradient 0.

    The check is one pass over the rows; it is left out where a density is positive everywhere.

    Args:
      variables: the variables with which training starts.
      batch_size: rows scored per call.
      what: name of the data in the message, such as "data" or "validation".
    """
    if not flow.is_restricted or data.x is None:
        return
    score = jax.jit(functools.partial(_log_prob, flow))
    bad, good, num_bad = None, None, 0
    for batch in eval_batches(data, batch_size, flow.reading):
        outside = np.isneginf(np.asarray(score(variables, batch, key)))
        rows = np.flatnonzero(outside & (batch.weight > 0))
        num_bad += len(rows)
        bad = _row(batch, rows[0]) if bad is None and len(rows) else bad
        good = _row(batch, np.flatnonzero(~outside)[0]) if good is None and not outside.all() else good
    if bad is None:
        return
    column, value = _column(score, variables, bad, good, key)
    place = "" if column is None else f", column {data.columns[column]!r}: {value:.6g}"
    got = f"row {int(bad.index[0])}{place} ({num_bad} such {'row' if num_bad == 1 else 'rows'})"
    rule = f"must lie where the density is positive, which ends {_layers(flow, variables, bad, key)}"
    fix = "Remove these rows, move the values inside, or choose a map for this column that includes them."
    raise DataError("fit", what, rule, got, fix)


def _log_prob(flow: Density, variables: Variables, batch: Batch, key: Key) -> Array:
    return flow.log_prob(variables, batch.x, batch.context, example_keys(key, batch.index) if flow.needs_key else None)


def _row(batch: Batch, position: int) -> Batch:
    return jax.tree.map(lambda leaf: leaf[position : position + 1], batch)


def _column(score, variables: Variables, bad: Batch, good: Batch | None, key: Key) -> tuple[int | None, float]:
    """The first column whose value alone, put into a good row, takes it out of the support; None if none does."""
    num = bad.x.shape[-1]
    if good is None or num > COLUMNS:
        return None, 0.0
    several = jax.tree.map(lambda leaf: np.repeat(leaf, num, axis=0), good)
    mixed = np.where(np.eye(num, dtype=bool), bad.x, several.x)
    outside = np.flatnonzero(np.isneginf(np.asarray(score(variables, several._replace(x=mixed), key))))
    return (None, 0.0) if not len(outside) else (int(outside[0]), float(bad.x[0, outside[0]]))


def _layers(flow: Density, variables: Variables, bad: Batch, key: Key) -> str:
    """The layers that the row is outside of, in words."""
    keys = example_keys(key, jnp.asarray(bad.index)) if flow.needs_key else None
    found = flow.recorded(variables, jnp.asarray(bad.x), bad.context, keys)
    layers = [path[: -len(OUTSIDE) - 1] for path, outside in found.items() if path.endswith(f"/{OUTSIDE}")]
    layers = [path for path in layers if np.any(found[f"{path}/{OUTSIDE}"])]
    return f"at the layer {', '.join(layers)}" if layers else "at the base"
