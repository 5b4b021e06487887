"""What processes ask each other while they compute together: who is first, what all have, whether one wants to stop.

Every function here that gathers must be called by all processes, in the same order. With one process all of them are
trivial. Inside `alone()` a process counts as the only one.
"""

import contextlib
import contextvars
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from jflows.errors import RunError
from jflows.processes.starting import is_one_of_many
from jflows.typing import PyTree

T = TypeVar("T")
PADDING = 1024  # texts are gathered in multiples of this many bytes, so that few programs are compiled
_ALONE = contextvars.ContextVar[bool]("alone", default=False)


def count() -> int:
    """How many processes compute together."""
    import jax

    return 1 if _ALONE.get() else jax.process_count()


def index() -> int:
    """Which of them this one is."""
    import jax

    return 0 if _ALONE.get() else jax.process_index()


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress: process 0."""
    if not is_one_of_many():
        return True
    import jax

    return jax.process_index() == 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside the block this process computes by itself, on its own devices; the others need not do the same."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def gathered_rows(values: np.ndarray) -> np.ndarray:
    """Arrays of one shape of all processes, in their order: [...] -> [processes, ...]."""
    from jax.experimental import multihost_utils

    return values[None] if count() == 1 else np.asarray(multihost_utils.process_allgather(values))


def gathered(value: Any) -> list[Any]:
    """A value, of what JSON holds, of all processes in their order."""
    if count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = gathered_rows(np.array(len(text), np.int32))
    padded = np.zeros(-(-int(sizes.max()) // PADDING) * PADDING, np.uint8)
    padded[: len(text)] = text
    rows = gathered_rows(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return flag if count() == 1 else bool(gathered_rows(np.array(flag, np.int32)).any())


def check_alike(where: str, facts: Mapping[str, Any]) -> None:
    """Raises `RunError` in all processes unless their facts are equal, naming the first that differs and its process.

    Args:
      facts: values of what JSON holds, by name, such as {"batch_size": 64}.
    """
    first, *others = gathered(dict(facts))
    for process, other in enumerate(others, start=1):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                got = f"{first.get(name)!r} in process 0 and {other.get(name)!r} in process {process}"
                fix = "Start all of them with the same settings and the same data."
                raise RunError(where, name, "must be equal in all processes", got, fix)


def by_first(where: str, work: Callable[[], T]) -> T | None:
    """The result of `work`, which process 0 alone does while the others wait; None in the others.

    Raises:
      RunError: in the others, if process 0 raises an error.
    """
    if count() == 1:
        return work()
    result, failed = None, None
    if index() == 0:
        try:
            with alone():
                result = work()
        except BaseException as error:
            failed = error
    told = gathered("" if failed is None else f"{type(failed).__name__}: {failed}")[0]
    if failed is not None:
        raise failed
    if told:
        raise RunError(where, "process 0", "must not fail", told, "Look at its own message.")
    return result


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Process 0 passes through the block before the others, which then find on disk what it has fetched."""
    if count() == 1:
        yield
        return
    if index():
        any_of(False)
        yield
        return
    try:
        yield
    finally:
        any_of(False)


def placed(leaf: Any, sharding: Any) -> Any:
    """An array that all processes have, on the devices of a sharding, which may be those of other processes too."""
    import jax
    from jax.core import Tracer

    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, Tracer):
        return jax.lax.with_sharding_constraint(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:  # there already, or otherwise divided
        return leaf if leaf.sharding == sharding else jax.jit(lambda same: same, out_shardings=sharding)(leaf)
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    value = leaf if is_key else np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda where: value[where])


def own_copy(tree: PyTree) -> PyTree:
    """Arrays that lie on the devices of several processes, each whole in this process: without a copy if they are
    replicated, else in host memory.
    """
    import jax
    from jax.experimental import multihost_utils

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else multihost_utils.process_allgather(leaf, True)

    return tree if jax.process_count() == 1 else jax.tree.map(whole, tree)
