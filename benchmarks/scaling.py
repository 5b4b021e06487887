"""What do more devices, and more processes, cost a training step? A model of it, beside what was measured.

    python benchmarks/scaling.py                       # one JSON line for each number of devices and processes
    python benchmarks/scaling.py --steps 20 --devices 1,2 --processes 2 --width 32

A step of n devices computes the gradient of its batch / n rows, and adds it to those of the others:

    bytes  = size of all parameters, and of what is summed beside them                        [each device hands over]
    time   = max(1, n / cores) * t(batch / n) + sums * r(n, bytes / sums)

t is the step of one device with one core on so many rows, and r the sum of one array over the same devices, both
measured in the same run; the compiled program says how many arrays are summed, one after the other. Each process is
bound to one core, and several devices on one core take turns, whence the first factor; where each device has its own,
it is 1. `bytes` is compared with the all-reduces in the compiled program, `time` with the step as it runs.
"""

import argparse
import functools
import json
import math
import os
import re
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

import jflows
from jflows.processes import together
from jflows.processes.launching import launch
from jflows.processes.starting import PROCESS_INDEX
from jflows.train import NegativeLogLikelihood, Runner, init_state, make_train_step
from jflows.train.sharding import AXIS
from jflows.typing import Batch

DIM, LAYERS = 16, 4
REDUCES = re.compile(r" all-reduce(-start)?\(")
SIZES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "pred": 1}


def batches(batch_size: int, steps: int, rows: np.ndarray) -> Batch:
    """The same rows for any number of devices; each process makes its own."""
    x = np.random.default_rng(0).normal(size=(batch_size, DIM)).astype(np.float32)[rows]
    index = np.tile(rows.astype(np.uint32), (steps, 1))
    return Batch(np.tile(x, (steps, 1, 1)), None, np.ones(index.shape, np.float32), index)  # pyright: ignore


def step_of(parallel: str, batch_size: int, width: int, steps: int, calls: int) -> tuple[float, int, int, int]:
    """Milliseconds of a step, number of arrays that it adds up, their bytes, bytes of the parameters."""
    flow = jflows.realnvp((DIM,), num_layers=LAYERS, hidden_sizes=(width, width))
    optimizer = optax.adam(1e-4)
    make_step = functools.partial(make_train_step, flow, optimizer, NegativeLogLikelihood())
    runner = Runner(make_step, parallel, batch_size, steps)
    state = init_state(flow.init(jax.random.key(0)), optimizer, jax.random.key(1))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    given, state = batches(batch_size, steps, runner.rows), runner.put_state(state)
    text = runner._run.lower(state, *runner._put_batches(given)).compile().as_text()
    state, _ = runner.run(state, given)
    times = []
    for _ in range(calls):
        jax.block_until_ready(state.step)
        start = time.perf_counter()
        state, _ = runner.run(state, given)
        jax.block_until_ready(state.step)
        times.append(1e3 * (time.perf_counter() - start) / steps)
    return statistics.median(times), *reduces_of(text), size


def reduces_of(program: str) -> tuple[int, int]:
    """How many arrays a step adds up, and their bytes; those in a loop over layers once for each of them."""
    parts, name, entry = {}, "", ""
    for line in program.splitlines():
        if line.endswith("{") and "->" in line:
            name = line.removeprefix("ENTRY ").split()[0]
            entry, parts[name] = (name if line.startswith("ENTRY") else entry), []
        elif name:
            parts[name].append(line)

    def of(part: str) -> np.ndarray:
        total = np.zeros(2, int)
        for line in parts.get(part, ()):
            if REDUCES.search(line):
                total += result_of(line)
                continue
            times = re.search(r'known_trip_count":\{"n":"(\d+)"', line)  # the loop over steps has none
            inner = re.findall(r"(?:body|calls|to_apply)=(%[\w.-]+)", line)
            total += (int(times[1]) if times else 1) * sum(map(of, inner), np.zeros(2, int))
        return total

    count, size = of(entry)
    return int(count), int(size)


def result_of(line: str) -> tuple[int, int]:
    """How many arrays an all-reduce gives, and their bytes."""
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", line.split(" all-reduce")[0].partition(" = ")[2])
    return len(shapes), sum(SIZES[kind] * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in shapes)


def sum_of(size: int, calls: int) -> float:
    """Milliseconds in which all devices add up arrays of so many bytes."""
    runner = Runner(lambda reduce: lambda *given: given, "shard_map", jax.device_count(), 1)
    mesh, spec = runner.replicated.mesh, PartitionSpec()
    add = lambda array: jax.lax.fori_loop(0, 10, lambda _, held: jax.lax.pmean(held, AXIS) + 1, array)
    program = jax.jit(jax.shard_map(add, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    array = together.placed(jnp.zeros(size // 4), runner.replicated)
    jax.block_until_ready(program(array))
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(program(array))
        times.append(1e3 * (time.perf_counter() - start) / 10)
    return statistics.median(times)


def measured(given: argparse.Namespace) -> dict:
    """The row of this process, or of all of them together."""
    n, processes = jax.device_count(), jax.process_count()
    step, sums, reduced, parameters = step_of(given.parallel, given.batch_size, given.width, given.steps, given.calls)
    added = sums * sum_of(reduced // sums, given.calls) if sums else 0.0
    with together.alone(), jax.default_device(jax.local_devices()[0]):
        own = (
            step_of("none", given.batch_size // n, given.width, given.steps, given.calls)[0] if processes == 1 else None
        )
    return {
        "benchmark": "scaling",
        "parallel": given.parallel,
        "devices": n,
        "processes": processes,
        "batch_size": given.batch_size,
        "parameter_bytes": parameters,
        "sums": sums,
        "reduced_bytes": reduced,
        "step_ms": round(step, 3),
        "sum_ms": round(added, 3),
        "own_step_ms": own and round(own, 3),
    }


def modelled(row: dict, alone: dict[int, float]) -> dict:
    """The row with what the model says, given the steps of one device by the number of all."""
    cores = min(row["processes"], len(os.sched_getaffinity(0)))  # those of a process are one
    model = max(1, row["devices"] / cores) * alone[row["devices"]] + row["sum_ms"]
    row |= {"own_step_ms": round(alone[row["devices"]], 3), "cores": cores}
    return row | {"model_ms": round(model, 3), "measured_over_model": round(row["step_ms"] / model, 2)}


def rows_of(given: argparse.Namespace) -> list[dict]:
    """All rows: each in processes of its own, as a process has one number of devices."""
    options = [f"--{name.replace('_', '-')}={vars(given)[name]}" for name in ("steps", "calls", "batch_size", "width")]
    found = []
    for processes, devices in [*((1, n) for n in given.devices), *((n, 1) for n in given.processes)]:
        lines = []
        command = [sys.executable, __file__, "--one", f"--parallel={given.parallel}", *options]
        ended = launch(command, processes, devices, out=lines.append)
        if ended.code:
            raise SystemExit(ended.message)
        found.append(json.loads(lines[-1]))
    alone = {row["devices"]: row["own_step_ms"] for row in found if row["own_step_ms"] is not None}
    return [modelled(row, alone) for row in found if row["devices"] in alone]


def bind() -> None:
    """Gives this process one core, before JAX starts its threads; more processes than cores share them evenly."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ[PROCESS_INDEX]) % len(cores)]})


def numbers(text: str) -> list[int]:
    """The whole numbers of a text such as 1,2,4."""
    return [int(number) for number in text.split(",")]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=numbers, default=[1, 2, 4, 8], help="Virtual devices of one process.")
    parser.add_argument("--processes", type=numbers, default=[2, 4], help="Processes of one device.")
    parser.add_argument("--parallel", default="jit")
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5, help="Steps of one call.")
    parser.add_argument("--calls", type=int, default=7, help="Timed calls, whose median is taken.")
    parser.add_argument("--one", action="store_true", help="Measure in this process, which the launcher has started.")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    if given.one:
        bind()
        jflows.start_processes()
        row = measured(given)
        if not jax.process_index():
            print(json.dumps(row), flush=True)
    else:
        for row in rows_of(given):
            print(json.dumps(row), flush=True)
