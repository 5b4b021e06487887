"""Glow: what does depth cost? One JSON line per row; `jflows bench --only glow` compares it with normflows.

    python benchmarks/glow.py                        # compile seconds, step time, planned memory

A training step (value, gradient, Adam) of 3 levels, width 64, batch 16, 32x32x3, per steps per level and mode of
back-propagation.
"""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp
import optax
from timing import milliseconds

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


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=15)
    options = parser.parse_args()
    for backprop in MODES:
        for num_steps in DEPTHS:
            print(json.dumps(depth_row(num_steps, backprop, options.calls)), flush=True)


if __name__ == "__main__":
    main()
