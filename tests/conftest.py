"""Settings of the whole suite: float64, eight CPU devices, one compilation cache shared by workers and child processes.

What a child process (the `jflows` command, a doctest) must see as a user does stays out of the environment: there,
precision and device count keep their defaults; machine code is optimised less everywhere, which changes roundings
only. Eight devices cost nothing measurable on programs that use one.
"""

import ctypes
import gc
import itertools
import os
from importlib.metadata import version
from pathlib import Path

XLA_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12):  # XLA ends the process at a flag it does not know
    # The fusion emitters, which lower through MLIR, take more than half of what compiling takes without them.
    XLA_FLAGS.append("--xla_cpu_use_fusion_emitters=false")

for name, value in {
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "agg",
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).resolve().parents[1] / ".cache" / "jax"),
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # nearly all time goes into compiling programs that run once
    "XLA_FLAGS": " ".join(XLA_FLAGS),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # the default, 1 s, skips nearly everything compiled here
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}.items():
    os.environ.setdefault(name, value)

import hypothesis
import jax
import pytest

# JAX keeps millions of objects of traced programs alive: with Python's thresholds, walking through them again and again
# takes most of the time of a whole run.
gc.set_threshold(100_000, 20, 20)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)

hypothesis.settings.register_profile("jflows", deadline=None, derandomize=True)
hypothesis.settings.load_profile("jflows")


WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Of one worker, after which compiled programs are given up, which takes ten seconds; the cache on disk still has them.
MOST_BYTES = min(9e9, 0.7 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / WORKERS)
MOST_MAPPINGS = 40_000  # of memory; programs have several each, and Linux ends a process that asks for more than 65,530
TESTS_BETWEEN = 50  # two looks at the process, as it takes 15 ms to count 40,000 mappings

tests_seen = itertools.count(1)


@pytest.fixture(autouse=True)
def programs_are_given_up():
    """Keeps the workers of a long run in the memory of a small machine, and below the mappings that Linux allows."""
    yield
    process = Path("/proc/self")
    if next(tests_seen) % TESTS_BETWEEN or not (process / "statm").exists():
        return
    held = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if held > MOST_BYTES or (process / "maps").read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()
        # The C library keeps what is free: without this the process stays as large, and gives up all programs again
        # after every few tests, which doubles the time of a run.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


@pytest.fixture
def without_pictures(monkeypatch):
    """Runs of the test draw nothing of the flow, which takes longer than to train a tiny one."""
    monkeypatch.setattr("jflows.runs.running.write_reports", lambda *_: [])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """`@pytest.mark.by_default("a", "b")` leaves the variants a and b in the default set; all others are slow.

    `@pytest.mark.first` runs a test before all others: clearing JAX's caches takes ten seconds once a worker holds
    thousands of programs, and those that the following tests share are then loaded again.
    """
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    left: dict[str, set[str]] = {}
    for item in items:
        mark = item.get_closest_marker("by_default")
        if mark is not None:
            name = item.callspec.id
            left.setdefault(item.nodeid.partition("[")[0], set(mark.args)).discard(name)
            if name not in mark.args:
                item.add_marker(pytest.mark.slow)
    for test, unknown in left.items():
        if unknown and len({item for item in items if item.nodeid.startswith(f"{test}[")}) > 1:
            raise pytest.UsageError(f"{test}: by_default names variants that do not exist: {sorted(unknown)}")
