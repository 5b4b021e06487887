"""Optimizers and schedules of optax, made from plain settings."""

import jax
import optax
import optax.contrib

from jflows.errors import InvalidValueError, check_choice, check_positive
from jflows.typing import PyTree

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
) -> optax.GradientTransformationExtraArgs:
    """Adam or AdamW with linear warm-up, a schedule, and clipping by the global norm.

    Args:
      steps: length of the schedule.
      learning_rate: the highest value of the schedule.
      optimizer: "adam", or "adamw" with decoupled decay on weights only (leaves named `*kernel`).
      warmup_steps: steps in which the rate rises linearly from 0; more than `steps` counts as `steps`.
      schedule: "constant"; "cosine" down to `final_fraction * learning_rate` at `steps`; or "plateau", which multiplies
        the rate by `plateau_factor` whenever the loss, averaged over `plateau_window` steps, has not fallen for
        `plateau_patience` windows. "plateau" needs the loss at every step: `optimizer.update(..., value=loss)`.
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
        # An absolute gain: a relative one would go the wrong way, as nats may be negative.
        at_plateau = optax.contrib.reduce_on_plateau(
            plateau_factor, plateau_patience, rtol=0.0, atol=LEAST_GAIN, accumulation_size=plateau_window
        )
        parts.append(at_plateau)
    return optax.chain(*parts)


def rate_scale(opt_state: PyTree) -> float:
    """The factor by which "plateau" has lowered the learning rate so far; 1 for other schedules."""
    is_plateau = lambda node: isinstance(node, optax.contrib.ReduceLROnPlateauState)
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
