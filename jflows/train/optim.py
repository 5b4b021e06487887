"""Optimizers and schedules of optax, made from plain settings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jflows.errors import InvalidValueError, check_choice, check_positive
from jflows.typing import Array, PyTree

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine", "plateau")
LEAST_GAIN = 1e-4  # nats per event by which the loss must fall, or it counts as level
DECAYED_LEAVES = ("kernel",)  # names that end so are weights; biases, scales, shifts and PLU factors are not decayed


def make_optimizer(
    *,
    steps: int,
    learning_rate: float,
    optimizer: str = "adam",
    warmup_steps: int = 0,
    schedule: str = "constant",
    final_fraction: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    b2: float = 0.999,
    plateau_factor: float = 0.5,
    plateau_window: int = 500,
    plateau_patience: int = 5,
    plateau_growth: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Adam or AdamW with linear warm-up, a schedule, and clipping by the global norm.

    Args:
      steps: length of the schedule.
      learning_rate: the highest value of the schedule.
      optimizer: "adam", or "adamw" with decoupled decay on weights only (leaves named `*kernel`).
      warmup_steps: steps in which the rate rises linearly from 0; more than `steps` counts as `steps`.
      schedule: "constant"; "cosine" down to `final_fraction * learning_rate` at `steps`; or "plateau", which multiplies
        the rate by `plateau_factor` whenever the loss, averaged over `plateau_window` steps, has not fallen for
        `plateau_patience` windows; this patience grows by the factor `plateau_growth` each time, rounded up.
        "plateau" needs the loss at every step: `optimizer.update(..., value=loss)`.
      clip_norm: largest global norm of the gradient (of the loss in nats per event); 0 for none.
      b2: decay of the moving average of squared gradients.
    Raises:
      InvalidValueError: for an unknown name or a value out of range.
    """
    check_choice("make_optimizer", "optimizer", optimizer, OPTIMIZERS)
    check_positive("make_optimizer", "learning_rate", learning_rate)
    if weight_decay and optimizer == "adam":
        rule, fix = "must be 0 with optimizer='adam'", "Set optimizer='adamw'."
        raise InvalidValueError("make_optimizer", "weight_decay", rule, repr(weight_decay), fix)
    rate = make_schedule(steps, learning_rate, warmup_steps, schedule, final_fraction)
    if optimizer == "adam":
        update = optax.adam(rate, b2=b2)
    else:
        update = optax.adamw(rate, b2=b2, weight_decay=weight_decay, mask=decayed_leaves)
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    parts.append(update)
    if schedule == "plateau":
        parts.append(_lowered_at_plateaus(plateau_factor, plateau_window, plateau_patience, plateau_growth))
    return optax.chain(*parts)


class PlateauState(NamedTuple):
    """What the schedule "plateau" remembers.

    Attributes:
      scale: factor of the learning rate.
      best: the lowest mean loss of a window.
      waited: int32, windows since then, or since the rate was lowered.
      patience: windows to wait for, before it is rounded up.
      total, count: sum and int32 number of losses in the present window.
    """

    scale: Array
    best: Array
    waited: Array
    patience: Array
    total: Array
    count: Array


def _lowered_at_plateaus(
    factor: float, window: int, patience: int, growth: float
) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by a scale that is lowered whenever the loss has stopped falling."""

    def init(params: PyTree) -> PlateauState:
        # Arrays of their own, since a state that is donated must not hold one buffer twice.
        number, zero = lambda value: jnp.full((), value, jnp.float32), lambda: jnp.zeros((), jnp.int32)
        return PlateauState(number(1.0), number(jnp.inf), zero(), number(patience), number(0.0), zero())

    def at_end(state: PlateauState) -> PlateauState:
        loss = state.total / window
        # An absolute gain: a relative one would go the wrong way, as nats may be negative.
        better = loss < state.best - LEAST_GAIN
        waited = jnp.where(better, 0, state.waited + 1)
        lower = waited >= jnp.ceil(state.patience)
        return PlateauState(
            scale=jnp.where(lower, state.scale * factor, state.scale),
            best=jnp.where(better, loss, state.best),
            waited=jnp.where(lower, 0, waited),
            patience=jnp.where(lower, state.patience * growth, state.patience),
            total=jnp.zeros_like(state.total),
            count=jnp.zeros_like(state.count),
        )

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra: Array) -> tuple[PyTree, PlateauState]:
        loss = extra["value"].astype(state.total.dtype)
        state = state._replace(total=state.total + loss, count=state.count + 1)
        ended = at_end(state)
        state = jax.tree.map(lambda new, old: jnp.where(state.count >= window, new, old), ended, state)
        return jax.tree.map(lambda u: (state.scale * u).astype(u.dtype), updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def rate_scale(opt_state: PyTree) -> float:
    """The factor by which "plateau" has lowered the learning rate so far; 1 for other schedules."""
    is_plateau = lambda node: isinstance(node, PlateauState)
    states = [node for node in jax.tree.leaves(opt_state, is_leaf=is_plateau) if is_plateau(node)]
    return float(states[0].scale) if states else 1.0


def make_schedule(
    steps: int, learning_rate: float, warmup_steps: int, schedule: str, final_fraction: float
) -> optax.Schedule:
    """The learning rate as a function of the step, before "plateau" lowers it."""
    check_choice("make_schedule", "schedule", schedule, SCHEDULES)
    if warmup_steps < 0:
        raise InvalidValueError("make_schedule", "warmup_steps", "must be at least 0", repr(warmup_steps))
    warmup_steps = min(warmup_steps, steps)
    if schedule != "cosine":
        after = optax.constant_schedule(learning_rate)
    else:
        after = optax.cosine_decay_schedule(learning_rate, max(steps - warmup_steps, 1), final_fraction)
    if not warmup_steps:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup_steps), after], [warmup_steps])


def decayed_leaves(params: PyTree) -> PyTree:
    """True for the leaves that are weights, by name: stacked biases have rank 2, so rank would not tell."""

    def is_weight(path, _) -> bool:
        return str(getattr(path[-1], "key", path[-1])).endswith(DECAYED_LEAVES)

    return jax.tree_util.tree_map_with_path(is_weight, params)
