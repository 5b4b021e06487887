"""What the benchmarks share: the time of a call, parameters as if trained, another library in a process of its own."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax

from jflows.flows import Density
from jflows.typing import PyTree


def milliseconds(call: Callable[[], object]) -> float:
    """Wall time of one call, its result awaited."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return 1e3 * (time.perf_counter() - start)


def drawn_variables(flow: Density, x: jax.Array) -> PyTree:
    """Those of `init` end in zeros: a map for which any inversion is done at once."""
    leaves, tree = jax.tree.flatten(flow.init(jax.random.key(1), x))
    keys = jax.random.split(jax.random.key(2), len(leaves))
    is_drawn = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)  # permutations are integers
    noisy = lambda key, leaf: leaf + 0.01 * jax.random.normal(key, leaf.shape) if is_drawn(leaf) else leaf
    return jax.tree.unflatten(tree, [noisy(key, leaf) for key, leaf in zip(keys, leaves, strict=True)])


class Worker:
    """Another library in a process of its own environment: one line in (what to do), one line out (milliseconds)."""

    def __init__(self, python: str, script: str, *arguments: object):
        command = [python, str(Path(__file__).with_name(script)), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def milliseconds(self, name: str) -> float:
        """Time of one call over there."""
        return float(self._ask(name))

    def versions(self) -> dict[str, str]:
        """Of the library and what it computes with."""
        return json.loads(self._ask("versions"))

    def _ask(self, request: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()
