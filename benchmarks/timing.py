"""What the benchmarks share: the time of a call, and another library in a process of its own."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax


def milliseconds(call: Callable[[], object]) -> float:
    """Wall time of one call, its result awaited."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return 1e3 * (time.perf_counter() - start)


class Worker:
    """Another library in a process of its own environment: one line in (what to do), one line out (milliseconds)."""

    def __init__(self, python: str, script: str, *arguments: object):
        command = [python, str(Path(__file__).with_name(script)), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def milliseconds(self, name: str) -> float:
        """Time of one call over there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()
