"""Running a one-device step on many devices: four ways, one interface.

| parallel | state | batch | collectives |
|---|---|---|---|
| "none" | one device | one device | none |
| "jit" | replicated by `NamedSharding` | sharded by `NamedSharding` | inserted by XLA; the default |
| "pmap" | a leading device axis | a leading device axis | `pmean` in the step |
| "shard_map" | replicated | sharded | `pmean` in the step |

All four give the same numbers up to rounding; a test holds that under SGD.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jflows.errors import InvalidValueError, check_choice
from jflows.train.step import Metrics, TrainState
from jflows.typing import Batch, PyTree

PARALLEL_MODES = ("none", "jit", "pmap", "shard_map")
AXIS = "data"

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Runner:
    """Runs many steps per call (`lax.scan`), so that small flows are not bound by dispatch.

    Args:
      make_step: takes `reduce` and returns the step, as `functools.partial(make_train_step, flow, optimizer, loss)`.
      parallel: one of the table above.
      batch_size: global; a multiple of the device count.
      devices: default all of the platform ("none" takes the first).
    Raises:
      InvalidValueError: for an unknown mode or a batch that does not divide by the devices.
    """

    def __init__(
        self,
        make_step: Callable[..., Step],
        parallel: str,
        batch_size: int,
        devices: Sequence[Any] | None = None,
    ):
        check_choice("Runner", "parallel", parallel, PARALLEL_MODES)
        devices = list(devices or jax.devices())[: 1 if parallel == "none" else None]
        if batch_size % len(devices):
            rule = f"must be a multiple of the {len(devices)} devices"
            raise InvalidValueError("Runner", "batch_size", rule, repr(batch_size), "Or set parallel='none'.")
        self.parallel, self.devices = parallel, devices
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.sharded = NamedSharding(mesh, PartitionSpec(None, AXIS))  # axis 0 counts the steps of one call
        collective = parallel in ("pmap", "shard_map")
        reduce = functools.partial(_mean_over_devices, AXIS) if collective else lambda tree: tree
        many = functools.partial(lax.scan, make_step(reduce=reduce))
        if parallel == "pmap":
            self._run = jax.pmap(many, axis_name=AXIS, devices=devices, donate_argnums=0)
        elif parallel == "shard_map":
            # check_vma=True would sum the gradients over devices before `pmean`: N times too large, without an error.
            in_specs = (PartitionSpec(), PartitionSpec(None, AXIS))
            mapped = jax.shard_map(many, mesh=mesh, in_specs=in_specs, out_specs=PartitionSpec(), check_vma=False)
            self._run = jax.jit(mapped, donate_argnums=0)
        else:
            self._run = jax.jit(many, donate_argnums=0)

    def put_state(self, state: TrainState) -> TrainState:
        """Copies a state onto the devices."""
        if self.parallel != "pmap":
            return jax.device_put(state, self.replicated)
        num = len(self.devices)
        stacked = jax.tree.map(lambda leaf: jax.numpy.broadcast_to(leaf, (num, *leaf.shape)), state)
        sharding = NamedSharding(self.replicated.mesh, PartitionSpec(AXIS))
        return jax.device_put(stacked, sharding)

    def get_state(self, state: TrainState) -> TrainState:
        """The state as one copy, without a device axis."""
        return jax.tree.map(lambda leaf: leaf[0], state) if self.parallel == "pmap" else state

    def compile(self, state: TrainState, batches: Batch) -> float:
        """Compiles `run` for arguments such as these, and returns the seconds it took.

        `run` then finds the program in the cache of `jit`. Without this its first call compiles.
        """
        started = time.perf_counter()
        self._run.lower(state, self._put_batches(batches)).compile()
        return time.perf_counter() - started

    def run(self, state: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        """As many steps as `batches` is long; `state` is donated.

        Shapes:
          batches: leaves [num_steps, batch_size, ...] -> metrics: [num_steps].
        """
        state, metrics = self._run(state, self._put_batches(batches))
        return state, jax.tree.map(lambda leaf: leaf[0], metrics) if self.parallel == "pmap" else metrics

    def _put_batches(self, batches: Batch) -> Batch:
        if self.parallel != "pmap":
            return jax.device_put(batches, self.sharded)
        num = len(self.devices)

        def by_device(leaf) -> np.ndarray:
            leaf = np.asarray(leaf)
            return np.moveaxis(leaf.reshape(leaf.shape[0], num, -1, *leaf.shape[2:]), 1, 0)

        return jax.tree.map(by_device, batches)


def _mean_over_devices(axis: str, tree: PyTree) -> PyTree:
    """`pmean` of the floats; integers (permutations in `constants`) are equal on all devices already."""
    return jax.tree.map(
        lambda leaf: lax.pmean(leaf, axis) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) else leaf, tree
    )
