"""What this machine can do, measured: products, elementary functions, bytes moved, and calls of nothing."""

import datetime
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PRODUCT_SIZE = {"cpu": 1536}  # rows and columns of the matrices
COPY_BYTES = {"cpu": (2 << 20, 16 << 20, 128 << 20)}  # as caches near to the core, all caches, and none hold
LARGE_PRODUCT, LARGE_COPY = 8192, (2 << 30,)  # on other devices
REPEATS = 6
QUIET_LOAD = 0.5  # processes that others keep running


class Peaks(NamedTuple):
    """The best that was measured, for one dtype.

    Attributes:
      flops: additions and multiplications a second in one large matrix product, at JAX's default precision.
      copies: bytes that a copy reads and writes, and how many of them in a second; the larger ones come last.
      functions: values of exp a second, over an array that the caches hold.
      dispatch: seconds that a call of a program takes which does nothing.
    """

    flops: float
    copies: tuple[tuple[int, float], ...]
    functions: float
    dispatch: float

    def bytes_rate(self, moved: int) -> float:
        """Bytes a second at which as many can be read and written, which is more if caches hold them."""
        rates = [rate for size, rate in self.copies if moved <= size]
        return max(rates, default=self.copies[-1][1])


def milliseconds(call: Callable[[], object], count: int = 1) -> float:
    """Mean wall time of `count` calls one after the other, each of whose results is awaited."""
    start = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(call())
    return 1e3 * (time.perf_counter() - start) / count


@functools.cache
def peaks(dtype: str) -> Peaks:
    """The peaks of JAX's first device; it takes about a second, once for each dtype."""
    device = jax.devices()[0].platform
    size, copied = PRODUCT_SIZE.get(device, LARGE_PRODUCT), COPY_BYTES.get(device, LARGE_COPY)
    with jax.enable_x64(dtype == "float64"):
        matrix = jnp.full((size, size), 0.5, dtype)
        product = _best(lambda a: a @ a, matrix)
        copies = []
        for num_bytes in copied:
            values = jnp.ones(num_bytes // matrix.itemsize, dtype)
            copies.append((2 * values.nbytes, 2 * values.nbytes / _best(lambda a: a + 1, values)))
        few = values[: 1 << 16] if device == "cpu" else values
        exponentials = _best(jnp.exp, few, 40)
        nothing = _best(lambda a: a, jnp.zeros(8, dtype), 40)
    return Peaks(
        flops=2 * size**3 / product,
        copies=tuple(copies),
        functions=few.size / exponentials,
        dispatch=nothing,
    )


def _best(function: Callable, value: jax.Array, count: int = 1) -> float:
    """Seconds of the fastest call; the first one compiles."""
    run = jax.jit(function)
    jax.block_until_ready(run(value))
    return min(milliseconds(lambda: run(value), count) for _ in range(REPEATS)) / 1e3


def description(dtypes: Iterable[str], libraries: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Device, peaks, versions, commit, and whether the machine is quiet as the measurement begins.

    Args:
      dtypes: those whose peaks are wanted.
      libraries: for each other library the versions of it and of what it computes with.
    """
    device, load = jax.devices()[0], os.getloadavg()[0]
    versions = {name: metadata.version(name) for name in ("jflows-flax", "jax", "jaxlib", "flax")}
    return {
        "platform": device.platform,
        "kind": processor() if device.platform == "cpu" else device.device_kind,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "libraries": dict(libraries),
        "commit": commit(),
        "peaks": {dtype: peaks(dtype)._asdict() for dtype in dtypes},
        "date": datetime.date.today().isoformat(),
        "load": round(load, 2),
        "quiet": load < QUIET_LOAD,
    }


def processor() -> str:
    """The name of the processor, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def commit() -> str | None:
    """The commit of the checkout as this process begins, with + if files of the package differ; None for a wheel."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():
        return None
    git = lambda *words: subprocess.run(["git", *words], cwd=package, capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", ".") else "")
