"""Coupling flows: as fast as elsewhere, and what do they take to compile? One JSON line per row.

    python benchmarks/coupling.py                      # jflows alone: compile time and planned memory
    python benchmarks/coupling.py --other flowjax --other-python PATH      # also distrax, distrax_masked, nflows, zuko

"realnvp": 8 affine couplings. "nsf": 5 couplings of rational-quadratic splines, 8 bins on [-3, 3]. D = 64, batch 1024,
float32; every conditioner takes 32 coordinates through two hidden layers of 128 with ReLU to the parameters of the
others. Mean log-density, its gradient by all parameters, and a sample. What differs is what a library offers: how a
scale is bounded; reversals between layers here, fixed shuffles in flowjax, alternate masks in the rest; a scan over
layers here and in flowjax. distrax has no networks, so plain matrix products stand for them; "distrax" cuts the
coordinates (`SplitCoupling`), "distrax_masked" masks them, as its own example of a flow does (`MaskedCoupling`), so its
networks are of 64 coordinates. Another library runs in its own environment and takes turns with jflows, one call each;
`times_faster` is the median ratio of the pairs. A loaded machine slows PyTorch more than XLA: run it on a quiet one.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from timing import Worker, drawn_variables, milliseconds

import jflows
from jflows.flows import Flow


class Size(NamedTuple):
    """Of one comparison; `vectors_worker.py` takes the same numbers on its command line."""

    dim: int
    num_layers: int
    hidden: int
    batch: int


SIZES = {"realnvp": Size(64, 8, 128, 1024), "nsf": Size(64, 5, 128, 1024)}
OTHERS = ("flowjax", "distrax", "distrax_masked", "nflows", "zuko")


def build(model: str, size: Size) -> Flow:
    """The flow of the comparison."""
    make = {"realnvp": jflows.realnvp, "nsf": jflows.nsf_coupling}[model]
    return make((size.dim,), size.num_layers, (size.hidden, size.hidden), permutation="reverse", standardize=False)


def lowered_calls(model: str, size: Size) -> dict[str, tuple[Any, tuple]]:
    """What is timed, traced but not compiled, with its arguments."""
    flow, key = build(model, size), jax.random.key(0)
    x = jax.random.normal(key, (size.batch, size.dim))
    variables = drawn_variables(flow, x)
    gradient = jax.value_and_grad(lambda variables, x: jnp.mean(flow.log_prob(variables, x)))
    functions = {
        "log_prob": (flow.log_prob, (variables, x)),
        "gradient": (gradient, (variables, x)),
        "sample": (lambda variables, key: flow.sample(variables, key, (size.batch,)), (variables, key)),
    }
    return {name: (jax.jit(call).lower(*args), args) for name, (call, args) in functions.items()}


def compiled_calls(model: str, size: Size) -> dict[str, tuple[Callable[[], object], dict[str, float]]]:
    """What is timed, with the seconds it took to compile and the memory that XLA planned for it."""
    calls = {}
    for name, (lowered, args) in lowered_calls(model, size).items():
        start = time.perf_counter()
        compiled = lowered.compile()
        seconds = time.perf_counter() - start
        megabytes = compiled.memory_analysis().temp_size_in_bytes / 1e6
        facts = {"compile_s": round(seconds, 2), "planned_temp_mb": round(megabytes, 2)}
        calls[name] = (lambda compiled=compiled, args=args: compiled(*args)), facts
    return calls


def rows(model: str, num_calls: int, library: str | None, python: str) -> None:
    """Prints medians of jflows' calls; beside another library, of interleaved calls and the ratios of their pairs."""
    other = None if library is None else Worker(python, "vectors_worker.py", library, model, *SIZES[model])
    versions = {"jflows": jflows.__version__, "jax": jax.__version__} | (other.versions() if other else {})
    for name, (ours, facts) in compiled_calls(model, SIZES[model]).items():
        calls = [lambda ours=ours: milliseconds(ours)]
        if other is not None:
            calls.append(lambda name=name: other.milliseconds(name))
        for call in calls:  # the first ones compile, or fill caches
            call()
        times = [[call() for call in calls] for _ in range(num_calls)]
        row = {"benchmark": f"coupling/{model}", "what": name, "calls": num_calls}
        medians = [round(statistics.median(column), 2) for column in zip(*times, strict=True)]
        row |= dict(zip(["jflows_ms", f"{library}_ms"], medians, strict=False))
        if other is not None:
            row["times_faster"] = round(statistics.median(theirs / own for own, theirs in times), 2)
        print(json.dumps(row | facts | {"versions": versions}), flush=True)
    if other is not None:
        other.close()


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(SIZES), help="one model only")
    parser.add_argument("--other", choices=OTHERS, help="the library to compare with")
    parser.add_argument("--other-python", default="", help="python of an environment with that library")
    parser.add_argument("--calls", type=int, default=25)
    options = parser.parse_args()
    if (options.other is None) != (not options.other_python):
        sys.exit("benchmarks/coupling.py: --other and --other-python go together; give both or none.")
    for model in SIZES if options.model is None else (options.model,):
        rows(model, options.calls, options.other, options.other_python)


if __name__ == "__main__":
    main()
