"""One optimizer step as a pure function, and the state it carries.

The step is written for one device; `jflows/train/sharding.py` runs it on several.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jflows.errors import InvalidValueError
from jflows.flows import Density
from jflows.flows.once import jit_once
from jflows.train.losses import Loss, check_loss
from jflows.typing import Array, Batch, Key, PyTree, Variables

Metrics = dict[str, Array]


class TrainState(NamedTuple):
    """Everything that a training run changes, and the key it started from.

    Attributes:
      step: int32, optimizer steps taken; it alone decides which batch is next.
      params: the trained parameters.
      extra: the other collections, such as "constants", "batch_stats" and "singular_vectors".
      ema: exponential moving average of `params`.
      opt_state: the optimizer's state.
      key: typed key of all noise, which never changes.
      skipped: int32, number of steps whose loss or gradient was not finite and which changed nothing.
      skipped_in_a_row: int32, number of skipped steps since the last one that was not.
      memory: what the loss keeps from step to step, {} for most.
    """

    step: Array
    params: PyTree
    extra: Variables
    ema: PyTree
    opt_state: PyTree
    key: Key
    skipped: Array
    skipped_in_a_row: Array
    memory: PyTree

    @property
    def variables(self) -> Variables:
        """Linen collections with the trained parameters."""
        return {"params": self.params, **self.extra}

    @property
    def ema_variables(self) -> Variables:
        """Linen collections with the averaged parameters."""
        return {"params": self.ema, **self.extra}


def init_state(
    variables: Variables, optimizer: optax.GradientTransformation, key: Key, memory: PyTree = None
) -> TrainState:
    """The state before the first step.

    Args:
      memory: `loss.first_memory(flow, variables, key, batch_size)` of a loss that keeps one; None for others.
    Raises:
      InvalidValueError: if the variables hold no parameters.
    """
    check_trainable("init_state", variables)
    params = variables["params"]
    extra = {name: tree for name, tree in variables.items() if name != "params"}
    # Copies, since a state that is donated must not hold one buffer twice.
    step, skipped, in_a_row, ema = copied((*[np.int32(0)] * 3, params))
    memory = {} if memory is None else memory
    return TrainState(step, params, extra, ema, _first_moments(optimizer, params), key, skipped, in_a_row, memory)


def copied(tree: PyTree) -> PyTree:
    """Copies of arrays, each where it lies."""
    return jax.tree.map(_copied, tree)


def _copied(leaf: Array | np.generic) -> Array:
    if _is_held(leaf) and not leaf.is_fully_addressable:
        return jnp.copy(leaf)
    return jax.device_put(leaf, may_alias=False)  # compiles nothing, where `jnp.copy` compiles for every shape


def _is_held(leaf: Any) -> TypeGuard[jax.Array]:
    """Whether it is an array of JAX that has values and a place."""
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)


def _first_moments(optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    """`optimizer.init(params)`, as one program instead of one for every shape.

    Parameters that are divided among devices are the exception, so that each moment lies where its parameter does.
    """
    is_divided = any(len(leaf.devices()) > 1 for leaf in jax.tree.leaves(params) if _is_held(leaf))
    return (optimizer.init if is_divided else jit_once()(optimizer.init))(params)


def check_trainable(where: str, variables: Variables) -> None:
    """Raises `InvalidValueError` if there is nothing to train."""
    if not jax.tree.leaves(variables.get("params", {})):
        rule, fix = "must have parameters to train", "Score it as it is: flow.log_prob, or jflows.eval.evaluate."
        raise InvalidValueError(where, "flow", rule, "one whose bijector and base have none", fix)


def make_train_step(
    flow: Density,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    *,
    ema_decay: float = 0.999,
    accumulate: int = 1,
    reduce: Callable[[PyTree], PyTree] = lambda tree: tree,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns one pure step `(state, batch) -> (state, metrics)`.

        loss = sum_i weight_i loss_i / number of rows with weight > 0        [over the global batch]

    Weights of a batch are 1 on average over the data, so that the loss of a batch of visits has the mean of the
    weighted loss of the data, whatever the batch size; a division by the sum of weights would not (of a batch of one
    row, it would drop the weight). If loss or gradient is not finite, a step leaves parameters, optimizer and averages
    as they were, and is counted as skipped.

    Args:
      loss: a `Loss` such as `NegativeLogLikelihood()`.
      ema_decay: decay of the moving average, warmed up as min(ema_decay, (1 + t) / (10 + t)).
      accumulate: number of parts into which a batch is cut, whose gradients are added up; more parts need less memory.
      reduce: the mean over devices, `lax.pmean` under `pmap` and `shard_map`; identity where the batch is global.
    Metrics: loss (in the loss's own unit), grad_norm, skipped, skipped_in_a_row.
    Raises:
      InvalidTypeError: if `loss` is not a `Loss`.
      InvalidValueError: if ema_decay is outside [0, 1) or accumulate < 1; when traced, if it does not divide the batch,
        or if the loss does not give one number per row.
    """
    _check_settings(loss, ema_decay, accumulate)
    optimizer = optax.with_extra_args_support(optimizer)
    summed_loss = functools.partial(_summed_loss, flow, loss)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = loss.select(batch, state.step)
        batch, memory = loss.recall(flow, state.variables, state.memory, batch, state.key, state.step)
        sums, extra = reduce(_sum_gradients(summed_loss, accumulate, state, batch))
        total, count, grads = sums
        count = jnp.where(count > 0, count, 1)  # a step in which no row counts has loss and gradient 0
        mean_loss = total / count
        # A product joins what comes after it in one loop, which a quotient does not.
        grads = jax.tree.map(lambda g: g * (1 / count.astype(g.dtype)), grads)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(mean_loss) & jnp.isfinite(grad_norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, value=mean_loss)
        params = optax.apply_updates(state.params, updates)
        ema = _averaged(state.ema, params, ema_decay, state.step)
        in_a_row = jnp.where(finite, 0, state.skipped_in_a_row + 1)
        new = TrainState(state.step, params, extra, ema, opt_state, state.key, state.skipped, in_a_row, memory)
        old = state._replace(skipped=state.skipped + 1, skipped_in_a_row=in_a_row)
        state = _select(finite, new, old)._replace(step=state.step + 1)
        metrics = {
            "loss": mean_loss,
            "grad_norm": grad_norm,
            "skipped": state.skipped,
            "skipped_in_a_row": state.skipped_in_a_row,
        }
        return state, metrics

    return step


def _averaged(average: PyTree, params: PyTree, ema_decay: float, step: Array) -> PyTree:
    """The moving average after one more step; without decay, the parameters themselves."""
    if ema_decay == 0:
        return params
    decay = jnp.minimum(ema_decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: (decay * old + (1 - decay) * new).astype(old.dtype), average, params)


def _check_settings(loss: Loss, ema_decay: float, accumulate: int) -> None:
    check_loss("make_train_step", loss)
    if not 0 <= ema_decay < 1:
        raise InvalidValueError("make_train_step", "ema_decay", "must lie in [0, 1)", repr(ema_decay))
    if accumulate < 1:
        raise InvalidValueError("make_train_step", "accumulate", "must be at least 1", repr(accumulate))


def _summed_loss(flow: Density, loss: Loss, params: PyTree, extra: Variables, batch: Batch, state: TrainState):
    """The weighted sum over rows, and the updated collections."""
    per_example, updates = loss(flow, {"params": params, **extra}, batch, state.key, state.step)
    if jnp.shape(per_example) != batch.weight.shape:
        rule, got = f"must give one number per row, shape {batch.weight.shape}", f"shape {jnp.shape(per_example)}"
        raise InvalidValueError(type(loss).__name__, "loss", rule, got, "Leave the mean over rows to the step.")
    weighted = jnp.where(batch.weight > 0, batch.weight * per_example, 0.0)
    return jnp.sum(weighted), {**extra, **updates}


def _sum_gradients(summed_loss: Callable, accumulate: int, state: TrainState, batch: Batch):
    """Sums over the batch, in `accumulate` parts: loss, rows that count, gradient; and the updated collections."""

    def part(carry, part_batch):
        total, extra = carry
        value_and_grad = jax.value_and_grad(summed_loss, has_aux=True)
        (value, extra), grads = value_and_grad(state.params, extra, part_batch, state)
        sums = (value, jnp.sum(part_batch.weight > 0, dtype=value.dtype), grads)
        return (jax.tree.map(jnp.add, total, sums), extra), None

    zeros = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
    if accumulate == 1:
        return part((zeros, state.extra), batch)[0]
    return jax.lax.scan(part, (zeros, state.extra), _parts(batch, accumulate))[0]


def _select(condition: Array, new: TrainState, old: TrainState) -> TrainState:
    """`new` if the condition holds, else `old`; but for the key, which is the same in both and not a number."""
    chosen = jax.tree.map(lambda a, b: jnp.where(condition, a, b), new._replace(key=None), old._replace(key=None))
    return chosen._replace(key=new.key)


def _parts(batch: Batch, accumulate: int) -> Batch:
    """[batch, ...] -> [accumulate, batch / accumulate, ...], taking every `accumulate`-th example.

    Strided, so that on a sharded batch every device keeps its own examples.
    """
    size = batch.weight.shape[0]
    if size % accumulate:
        rule = f"must be a multiple of accumulate={accumulate}"
        raise InvalidValueError("make_train_step", "batch", rule, f"{size} examples")
    return jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf.reshape(size // accumulate, accumulate, *leaf.shape[1:]), 1, 0), batch
    )
