"""Glow: what does depth cost, and is it as fast as normflows? One JSON line per row.

    python benchmarks/glow.py depth                        # compile seconds, step time, planned memory
    python benchmarks/glow.py versus --other-python PATH   # beside normflows, in an environment with `normflows`, torch

Depth: a training step (value, gradient, Adam) of 3 levels, width 64, batch 16, 32x32x3, per steps per level and mode of
back-propagation. Versus: 3 levels x 8 steps, width 128, batch 16; the two libraries take turns, one call each, in one
run. A loaded machine slows PyTorch more than XLA: run it on a quiet one.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from timing import Worker, milliseconds

import jflows
from jflows.train import NegativeLogLikelihood, init_state, make_train_step
from jflows.typing import Batch

IMAGE, BATCH, LEVELS = (32, 32, 3), 16, 3
DEPTHS = (4, 8, 16, 32)
MODES = ("standard", "remat", "invertible")


def example_batch() -> Batch:
    """16 random images."""
    x = jax.random.randint(jax.random.key(0), (BATCH, *IMAGE), 0, 256).astype(jnp.uint8)
    return Batch(x, None, jnp.ones(BATCH), jnp.arange(BATCH, dtype=jnp.uint32))


def depth_row(num_steps: int, backprop: str, calls: int) -> dict:
    """Lowers, compiles and times one training step; the persistent compilation cache is off."""
    flow = jflows.glow(IMAGE, LEVELS, num_steps, width=64, backprop=backprop)
    optimizer = optax.adam(1e-4)
    batch = example_batch()
    state = init_state(flow.init(jax.random.key(1), batch.x), optimizer, jax.random.key(2))
    step = jax.jit(make_train_step(flow, optimizer, NegativeLogLikelihood()))
    start = time.perf_counter()
    lowered = step.lower(state, batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    compiled(state, batch)
    times = [milliseconds(lambda: compiled(state, batch)) for _ in range(calls)]
    return {
        "benchmark": "glow/depth",
        "steps_per_level": num_steps,
        "backprop": backprop,
        "trace_seconds": round(traced - start, 2),
        "compile_seconds": round(done - traced, 2),
        "step_ms_median": round(statistics.median(times), 1),
        "step_ms_min": round(min(times), 1),
        "planned_temp_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 2),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def jflows_calls() -> dict[str, Callable[[], object]]:
    """The three things timed, compiled on their first call."""
    flow = jflows.glow(IMAGE, LEVELS, num_steps=8, width=128)
    batch = example_batch()
    variables = flow.init(jax.random.key(1), batch.x)
    keys = jax.random.split(jax.random.key(2))

    def mean_log_prob(params, variables, x):
        return jnp.mean(flow.log_prob({**variables, "params": params}, x, key=keys[0]))

    log_prob = jax.jit(lambda variables, x: flow.log_prob(variables, x, key=keys[0]))
    gradient = jax.jit(jax.value_and_grad(mean_log_prob))
    sample = jax.jit(lambda variables: flow.sample(variables, keys[1], (BATCH,)))
    return {
        "log_prob": lambda: log_prob(variables, batch.x),
        "gradient": lambda: gradient(variables["params"], variables, batch.x),
        "sample": lambda: sample(variables),
    }


def versus_rows(python: str, calls: int) -> list[dict]:
    """Medians of interleaved calls, and the median ratio of the pairs."""
    other, rows = Worker(python, "normflows_worker.py"), []
    for name, call in jflows_calls().items():
        for _ in range(3):
            milliseconds(call)
            other.milliseconds(name)
        pairs = [(milliseconds(call), other.milliseconds(name)) for _ in range(calls)]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        rows.append(
            {
                "benchmark": "glow/versus",
                "what": name,
                "jflows_ms": round(ours, 1),
                "normflows_ms": round(theirs, 1),
                "times_faster": round(ratio, 2),
                "pairs": calls,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    other.close()
    return rows


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("depth", "versus"))
    parser.add_argument("--other-python", help="python of an environment with torch and normflows")
    parser.add_argument("--calls", type=int, default=15)
    options = parser.parse_args()
    if options.what == "versus":
        if options.other_python is None:
            sys.exit("benchmarks/glow.py: versus needs --other-python, a python with torch and normflows installed.")
        versus_rows(options.other_python, options.calls)
        return
    for backprop in MODES:
        for num_steps in DEPTHS:
            print(json.dumps(depth_row(num_steps, backprop, options.calls)), flush=True)


if __name__ == "__main__":
    main()
