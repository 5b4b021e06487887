"""`spread`: one program on many batches, spread over all devices of all processes.

Each device runs the program on whole batches, and results are put together in the order of the batches on the host. So
the numbers are those of one device, bit for bit, however many devices and processes there are.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jflows.processes import together
from jflows.typing import Array, PyTree

AXIS = "batches"

Program = Callable[..., Array]


def spread(
    program: Program, static: tuple[Any, ...], shared: PyTree, batches: Iterable[PyTree]
) -> Iterator[np.ndarray]:
    """What `program(*static, shared, batch)` gives for every batch, in order, in every process.

    A group of batches, one for each device, is computed at a time, while the results of the group before are handed
    out. All processes must iterate to the same batch. `jax.default_device` keeps all of them on one device, and inside
    `together.alone()` a process uses only its own.

    Args:
      program: a pure function, defined at the top of a module so that it is compiled once.
      static: its first arguments, hashable.
      shared: arrays that are the same for all batches.
      batches: pytrees of numpy arrays of the same shapes.
    """
    chosen: Any = jax.config.values.get("jax_default_device")
    devices, processes, rest = [chosen] if chosen is not None else jax.local_devices(), together.count(), iter(batches)
    group = list(itertools.islice(rest, processes * len(devices)))
    num_own = -(-len(group) // processes)  # of few batches, of different programs, no device computes one for nothing
    first, waiting = num_own * together.index(), None
    run = _on_one(program, static, shared) if num_own < 2 else _on_many(program, static, shared, devices[:num_own])
    while group:
        full = group + group[-1:] * (processes * num_own - len(group))
        result = run(full[first : first + num_own])
        if waiting is not None:
            yield from _collected(*waiting)
        waiting, group = (result, len(group)), list(itertools.islice(rest, processes * num_own))
    if waiting is not None:
        yield from _collected(*waiting)


def _collected(own: Array, num: int) -> Iterator[np.ndarray]:
    """The results of a group of `num` batches, those of other processes too: own [batches, ...]."""
    rows = together.gathered_rows(np.asarray(own))
    yield from rows.reshape(-1, *rows.shape[2:])[:num]


def _on_one(program: Program, static: tuple[Any, ...], shared: PyTree) -> Callable[[list[PyTree]], Array]:
    return lambda batches: _one(program, static, shared, *batches)


def _on_many(
    program: Program, static: tuple[Any, ...], shared: PyTree, devices: list[Any]
) -> Callable[[list[PyTree]], Array]:
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    everywhere, divided = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (AXIS,)))
    shared = jax.device_put(shared, everywhere)
    stacked = lambda batches: jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *batches), divided)
    return lambda batches: _many(program, static, mesh, shared, stacked(batches))


@functools.partial(jax.jit, static_argnames=("program", "static"))
def _one(program: Program, static: tuple[Any, ...], shared: PyTree, batch: PyTree) -> Array:
    return program(*static, shared, batch)[None]


@functools.partial(jax.jit, static_argnames=("program", "static", "mesh"))
def _many(program: Program, static: tuple[Any, ...], mesh: Mesh, shared: PyTree, batches: PyTree) -> Array:
    def own(shared: PyTree, batches: PyTree) -> Array:
        return program(*static, shared, jax.tree.map(lambda leaf: leaf[0], batches))[None]

    specs = (PartitionSpec(), PartitionSpec(AXIS))
    return jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)(
        shared, batches
    )
