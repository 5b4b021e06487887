"""Masked autoregressive flows: what does a sample cost, and is it as fast as elsewhere? One JSON line per row.

    python benchmarks/autoregressive.py                     # jflows alone, beside one pass per coordinate
    python benchmarks/autoregressive.py --other flowjax --other-python PATH      # also nflows, zuko

"wide": D = 784, one layer, hidden 2 x 1024, 16 examples. "deep": D = 64, 5 layers of 2 x 256, orders alternating, 256
examples. Mean log-density, its gradient, and a sample; affine maps, ReLU. Another library runs in its own environment
and takes turns with jflows, one call each. A loaded machine slows PyTorch more than XLA: run it on a quiet one.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from timing import Worker, drawn_variables, milliseconds

from jflows.bijectors import Affine, Chain, MaskedAutoregressive, Repeat, Reverse
from jflows.distributions import StandardNormal
from jflows.flows import Flow
from jflows.nn import MADE
from jflows.typing import PyTree


class Size(NamedTuple):
    """Of one comparison; `vectors_worker.py` takes the same numbers on its command line."""

    dim: int
    num_layers: int
    hidden: int
    batch: int


SIZES = {"wide": Size(784, 1, 1024, 16), "deep": Size(64, 5, 256, 256)}
OTHERS = ("flowjax", "nflows", "zuko")


def build(size: Size) -> Flow:
    """The flow of the comparison."""
    step = Chain((MaskedAutoregressive(MADE((size.hidden, size.hidden)), Affine()), Reverse()))
    return Flow(Repeat(step, size.num_layers), StandardNormal((size.dim,)), (size.dim,))


def by_passes(flow: Flow, variables: PyTree, z: jax.Array) -> jax.Array:
    """One pass of the network per coordinate and layer, as is usual elsewhere."""
    layer: Any = flow.bijector.layer.layers[0]
    num_layers, dim = flow.bijector.num_layers, z.shape[-1]
    weights = variables["params"]["bijector"]["layers"]["layers_0"]["conditioner"]
    for k in range(num_layers):
        own = {"params": jax.tree.map(lambda leaf, k=k: leaf[k], weights)}

        def update(_, x, z=z, own=own):
            params = layer.conditioner.apply(own, x, 2 * dim).reshape(*x.shape[:-1], 2, dim)
            return layer.inner.apply({}, z, params, method="forward_and_log_det")[0]

        z = jax.lax.fori_loop(0, dim, update, jnp.zeros_like(z))[..., ::-1]
    return z


def calls_of_jflows(size: Size) -> dict[str, Callable[[], object]]:
    """What is timed; each is compiled by its first call."""
    flow, key = build(size), jax.random.key(0)
    x = jax.random.normal(key, (size.batch, size.dim))
    variables = drawn_variables(flow, x)
    log_prob = jax.jit(flow.log_prob)
    gradient = jax.jit(jax.value_and_grad(lambda variables: jnp.mean(flow.log_prob(variables, x))))
    sample = jax.jit(lambda variables: flow.sample(variables, key, (size.batch,)))
    sample_gradient = jax.jit(jax.grad(lambda variables: jnp.mean(flow.sample(variables, key, (size.batch,)) ** 2)))
    passes = jax.jit(lambda variables, z: by_passes(flow, variables, z))
    return {
        "log_prob": lambda: log_prob(variables, x),
        "gradient": lambda: gradient(variables),
        "sample": lambda: sample(variables),
        "sample_gradient": lambda: sample_gradient(variables),
        "sample_by_passes": lambda: passes(variables, x),
    }


def alone_rows(title: str, num_calls: int) -> None:
    """Prints medians of jflows' own calls."""
    for name, call in calls_of_jflows(SIZES[title]).items():
        first = milliseconds(call)
        times = [milliseconds(call) for _ in range(3 if name == "sample_by_passes" else num_calls)]
        row = {"benchmark": f"autoregressive/{title}", "what": name, "jflows_ms": round(statistics.median(times), 2)}
        print(json.dumps(row | {"min_ms": round(min(times), 2), "first_call_s": round(first / 1e3, 2)}), flush=True)


def versus_rows(title: str, num_calls: int, library: str, python: str) -> None:
    """Prints medians of interleaved calls, and the median ratio of the pairs."""
    other, ours = Worker(python, "vectors_worker.py", library, "maf", *SIZES[title]), calls_of_jflows(SIZES[title])
    for name in ("log_prob", "gradient", "sample"):
        milliseconds(ours[name])
        other.milliseconds(name)
        count = 3 if (name, title) == ("sample", "wide") else num_calls
        pairs = [(milliseconds(ours[name]), other.milliseconds(name)) for _ in range(count)]
        row = {"benchmark": f"autoregressive/{title}", "what": name, "pairs": count}
        row["jflows_ms"], row[f"{library}_ms"] = (round(statistics.median(c), 2) for c in zip(*pairs, strict=True))
        row["times_faster"] = round(statistics.median(b / a for a, b in pairs), 2)
        print(json.dumps(row), flush=True)
    other.close()


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), help="one size only")
    parser.add_argument("--other", choices=OTHERS, help="the library to compare with")
    parser.add_argument("--other-python", help="python of an environment with that library")
    parser.add_argument("--calls", type=int, default=15)
    options = parser.parse_args()
    if (options.other is None) != (options.other_python is None):
        sys.exit("benchmarks/autoregressive.py: --other and --other-python go together; give both or none.")
    for title in SIZES if options.size is None else (options.size,):
        if options.other is None:
            alone_rows(title, options.calls)
        else:
            versus_rows(title, options.calls, options.other, options.other_python)


if __name__ == "__main__":
    main()
