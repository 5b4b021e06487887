"""Running a one-device step on many devices: five ways, one interface.

| parallel | state | batch | collectives |
|---|---|---|---|
| "none" | one device | one device | none |
| "jit" | replicated by `NamedSharding` | sharded by `NamedSharding` | inserted by XLA; the default |
| "fsdp" | parameters, average and optimizer sharded | sharded by `NamedSharding` | inserted by XLA |
| "pmap" | a leading device axis | a leading device axis | `pmean` in the step |
| "shard_map" | replicated | sharded | `pmean` in the step |

The devices may be those of many processes, each of which then makes its own rows of a batch, `Runner.rows`.

All five give the same numbers up to rounding; a test holds that under SGD. The rules by which "fsdp" chooses axes are
in `jflows/flows/division.py`. One call takes as many steps as it is told, by one program: a loop whose length is an
argument, which costs no more than `lax.scan` and gives the same bits.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jflows.errors import InvalidValueError, check_choice
from jflows.flows.division import divided_axis
from jflows.ops import varying
from jflows.processes import together
from jflows.train.step import Metrics, TrainState
from jflows.typing import Array, Batch, PyTree

PARALLEL_MODES = ("none", "jit", "fsdp", "pmap", "shard_map")
DIVIDED = ("params", "ema", "opt_state")  # fields of the state that "fsdp" shards
AXIS = "data"

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Compiled(NamedTuple):
    """What compiling took, and what the program plans: the seconds, and the bytes that it holds at once on a device.

    Attributes:
      in_place: how many of the bytes are held already, by its arguments.
    """

    seconds: float
    planned_bytes: int
    in_place: int = 0


class Runner:
    """Runs many steps per call, so that small flows are not bound by dispatch.

    Args:
      make_step: returns the step, as `functools.partial(make_train_step, flow, optimizer, loss)`; it takes `reduce`,
        which is given where each device has a batch of its own.
      parallel: a mode of the table at the head of this module.
      batch_size: rows over all devices; a multiple of the number of devices.
      steps_per_call: largest number of steps in one call; shorter calls are filled up with zeros that no step reads.
      devices: which devices to use; None takes all of the platform, of all processes ("none" takes the first).
      stacked: number of leading axes that all arrays of a state have beside their own: 1 for an ensemble's members.
    Raises:
      InvalidValueError: for an unknown mode, a batch that does not divide by the devices, a call that is too long, or
        "none" with many processes.
    """

    def __init__(
        self,
        make_step: Callable[..., Step],
        parallel: str,
        batch_size: int,
        steps_per_call: int,
        devices: Sequence[Any] | None = None,
        stacked: int = 0,
    ):
        check_choice("Runner", "parallel", parallel, PARALLEL_MODES)
        # Those of one process side by side, so that its rows are too, where the order of JAX follows the network.
        in_order = sorted(devices or jax.devices(), key=lambda device: device.process_index)
        devices = in_order[: 1 if parallel == "none" else None]
        if parallel == "none" and together.count() > 1:
            rule, fix = "must divide the work among many processes", "Set {parallel=jit}."
            raise InvalidValueError("Runner", "parallel", rule, f"'none' with {together.count()}", fix)
        if batch_size % len(devices):
            several = f" of {together.count()} processes" if together.count() > 1 else ""
            rule, fix = f"must be a multiple of the {len(devices)} devices{several}", "Change it"
            fix += "." if several else ", or set {parallel=none}."
            raise InvalidValueError("Runner", "batch_size", rule, repr(batch_size), fix)
        self.parallel, self.devices, self.steps_per_call, self.stacked = parallel, devices, steps_per_call, stacked
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.sharded = NamedSharding(mesh, PartitionSpec(None, AXIS))  # axis 0 counts the steps of one call
        places = NamedSharding(mesh, PartitionSpec(AXIS)).addressable_devices_indices_map((batch_size,))
        self.batch_size = batch_size
        self._places = {place[0].indices(batch_size)[:2] for place in places.values() if place is not None}
        collective = parallel in ("pmap", "shard_map")
        step = make_step(reduce=functools.partial(_mean_over_devices, AXIS)) if collective else make_step()
        step = self._keeping_places(step)
        many = self._keeping_places(functools.partial(_take_steps, step, AXIS if collective else None))
        if parallel == "pmap":
            axes = (0, 0, None)
            self._run = jax.pmap(many, axis_name=AXIS, in_axes=axes, devices=devices, donate_argnums=0)
        elif parallel == "shard_map":
            # check_vma=True would sum the gradients over devices before `pmean`: N times too large, without an error.
            in_specs = (PartitionSpec(), PartitionSpec(None, AXIS), PartitionSpec())
            mapped = jax.shard_map(many, mesh=mesh, in_specs=in_specs, out_specs=PartitionSpec(), check_vma=False)
            self._run = jax.jit(mapped, donate_argnums=0)
        else:
            self._run = jax.jit(many, donate_argnums=0)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Positions of the rows of a batch that this process makes; made when asked for, as they can be too many."""
        return np.concatenate([np.arange(start, stop) for start, stop in sorted(self._places)])

    def put_state(self, state: TrainState) -> TrainState:
        """Copies a state onto the devices."""
        if self.parallel != "pmap":
            return jax.tree.map(together.placed, state, self.shardings_of(state))
        num, mesh = len(self._own_devices), Mesh(np.array(self._own_devices), (AXIS,))
        stacked = jax.tree.map(lambda leaf: jax.numpy.broadcast_to(leaf, (num, *leaf.shape)), state)
        return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(AXIS)))

    def shapes_of(self, state: TrainState) -> TrainState:
        """Abstract arrays with the places where `put_state` puts those of a state; under "pmap" without places."""
        if self.parallel == "pmap":
            return state
        shape = lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
        return jax.tree.map(shape, state, self.shardings_of(state))

    def put_params(self, params: PyTree) -> PyTree:
        """Parameters where a state has them, so that averages and moments that are made of them lie there too."""
        return jax.tree.map(together.placed, params, self._divided(params)) if self.parallel == "fsdp" else params

    def shardings_of(self, state: TrainState) -> TrainState:
        """Where each array of a state lies, in every mode but "pmap": a tree of the state's structure."""
        whole = jax.tree.map(lambda _: self.replicated, state)
        if self.parallel != "fsdp":
            return whole
        return whole._replace(**{name: self._divided(getattr(state, name)) for name in DIVIDED})

    def _divided(self, tree: PyTree) -> PyTree:
        """Where the arrays of parameters, or of what has their shapes, lie when they are divided."""

        def place(path: Sequence[Any], leaf: Any) -> NamedSharding:
            axis = divided_axis(path, leaf, len(self.devices), self.stacked)
            spec = PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, AXIS)
            return NamedSharding(self.replicated.mesh, spec)

        return jax.tree_util.tree_map_with_path(place, tree)

    def _keeping_places(self, function: Callable[..., tuple[TrainState, Metrics]]) -> Callable:
        """The function, told where its new state lies; XLA would choose for itself, and compile anew for its choice."""

        def keeping(state: TrainState, *given: Any) -> tuple[TrainState, Metrics]:
            state, metrics = function(state, *given)
            return lax.with_sharding_constraint(state, self.shardings_of(state)), metrics

        return keeping if self.parallel == "fsdp" else function

    def get_state(self, state: TrainState) -> TrainState:
        """The state as one copy, without a device axis; with many processes, one that is whole in each."""
        if self.parallel == "pmap":
            return jax.tree.map(lambda leaf: leaf[0], state)
        return together.own_copy(state)

    def compile(self, state: TrainState, batches: Batch) -> Compiled:
        """Compiles `run` for arguments of these shapes.

        `run` then finds the program in the cache of `jit`; if `compile` was not called, the first `run` compiles.
        """
        return self._compiled(state, *self._put_batches(batches))

    def plan(self, state: TrainState, batch: Batch) -> Compiled:
        """What `compile` finds, from the shapes of a state and of the batch of one step; nothing is allocated."""
        if self.parallel == "pmap":
            front, place = (len(self._own_devices), self.steps_per_call), None
            rows = self.batch_size // len(self.devices)
            state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((front[0], *leaf.shape), leaf.dtype), state)
        else:
            front, place, rows, state = (self.steps_per_call,), self.sharded, self.batch_size, self.shapes_of(state)
        shape = lambda leaf: jax.ShapeDtypeStruct((*front, rows, *leaf.shape[1:]), leaf.dtype, sharding=place)
        return self._compiled(state, jax.tree.map(shape, batch), np.int32(1))

    def _compiled(self, *arguments: Any) -> Compiled:
        started = time.perf_counter()
        found = self._run.lower(*arguments).compile()
        seconds, plan = time.perf_counter() - started, found.memory_analysis()
        if plan is None:  # a backend that does not tell
            return Compiled(seconds, 0)
        planned = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        return Compiled(seconds, max(planned + plan.temp_size_in_bytes, 0), plan.argument_size_in_bytes)

    def run(self, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        """Takes one step for each batch in `batches`; `state` is donated and cannot be used again.

        Shapes:
          batches: leaves [num_steps, rows, ...], those at `rows` -> metrics: [steps_per_call], 0 from num_steps on.
        """
        state, metrics = self._run(state, *self._put_batches(batches))
        return state, jax.tree.map(lambda leaf: leaf[0], metrics) if self.parallel == "pmap" else metrics

    def _put_batches(self, batches: Batch) -> tuple[Batch, np.int32]:
        """The batches on the devices, of full length, and how many steps they are for."""
        num_steps, length = len(batches.index), self.steps_per_call
        if num_steps > length:
            rule = f"must hold at most steps_per_call={length} steps"
            raise InvalidValueError("Runner", "batches", rule, f"{num_steps} steps")
        if num_steps < length:
            batches = jax.tree.map(functools.partial(_filled_up, length), batches)
        return self._placed(batches), np.int32(num_steps)

    @property
    def _own_devices(self) -> list[Any]:
        """Those of this process."""
        return [device for device in self.devices if device.process_index == jax.process_index()]

    def _placed(self, batches: Batch) -> Batch:
        if self.parallel == "pmap":
            return jax.tree.map(functools.partial(_by_device, len(self._own_devices)), batches)
        if len(self.rows) == self.batch_size:
            return jax.device_put(batches, self.sharded)

        def placed(leaf: np.ndarray) -> Array:
            own = lambda rows: leaf[:, np.searchsorted(self.rows, np.arange(self.batch_size)[rows])]
            shape = (len(leaf), self.batch_size, *leaf.shape[2:])
            return jax.make_array_from_callback(shape, self.sharded, lambda place: own(place[1]))  # pyright: ignore[reportOptionalSubscript]

        return jax.tree.map(placed, batches)


def _take_steps(
    step: Step, axis: str | None, state: TrainState, batches: Batch, count: Array
) -> tuple[TrainState, Metrics]:
    """The first `count` of the steps that `batches` is for; metrics of the others are 0.

    `axis` is that of the devices among which the rows of a batch are divided by hand, for batch normalisation.
    """

    @functools.partial(jax.jit, inline=True)  # traced once, not again by the loop
    def taken(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with varying.batch_over(axis):
            return step(state, batch)

    batch_at = lambda i: jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), batches)
    shapes = jax.eval_shape(taken, state, batch_at(0))[1]
    empty = jax.tree.map(lambda shape: jax.numpy.zeros((len(batches.index), *shape.shape), shape.dtype), shapes)

    def body(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = taken(carry[0], batch_at(i))
        write = lambda all_of, one: lax.dynamic_update_index_in_dim(all_of, one, i, axis=0)
        return state, jax.tree.map(write, carry[1], metrics)

    return lax.fori_loop(0, count, body, (state, empty))


def _by_device(num: int, leaf: np.ndarray) -> np.ndarray:
    """[num_steps, rows, ...] -> [num devices, num_steps, rows / num, ...]."""
    leaf = np.asarray(leaf)
    return np.moveaxis(leaf.reshape(leaf.shape[0], num, -1, *leaf.shape[2:]), 1, 0)


def _filled_up(length: int, leaf: np.ndarray) -> np.ndarray:
    """[num_steps, ...] -> [length, ...], with zeros at the end."""
    filled = np.zeros((length, *leaf.shape[1:]), leaf.dtype)
    filled[: len(leaf)] = leaf
    return filled


def _mean_over_devices(axis: str, tree: PyTree) -> PyTree:
    """`pmean` of the floats; integers (permutations in `constants`) are equal on all devices already."""
    return jax.tree.map(
        lambda leaf: lax.pmean(leaf, axis) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) else leaf, tree
    )
