"""Is what was proved on a CPU true on this accelerator, and how much of it is used? One JSON line per row.

    python benchmarks/accelerator.py                        # eight minutes on one GPU
    python benchmarks/accelerator.py --only speed --minutes 3
    python benchmarks/accelerator.py --small --minutes 1    # tiny sizes, as the test of this script on a CPU

"bijectors": every bijector of `tests/cases.py` in float32 on the device, beside float64 on the host: the largest errors
of the round trip and of the log-det, with products of the highest precision; "ok" compares with the case's bound.
"presets": log density and gradient of every preset of `tests/presets.py` on the device and on the host, same weights
and noise, with products of the highest precision and of the device's default one, which rounds their inputs.
"speed": density, training step (Adam) and samples of flows of usual size, at a usual batch and at batches that fill the
device: milliseconds (median), elements of data a second, planned bytes, the bytes that the device has held at most so
far, and the share of the device's own rate for one large product of the same precision. Additions and multiplications
are those of matrix products and convolutions alone (`jflows.ops.programs.product_flops`). The same density, gradient
and sample by flowjax and distrax, where they are installed, interleaved call by call; `times_faster` is the median
ratio. Each part takes its share of the minutes, and names in its last row what it had no time for.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import drawn_variables, milliseconds
from vectors_worker import distrax_calls, flowjax_calls

import jflows
from jflows.flows import Density
from jflows.ops.programs import product_flops
from jflows.testing import float32_errors
from jflows.train.losses import NegativeLogLikelihood
from jflows.train.step import init_state, make_train_step
from jflows.typing import Batch

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"bijectors": 0.35, "presets": 0.25, "speed": 0.4}
FLOAT32_TOL = 1e-4  # of `check_bijector`, where a case states none
PRECISIONS = ("highest", "default")
OTHERS = {"distrax": lambda *size: distrax_calls(False, *size), "flowjax": flowjax_calls}
Row = dict[str, Any]


class Speed(NamedTuple):
    """A flow to be timed, and the batches; `vector` holds what other libraries need to build the same."""

    flow: Density
    batches: tuple[int, ...]
    vector: tuple[str, int, int, int] | None = None


def speeds(small: bool) -> dict[str, Speed]:
    """The flows of the part "speed": those of benchmarks/coupling.py, autoregressive.py and glow.py."""
    pair = dict(permutation="reverse", standardize=False)
    if small:
        of_images = jflows.glow((8, 8, 1), num_levels=2, num_steps=2, width=8)
        return {
            "realnvp": Speed(jflows.realnvp((8,), 2, (16, 16), **pair), (16,), ("realnvp", 8, 2, 16)),
            "glow": Speed(of_images, (4,)),
        }
    glow = dict(num_levels=3, num_steps=8, width=128)
    return {
        "realnvp": Speed(jflows.realnvp((64,), 8, (128, 128), **pair), (1024, 65_536), ("realnvp", 64, 8, 128)),
        "nsf": Speed(jflows.nsf_coupling((64,), 5, (128, 128), **pair), (1024, 65_536), ("nsf", 64, 5, 128)),
        "maf": Speed(jflows.maf((784,), 5, (1024, 1024), standardize=False), (64, 1024)),
        "glow": Speed(jflows.glow((32, 32, 3), **glow), (16, 512)),
        "glow_invertible": Speed(jflows.glow((32, 32, 3), **glow, backprop="invertible"), (512,)),
    }


def until(names: list[str], seconds: float) -> Iterator[str]:
    """The names, as long as there is time; a last row says which are left."""
    end = time.monotonic() + seconds
    for index, name in enumerate(names):
        if time.monotonic() > end:
            show({"left_out": names[index:]})
            return
        yield name


def show(row: Row) -> None:
    """Prints a row at once, so that what is measured is kept if the time runs out."""
    print(json.dumps(row), flush=True)


def bijectors(device: Any, seconds: float, small: bool) -> bool:
    """Errors of every bijector in float32; whether all are within their bounds."""
    from tests.cases import CASES

    cases = {case.name: case for case in CASES if not case.slow and (case.requires is None or find_spec(case.requires))}
    names, fine = list(cases)[:: 40 if small else 1], True
    for name in until(names, seconds):
        case = cases[name]
        found = float32_errors(case.make(), case.x_event_shape, device=device, **case.options)
        bound = case.options.get("float32_tol", FLOAT32_TOL)
        ok = "float32" in case.options.get("skip", ()) or max(found.round_trip, found.log_det) <= bound
        fine &= ok
        show(
            {"part": "bijectors", "what": name, **{k: float(f"{v:.3g}") for k, v in found._asdict().items()}, "ok": ok}
        )
    return fine


def presets(device: Any, seconds: float, small: bool) -> bool:
    """Differences between device and host; whether all are small with products of the highest precision."""
    from tests.presets import PRESETS, build, data_of

    host, fine = jax.devices("cpu")[0], True
    for name in until(list(PRESETS)[:: 8 if small else 1], seconds):
        density, key = build(name, 8, 2), jax.random.key(1)
        with jax.default_device(host):
            x = data_of(density, 16)
            variables = drawn_variables(density, x)
        row: Row = {"part": "presets", "what": name}
        wanted = jax.device_get(score(density, "highest", *jax.device_put((variables, x, key), host)))
        for precision in PRECISIONS:
            found = jax.device_get(score(density, precision, *jax.device_put((variables, x, key), device)))
            row |= {f"{what}_{precision}": apart(found[what], wanted[what]) for what in ("log_prob", "gradient")}
        row["ok"] = row["log_prob_highest"] <= FLOAT32_TOL and row["gradient_highest"] <= 10 * FLOAT32_TOL
        fine &= row["ok"]
        show(row)
    return fine


@functools.partial(jax.jit, static_argnums=(0, 1))
def score(density: Density, precision: str, variables: Any, x: Any, key: Any) -> dict[str, Any]:
    """Log densities, and the gradient of their mean by the parameters."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def mean(params):
        own = key if density.needs_key else None
        log_prob = density.log_prob({**rest, "params": params}, x, key=own)
        return log_prob.mean(), log_prob

    with jax.default_matmul_precision(precision):
        gradient, log_prob = jax.grad(mean, has_aux=True)(variables.get("params", {}))
    return {"log_prob": log_prob, "gradient": gradient}


def apart(found: Any, wanted: Any) -> float:
    """The largest difference of two trees of arrays, relative to 1 + the largest value of a leaf."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    differences = [np.max(np.abs(a - b), initial=0) / (1 + np.max(np.abs(b), initial=0)) for a, b in pairs]
    return float(f"{max(differences, default=0.0):.3g}")


def peak_rate(device: Any, size: int) -> float:
    """Additions and multiplications a second of one large product, in float32 by the device's default precision."""
    a = jax.device_put(np.ones((size, size), np.float32), device)
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / (median(lambda: product(a), 10) / 1e3)


def median(call: Callable[[], object], calls: int) -> float:
    """The median time in milliseconds, after one call that compiles."""
    call()
    return statistics.median(milliseconds(call) for _ in range(calls))


def speed(device: Any, seconds: float, small: bool) -> bool:
    """Times of flows of usual size; beside them those of other libraries."""
    peak = peak_rate(device, 256 if small else 8192)
    show({"part": "speed", "what": "one large product", "tflops": float(f"{peak / 1e12:.3g}")})
    found = speeds(small)
    tasks = [f"{name} {batch}" for name, each in found.items() for batch in each.batches]
    for task in until(tasks, seconds):
        name, batch = task.split(" ")
        with jax.default_device(device):
            for row in timed(found[name], int(batch), 5 if small else 20, peak, device):
                show({"part": "speed", "flow": name, "batch": int(batch), **row})
    return True


def timed(chosen: Speed, batch: int, calls: int, peak: float, device: Any) -> Iterator[Row]:
    """One row for density, training step and samples, and one more for each of them by another library."""
    ours = {}
    for what, (call, args) in programs(chosen.flow, batch).items():
        traced = jax.jit(call).trace(*args)
        started = time.perf_counter()
        compiled = traced.lower().compile()
        seconds, plan = time.perf_counter() - started, compiled.memory_analysis()
        ours[what] = lambda compiled=compiled, args=args: compiled(*args)
        took, flops = median(ours[what], calls), product_flops(traced.jaxpr)
        held = (device.memory_stats() or {}).get("peak_bytes_in_use")
        planned = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
        rate = batch * chosen.flow.num_dims / took * 1e3
        row = {"what": what, "ms": round(took, 3), "elements_per_s": float(f"{rate:.3g}")}
        row |= {"compile_s": round(seconds, 2), "planned_bytes": planned, "peak_bytes_in_use": held}
        yield row | {"gflop": float(f"{flops / 1e9:.4g}"), "share_of_peak": float(f"{flops / took * 1e3 / peak:.3g}")}
    for library, make in OTHERS.items() if chosen.vector else ():
        if find_spec(library) is not None:
            yield from beside(library, make(*(chosen.vector or ()), batch), ours, calls)


def beside(library: str, theirs: dict[str, Callable[[], object]], ours: dict[str, Any], calls: int) -> Iterator[Row]:
    """Interleaved calls of both, and the medians of their ratios."""
    for what in ("log_prob", "sample"):
        for call in (ours[what], theirs[what]):
            call()
        pairs = [(milliseconds(ours[what]), milliseconds(theirs[what])) for _ in range(calls)]
        own, other = (round(statistics.median(column), 3) for column in zip(*pairs, strict=True))
        ratio = round(statistics.median(b / a for a, b in pairs), 2)
        yield {"what": what, "beside": library, "jflows_ms": own, f"{library}_ms": other, "times_faster": ratio}


def programs(flow: Density, batch: int) -> dict[str, tuple[Callable[..., Any], tuple]]:
    """What is timed, with its arguments."""
    random, reading = np.random.default_rng(0), flow.reading
    if reading.num_bits is None:
        x = jnp.asarray(random.standard_normal((batch, *flow.event_shape)), jnp.float32)
    else:
        x = jnp.asarray(random.integers(0, 2**reading.num_bits, (batch, *flow.event_shape)), jnp.uint8)
    variables, key = drawn_variables(flow, x[:256]), jax.random.key(0)
    optimizer = optax.adam(1e-3)
    step = make_train_step(flow, optimizer, NegativeLogLikelihood())
    rows = Batch(x, None, jnp.ones(batch), jnp.arange(batch, dtype=jnp.uint32))  # pyright: ignore[reportArgumentType]
    of_density = lambda variables, x, key: flow.log_prob(variables, x, key=key if flow.needs_key else None)
    return {
        "log_prob": (of_density, (variables, x, key)),
        "step": (step, (init_state(variables, optimizer, key), rows)),
        "sample": (lambda variables, key: flow.sample(variables, key, (batch,)), (variables, key)),
    }


def main() -> None:
    """Reads the command line, prints the rows, and fails if an error is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(SHARES), help="one part only")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, a few of the cases")
    options = parser.parse_args()
    sys.path.append(str(ROOT))  # for the registries of tests/
    device = jax.devices()[0]
    versions = {"jflows": jflows.__version__, "jax": jax.__version__}
    show({"part": "device", "platform": device.platform, "kind": device.device_kind, "versions": versions})
    chosen = {options.only: 1.0} if options.only else SHARES
    parts = {"bijectors": bijectors, "presets": presets, "speed": speed}
    fine = [parts[name](device, 60 * options.minutes * share, options.small) for name, share in chosen.items()]
    if not all(fine):
        sys.exit("benchmarks/accelerator.py: some errors are beyond their bounds; see the rows with ok=false.")


if __name__ == "__main__":
    main()
