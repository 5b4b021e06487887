"""What does a mixture of K flows cost, beside training K such flows alone, and does it compile once?

Optimizer steps (loss, gradient, Adam, averages) of `jflows.mixture_of_flows` with its encoder, and of one component
alone, in turn, round by round. `ratio` is the mixture's time over K times that of the component: of the fastest rounds,
and the median of the rounds' ratios. `compile_seconds` has the mixture for 2 components and for K, and the component.

    python benchmarks/mixture.py [--rows pinwheel,digits] [--components 5] [--rounds 10]

`pinwheel`: RealNVP of 8 couplings on vectors of 2, hidden 8, batch 512. `digits`: MAF of 5 layers on vectors of 784,
hidden 200, batch 100.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import milliseconds

import jflows
from jflows.train import MixtureLoss, NegativeLogLikelihood, init_state, make_train_step
from jflows.typing import Batch

ROWS = {  # component, encoder, batch size, steps per call
    "pinwheel": (jflows.realnvp((2,), 8, (8,), standardize=False), jflows.nn.MLP((3,)), 512, 50),
    "digits": (jflows.maf((784,), 5, (200,), standardize=False), jflows.nn.MLP((512,)), 100, 2),
}


def make_steps(model, loss, batches: Batch) -> tuple[Callable, float]:
    """A call that takes as many steps as `batches` has, and the seconds its compilation took."""
    optimizer = optax.adam(1e-3)
    state = init_state(model.init(jax.random.key(0), batches.x[0]), optimizer, jax.random.key(1))
    steps = jax.jit(functools.partial(jax.lax.scan, make_train_step(model, optimizer, loss)))
    start = time.perf_counter()
    compiled = steps.lower(state, batches).compile()
    seconds = time.perf_counter() - start
    return lambda: compiled(state, batches), seconds


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="Cost of a mixture of flows.")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--components", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    for name in options.rows.split(","):
        flow, encoder, size, num_steps = ROWS[name]
        x = np.random.default_rng(0).standard_normal((num_steps, size, *flow.event_shape), np.float32)
        weight = jnp.ones((num_steps, size))
        batches = Batch(jnp.asarray(x), None, weight, jnp.zeros((num_steps, size), jnp.uint32))
        mixtures = {k: jflows.mixture_of_flows(flow, encoder, k) for k in (2, options.components)}
        compiled = {k: make_steps(mixture, MixtureLoss(), batches) for k, mixture in mixtures.items()}
        alone, alone_seconds = make_steps(flow, NegativeLogLikelihood(), batches)
        together = compiled[options.components][0]
        milliseconds(together), milliseconds(alone)
        times = [(milliseconds(together), milliseconds(alone)) for _ in range(options.rounds)]
        best = [min(column) / num_steps for column in zip(*times, strict=True)]
        row = {
            "row": name,
            "components": options.components,
            "mixture_ms": round(best[0], 3),
            "component_ms": round(best[1], 3),
            "ratio": round(best[0] / best[1] / options.components, 2),
            "ratio_median": round(statistics.median(a / b for a, b in times) / options.components, 2),
            "compile_seconds": {str(k): round(seconds, 2) for k, (_, seconds) in compiled.items()},
            "component_compile_seconds": round(alone_seconds, 2),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
