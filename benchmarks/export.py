"""What does it cost to write a flow as programs, and to run these, with the weights as an argument or as constants?

    taskset -c 1 python benchmarks/export.py > benchmarks/results/export.jsonl

Flows have the weights that they start with, and noise. Each line is one program: of one flow, one method, one list of
platforms, with an open or a given number of rows, and weights that are an argument (as `jflows export` writes them) or
part of the program:

    write       seconds to lower and serialise it
    kilobytes   of the program; those of the weights are in `weights`
    first       seconds of the first call: to read, compile for this CPU, and run it on `rows` rows
    call, own   milliseconds of a later call, and of a call of jflows' own method: medians of `--calls`, by turns
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from timing import milliseconds

import jflows
from jflows.flows import Density, Flow, Program, named_arrays, programs
from jflows.flows.programs import KEY_KIND, PLATFORMS
from jflows.runs import find_recipe
from jflows.typing import Variables

ROWS = 64


def of_config(name: str) -> Density:
    """The flow of a config."""
    _, recipe = find_recipe(name)
    return recipe.build(recipe.data.outline())


FLOWS: dict[str, Callable[[], Density]] = {
    "glow_digits": lambda: of_config("glow_digits"),
    "glow_mnist": lambda: of_config("glow_mnist"),
    "realnvp, 64 columns, 8 couplings of 2 x 128": lambda: jflows.realnvp((64,), 8, (128, 128)),
}
KINDS = [  # platforms, number of rows, whether weights are constants
    (PLATFORMS, None, False),
    (PLATFORMS, None, True),
    (("cpu",), None, False),
    (("cpu",), ROWS, False),
]


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="The costs of flows that are written as programs.")
    parser.add_argument("--calls", type=int, default=15)
    options = parser.parse_args()
    for name, make in FLOWS.items():
        flow = make()
        assert isinstance(flow, Flow)
        x = data_of(flow)
        variables = noisy(flow.init(jax.random.key(0), x))
        arrays = named_arrays(variables)
        for program in programs(flow, variables):
            given = arguments_of(program, x)
            own = own_call(flow, variables, program, given)
            for platforms, rows, is_constant in KINDS:
                found = costs(program, arrays, given, platforms, rows, is_constant, own, options.calls)
                row = {"flow": name, "method": program.name, "platforms": ",".join(platforms), "batch": rows or "open"}
                row |= {"weights are": "constants" if is_constant else "an argument", **found}
                print(
                    json.dumps(row | {"weights": kilobytes(sum(array.nbytes for array in arrays.values()))}), flush=True
                )


def data_of(flow: Flow) -> jax.Array:
    """Rows or images of noise."""
    random, bits = np.random.default_rng(0), flow.reading.num_bits
    shape = (ROWS, *flow.event_shape)
    x = random.standard_normal(shape) if bits is None else random.integers(0, 2**bits, shape)
    return jax.numpy.asarray(x.astype(flow.reading.dtype))


def arguments_of(program: Program, x: jax.Array) -> list[jax.Array]:
    """What the program takes after the weights."""
    keys = jax.numpy.asarray(np.random.default_rng(1).integers(2**32, size=(ROWS, 2), dtype=np.uint32))
    values = {"x": x, "key_data": keys, "temperature": jax.numpy.float32(1)}
    return [values[each.name] for each in program.arguments]


def noisy(variables: Variables) -> Variables:
    """Weights as if trained: those at the start end in zeros, which a program would hold as one number."""
    random = np.random.default_rng(2)
    moved = lambda leaf: leaf + 0.01 * random.standard_normal(leaf.shape).astype(leaf.dtype)
    return {**variables, "params": jax.tree.map(moved, variables["params"])}


def own_call(flow: Flow, variables: Variables, program: Program, given: list[jax.Array]) -> Callable[[], object]:
    """The method that the program is made of."""
    values = dict(zip([each.name for each in program.arguments], given, strict=True))
    keys = jax.random.wrap_key_data(values["key_data"], impl=KEY_KIND) if "key_data" in values else None
    if program.name == "log_prob":
        return functools.partial(jax.jit(flow.log_prob), variables, values["x"], key=keys)
    sample = jax.jit(lambda variables, keys, heat: flow.sample(variables, keys, (ROWS,), None, heat))
    return functools.partial(sample, variables, keys, values["temperature"])


def costs(
    program: Program,
    arrays: dict[str, np.ndarray],
    given: list[jax.Array],
    platforms: tuple[str, ...],
    rows: int | None,
    is_constant: bool,
    own_method: Callable[[], object],
    calls: int,
) -> dict[str, float]:
    """What writing and running one program takes."""
    own = arrays
    if is_constant:
        held = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
        program = program._replace(function=lambda _, *arguments, run=program.function: run(held, *arguments))
        own = {}
    start = time.perf_counter()
    written = program.export(own, platforms, rows).serialize()
    write = time.perf_counter() - start
    on_device = jax.device_put(own)
    start = time.perf_counter()
    call = functools.partial(jax.jit(jax.export.deserialize(written).call), on_device, *given)
    jax.block_until_ready(call())
    first = time.perf_counter() - start
    milliseconds(own_method)
    times = [(milliseconds(call), milliseconds(own_method)) for _ in range(calls)]
    of_call, of_own = (round(statistics.median(each), 3) for each in zip(*times, strict=True))
    return {
        "write": round(write, 2),
        "kilobytes": kilobytes(len(written)),
        "first": round(first, 2),
        "call": of_call,
        "own": of_own,
    }


def kilobytes(size: int) -> float:
    """Rounded to three digits after the point."""
    return round(size / 1000, 3)


if __name__ == "__main__":
    main()
