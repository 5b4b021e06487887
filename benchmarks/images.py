"""Flows of images: what does depth cost? Compile seconds, step, sample, planned memory. One JSON line per row.

    python benchmarks/images.py                    # all models at depths 4 and 16
    python benchmarks/images.py --model glow --calls 3

A training step is value, gradient and Adam, on a batch of 16 images of 32x32x3. Depth is what `Repeat` scans: Glow's
steps in each of 3 levels (width 64); RealNVP's couplings of each kind in each of 2 scales (2 residual blocks, 32 maps,
ActNorm, as batch normalisation cannot be inverted); spline Glow's steps in each of 3 levels (1 residual block, 32
channels, 4 bins); Flow++'s couplings of each of 3 kinds (1 block, 32 channels, 1 head, 4 logistics); the blocks in each
of 2 scales of a residual flow (32 channels); NICE's layers (2 x 256 units). Each has the first and the last way of
back-propagation that it offers. Compile time must not grow with depth, nor with backprop=invertible the planned memory
of activations. `activations_mb` is what XLA plans for a program that returns the squared norm of the
gradient, less the size of the gradient: one that returns the gradient itself keeps activations in the place of its
results, where they cannot be told apart. The persistent compilation cache is off. `step_ms` and `sample_ms` are
medians.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from timing import milliseconds

import jflows
from jflows.flows import PRESETS, Flow
from jflows.options import settings_of
from jflows.train import NegativeLogLikelihood, init_state, make_train_step
from jflows.typing import Array, Batch, Key, Variables

IMAGE, BATCH = (32, 32, 3), 16
DEPTHS = (4, 16)
OF_REALNVP: Any = dict(num_scales=2, num_blocks=2, width=32, norm="actnorm")
OF_FLOW_PLUS_PLUS: Any = dict(num_blocks=1, width=32, num_heads=1, num_components=4, dequantize="uniform")
MODELS: dict[str, Callable[..., Flow]] = {
    "glow": lambda depth, **options: jflows.glow(IMAGE, 3, depth, 64, **options),
    "realnvp_images": lambda depth, **options: jflows.realnvp_images(
        IMAGE, num_couplings=depth, **OF_REALNVP, **options
    ),
    "spline_glow": lambda depth, **options: jflows.spline_glow(IMAGE, 3, depth, 32, 1, **options),
    "flow_plus_plus": lambda depth, **options: jflows.flow_plus_plus(
        IMAGE, (depth, depth, depth), **OF_FLOW_PLUS_PLUS, **options
    ),
    "residual_images": lambda depth, **options: jflows.residual_images(IMAGE, 2, depth, 32, **options),
    "nice_images": lambda depth, **options: jflows.nice_images(IMAGE, depth, (256, 256), **options),
}


def modes(model: str) -> tuple[str, str]:
    """The ways of back-propagation to measure: the one that stores all, and the one that stores least."""
    (backprop,) = (each for each in settings_of(PRESETS[model]) if each.name == "backprop")
    return backprop.option.choices[0], backprop.option.choices[-1]


def compiled(call: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    """The program of a call, and the seconds to trace and to compile it."""
    start = time.perf_counter()
    lowered = jax.jit(call).lower(*args)
    traced = time.perf_counter()
    program = lowered.compile()
    return program, traced - start, time.perf_counter() - traced


def gradient_norm(flow: Flow, variables: Variables, x: Array, key: Key) -> Array:
    """The squared norm of the gradient of the mean log density, a scalar."""
    loss = lambda params: jnp.mean(flow.apply_loss({**variables, "params": params}, x, key=key)[0])
    return sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(jax.grad(loss)(variables["params"])))


def row(model: str, depth: int, backprop: str, calls: int) -> dict[str, Any]:
    """Compiles and times a training step and a sample."""
    flow, optimizer, key = MODELS[model](depth, backprop=backprop), optax.adam(1e-4), jax.random.key(1)
    x = jax.random.randint(jax.random.key(0), (BATCH, *IMAGE), 0, 256).astype(jnp.uint8)
    batch = Batch(x, None, jnp.ones(BATCH), jnp.arange(BATCH, dtype=jnp.uint32))
    state = init_state(jax.jit(flow.init)(key, x), optimizer, key)
    step, trace_seconds, compile_seconds = compiled(
        make_train_step(flow, optimizer, NegativeLogLikelihood()), state, batch
    )
    variables = state.variables
    sample, _, sample_seconds = compiled(lambda variables, key: flow.sample(variables, key, (BATCH,)), variables, key)
    norm = compiled(functools.partial(gradient_norm, flow), state.variables, x, key)[0]
    runs = {"step_ms": functools.partial(step, state, batch), "sample_ms": functools.partial(sample, variables, key)}
    times = {}
    for name, run in runs.items():
        milliseconds(run)
        times[name] = round(statistics.median(milliseconds(run) for _ in range(calls)), 1)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    planned = norm.memory_analysis().temp_size_in_bytes - 4 * parameters
    return {
        "benchmark": "images",
        "model": model,
        "depth": depth,
        "backprop": backprop,
        "trace_seconds": round(trace_seconds, 2),
        "compile_seconds": round(compile_seconds, 2),
        "sample_compile_seconds": round(sample_seconds, 2),
        **times,
        "activations_mb": round(planned / 1e6, 2),
        "parameters": parameters,
        "calls": calls,
        "jax": jax.__version__,
    }


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(MODELS), help="one model only")
    parser.add_argument("--calls", type=int, default=10)
    options = parser.parse_args()
    for model in MODELS if options.model is None else (options.model,):
        for backprop in modes(model):
            for depth in DEPTHS:
                print(json.dumps(row(model, depth, backprop, options.calls)), flush=True)


if __name__ == "__main__":
    main()
