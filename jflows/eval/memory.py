"""Planned memory against what is free, so that a setting that is too large is one line, not a process that is killed.

A bound is never above what a program needs: what it refuses cannot run. What it lets pass may still be too large.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jflows.errors import InvalidValueError
from jflows.ops.programs import equations_of, nested_in, results_of
from jflows.typing import PyTree

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
KEPT = ("dot_general", "conv_general_dilated", "scan", "while", "sort", "gather", "scatter", "custom_call")
"""Operations whose results XLA writes to memory; those of others may be fused away."""
UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def free_bytes() -> int | None:
    """The free memory of the first device, in bytes; None if it cannot be told."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return free_on_host()
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else limit - stats.get("bytes_in_use", 0)


def free_on_host() -> int | None:
    """The free memory of the machine, or of its control group, in bytes; None if it cannot be told."""
    found = []
    with contextlib.suppress(OSError):
        available = re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
        found += [int(available[1]) * 1024] if available else []
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        limit = int((GROUP / "memory.max").read_text())
        found.append(max(limit - int((GROUP / "memory.current").read_text()), 0))
    return min(found, default=None)


def check_memory(where: str, setting: str, needed: float, what: str, got: object, fix: str, host: bool = False) -> None:
    """Raises `InvalidValueError` if more memory is needed than there is.

    Args:
      needed: the number of bytes, or a lower bound of it.
      what: what needs the memory, such as "a training step".
      got: the value of the setting.
      host: whether it is memory of the machine, not of the device.
    """
    free = free_on_host() if host else free_bytes()
    if free is not None and needed > free:
        rule = f"must let {what} fit into memory: it needs at least {in_words(needed)}, and {in_words(free)} are free"
        raise InvalidValueError(where, setting, rule, got, fix)


def bytes_of(tree: PyTree) -> int:
    """The size of all arrays of a tree, or of what stands for them, in bytes."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def bytes_held(tree: PyTree) -> int:
    """The bytes of abstract arrays that the device holds which holds most of them, by their shardings."""
    held = lambda leaf: leaf if leaf.sharding is None else leaf.update(shape=leaf.sharding.shard_shape(leaf.shape))
    return bytes_of(jax.tree.map(held, tree))


def least_bytes(jaxpr: Any) -> int:
    """A lower bound of the bytes that a traced program holds at once: its arguments, and its largest result."""
    largest = sum(_bytes(each) for each in results_of(jaxpr))
    for equation in equations_of(jaxpr):
        nested = max((least_bytes(each) for each in nested_in(equation)), default=0)
        own = sum(_bytes(each.aval) for each in equation.outvars) if equation.primitive.name in KEPT else 0
        largest = max(largest, nested, own)
    return largest


def in_words(size: float) -> str:
    """A size in a unit that suits it, such as "1.5 GB"."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _bytes(leaf: Any) -> int:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        return 0
    size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.dtype(leaf.dtype).itemsize
    return int(np.prod(leaf.shape, dtype=object)) * size
