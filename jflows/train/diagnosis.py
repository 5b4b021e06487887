"""Diagnoses of steps that were not finite, and of the error of invertible back-propagation.

A step that goes well does not pass through this module.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import RunError
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.testing import find_non_finite
from jflows.train.losses import Loss
from jflows.train.step import TrainState
from jflows.typing import Array, Batch, PyTree, Variables

EXAMPLES = 16  # rows that are rebuilt, or shown to every layer


def cause_of(flow: Density, loss: Loss, state: TrainState, batch: Batch, step: int, num_rows: int) -> str:
    """Where a step stopped being finite, in words: the row, the column and the layer, as far as they can be found.

    The search for the layer clears JAX's caches, so that functions called afterwards compile again.

    Args:
      state: the state before the step, or some steps later.
      batch: the batch of that step.
      num_rows: number of training rows; the visit number of a row, modulo this, is its place in the data.
    """
    recall = jax.jit(functools.partial(loss.recall, flow))
    batch, _ = recall(state.variables, state.memory, loss.select(_on_device(batch), step), state.key, step)
    per_row, of_x, of_params = jax.jit(functools.partial(_probe, flow, loss))(state, batch, step)
    row_of = lambda position: f"row {int(batch.index[position]) % num_rows} of the training data"
    bad_rows = np.flatnonzero(~np.isfinite(per_row))
    if bad_rows.size:
        place = row_of(bad_rows[0]) + _column(None if of_x is None else np.asarray(of_x[bad_rows[0]]))
        layer = find_non_finite(loss, flow, state.variables, batch, state.key, step)
        return f"the loss is not finite at {place}" + (f", first in {layer}" if layer else "")
    if of_x is not None and not np.all(np.isfinite(of_x)):
        by_row = np.asarray(of_x).reshape(len(of_x), -1)
        position = np.flatnonzero(~np.isfinite(by_row).all(axis=1))[0]
        return f"the derivative is not finite at {row_of(position)}{_column(np.asarray(of_x[position]))}" + _leaf(
            of_params
        )
    leaf = _leaf(of_params)
    return f"the gradient is not finite{leaf}" if leaf else "with the parameters of now it is finite again"


def non_finite_error(
    flow: Density, state: TrainState, batch: Batch, step: int, most: int, loss: float, grad_norm: float
) -> RunError:
    """The error that ends a run after `most` non-finite steps in a row; it names the layer with the largest numbers."""
    batch = _some_rows(flow, state, batch)
    keys = example_keys(state.key, batch.index) if flow.needs_key else None
    sizes = flow.activations(state.variables, batch.x, batch.context, keys)
    worst = max(sizes, key=lambda path: float(np.nan_to_num(np.max(sizes[path]), nan=np.inf)))
    rule = f"must stay finite; it was not for {most} steps in a row"
    got = (
        f"last finite mean loss {loss:.5g}, gradient norm {grad_norm:.3g}, "
        f"largest activation {float(np.max(sizes[worst])):.3g} in {worst}"
    )
    fix = "Lower {learning_rate}, set {clip_norm}, or ask jflows.testing.find_non_finite for the layer where it begins."
    return RunError(f"fit, step {step}", "loss", rule, got, fix)


def reconstruction_error(flow: Density, state: TrainState, batch: Batch, step: int, largest: float) -> float:
    """The largest |rebuilt x - x| over a few rows, in units of x.

    Raises:
      RunError: if it is above `largest`, or NaN.
    """
    batch = _some_rows(flow, state, batch)
    error = float(_reconstruction_error(flow, state.variables, batch.x, batch.context))
    if not error <= largest:
        rule = f"must rebuild x within {{max_reconstruction_error={largest}}}"
        fix = "Set {anchor_every}, lower {max_log_scale}, or use {backprop=remat}."
        raise RunError(f"fit, step {step}", "backprop", rule, f"an error of {error:.3g}", fix)
    return error


@functools.partial(jax.jit, static_argnames="flow")
def _reconstruction_error(flow: Density, variables: Variables, x: Array, context: Array | None) -> Array:
    return flow.reconstruction_error(variables, x, context)


def _some_rows(flow: Density, state: TrainState, batch: Batch) -> Batch:
    """A few rows of a batch; the flow's own samples where there are no data."""
    batch = _on_device(jax.tree.map(lambda leaf: leaf[:EXAMPLES], batch))
    if batch.x is not None:
        return batch
    shape = batch.index.shape if batch.context is None else ()
    return batch._replace(x=flow.sample(state.variables, state.key, shape, batch.context))


def _on_device(batch: Batch) -> Batch:
    return jax.tree.map(jnp.asarray, batch)


def _probe(flow: Density, loss: Loss, state: TrainState, batch: Batch, step: int) -> tuple[Array, PyTree, PyTree]:
    """Losses of the rows, their derivatives in x (None if x is no float), and the gradient of the parameters."""
    is_float = batch.x is not None and jnp.issubdtype(batch.x.dtype, jnp.floating)

    def total(params: PyTree, x: Array | None):
        used = batch._replace(x=x) if is_float else batch
        per_row, _ = loss(flow, {"params": params, **state.extra}, used, state.key, step)
        per_row = jnp.where(batch.weight > 0, per_row, 0.0)
        return jnp.sum(per_row), per_row

    x = batch.x if is_float else None
    (of_params, of_x), per_row = jax.grad(total, argnums=(0, 1), has_aux=True)(state.params, x)
    return per_row, of_x, of_params


def _column(derivative: np.ndarray | None) -> str:
    """The first element of x whose derivative is not finite; nothing if that holds of all, as it then tells nothing."""
    if derivative is None or derivative.ndim == 0:
        return ""
    bad = ~np.isfinite(derivative)
    if bad.all() or not bad.any():
        return ""
    place = tuple(int(index) for index in np.argwhere(bad)[0])
    return f", column {place[0]}" if len(place) == 1 else f", element {place}"


def _leaf(gradient: PyTree) -> str:
    """The first parameter whose gradient is not finite."""
    flat, _ = jax.tree_util.tree_flatten_with_path(gradient)
    bad = [path for path, leaf in flat if not np.all(np.isfinite(leaf))]
    return f", first in the parameter {jax.tree_util.keystr(bad[0], simple=True, separator='/')}" if bad else ""
