"""`plan_step`: the memory of a training step on each device, as the compiler plans it, before anything is trained.

Nothing is allocated or run: parameters, optimizer and batches are shapes, and only the program of the step is compiled.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jflows.eval.memory import bytes_held, in_words
from jflows.flows import Density
from jflows.flows.division import division_of
from jflows.flows.summary import examples_of
from jflows.train.config import TrainConfig
from jflows.train.losses import LOSSES, Loss
from jflows.train.sharding import DIVIDED, Runner
from jflows.train.step import TrainState, init_state, make_train_step
from jflows.typing import Batch


class StepPlan(NamedTuple):
    """What each device holds during a training step, in bytes.

    Attributes:
      rows: rows of a batch, over all devices.
      num_devices, parallel: the devices, and how they share the work.
      state_bytes: parameters, their average and the optimizer's moments.
      call_bytes: the batches of one call of the program, metrics, and constants of the flow.
      temporary_bytes: activations, gradients, and whatever else lives for a part of the step.
      whole: names of the parameters of 64 KiB and more that each device holds whole under "fsdp", since the devices
        divide none of their axes.
    """

    rows: int
    num_devices: int
    parallel: str
    state_bytes: int
    call_bytes: int
    temporary_bytes: int
    whole: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Everything that a device holds at once."""
        return self.state_bytes + self.call_bytes + self.temporary_bytes

    def __repr__(self) -> str:
        """One sentence, and one more if parameters stay whole."""
        several = f" on each of {self.num_devices} devices (parallel={self.parallel})" if self.num_devices > 1 else ""
        text = (
            f"A training step of {self.rows} rows plans {in_words(self.total_bytes)}{several}: "
            f"{in_words(self.state_bytes)} of parameters, average and optimizer, "
            f"{in_words(self.call_bytes)} of batches, and {in_words(self.temporary_bytes)} of temporaries."
        )
        return text + whole_in_words(self.whole, self.num_devices)


def plan_step(
    flow: Density, config: TrainConfig, loss: Loss | None = None, devices: Sequence[Any] | None = None
) -> StepPlan:
    """Plans a training step of `fit(flow, data, config, loss=loss)`, which takes as long as compiling it.

    Args:
      devices: which devices to use; None takes all of the platform.
    Raises:
      InvalidValueError: if the devices do not divide the batch.
    Example:
      >>> import jflows
      >>> flow = jflows.realnvp((2,), num_layers=2)
      >>> plan = jflows.train.plan_step(flow, jflows.TrainConfig(parallel="none"))
      >>> plan.rows, plan.total_bytes > plan.state_bytes > 0
      (64, True)
    """
    chosen = LOSSES[flow.objective]() if loss is None else loss
    steps = config.total_steps(config.batch_size)
    optimizer = config.make_optimizer(steps)
    settings = dict(ema_decay=config.ema_decay, accumulate=config.accumulate)
    make_step = functools.partial(make_train_step, flow, optimizer, chosen, **settings)
    runner = Runner(make_step, config.parallel, config.batch_size, config.longest_call(steps), devices)
    x, context = examples_of(flow, config.batch_size)
    x = x if chosen.needs_data else None

    def start(x: Any, context: Any) -> TrainState:
        key = jax.random.key(0)
        variables = flow.init(key, x, context)
        return init_state(variables, optimizer, key, chosen.first_memory(flow, variables, key, config.batch_size))

    state = jax.eval_shape(start, x, context)
    weight, index = (jax.ShapeDtypeStruct((config.batch_size,), kind) for kind in (jnp.float32, jnp.uint32))
    shapes: Any = (x, context, weight, index)
    made = runner.plan(state, Batch(*shapes, gradient=x if chosen.needs_gradient else None))
    placed = runner.shapes_of(state)
    held = sum(bytes_held(getattr(placed, name)) for name in DIVIDED)
    whole = division_of(state.params, len(runner.devices)).whole if config.parallel == "fsdp" else ()
    rest = max(made.in_place - held, 0)
    names = (config.batch_size, len(runner.devices), config.parallel)
    return StepPlan(*names, held, rest, max(made.planned_bytes - made.in_place, 0), whole)


def whole_in_words(whole: Sequence[str], num_devices: int) -> str:
    """A sentence that names the parameters that stay whole on each device; nothing if there are none."""
    if not whole:
        return ""
    return f" On all devices stay whole, as {num_devices} divides none of their axes: {', '.join(whole)}."
