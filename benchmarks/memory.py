"""How much memory does a training step plan? By depth and back-propagation, preset, and device. One JSON line per row.

    python benchmarks/memory.py depth       # Glow of 8 and 128 steps: standard, remat, invertible
    python benchmarks/memory.py presets     # every preset of images, by each of its kinds of back-propagation
    python benchmarks/memory.py devices     # parameters, average and optimizer divided by parallel=fsdp
    python benchmarks/memory.py samples     # samples at once, and by `sample_in_chunks`
    python benchmarks/memory.py ensembles   # CPU seconds of compiling and memory of five members beside those of one

Nothing is trained: `jflows.train.plan_step` compiles the step for shapes alone, on virtual CPU devices, and reads what
XLA plans for each. Sizes are in MB (1e6 bytes). Expected: with invertible back-propagation, the temporaries of 128
steps are those of 8 and a few copies of the parameters, and those of the gradient alone (gradient_mb, as
`flow.summary()` tells them, without what it puts out) are those of 8; the share of a device in the state falls as 1/n,
but for arrays below 64 KiB.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jflows
from jflows.data import ImageData, TableData, TrainBatches
from jflows.eval.sampling import IMAGES, ROWS, draw_block
from jflows.flows.density import Density
from jflows.flows.summary import examples_of
from jflows.train import NegativeLogLikelihood, TrainConfig, init_state, make_train_step, plan_step
from jflows.train.ensemble import step_of_members

SHAPE = (32, 32, 3)
CONFIG = TrainConfig(batch_size=32, parallel="none", steps_per_call=1)
KINDS = ("standard", "remat", "invertible")
MEMBERS = 5


def planned(density: Density, config: TrainConfig = CONFIG, num: int = 1, **facts) -> dict:
    """One row: the plan of a training step in MB, and the number of parameters."""
    started = time.perf_counter()
    plan = plan_step(density, config, devices=jax.devices()[:num])
    sizes = {
        "state_mb": plan.state_bytes,
        "call_mb": plan.call_bytes,
        "temporary_mb": plan.temporary_bytes,
        "total_mb": plan.total_bytes,
    }
    row = {**facts, "parameters": density.summary(batch_size=0).num_parameters, "batch_size": config.batch_size}
    row |= {name: round(size / 1e6, 3) for name, size in sizes.items()}
    return row | {"compile_seconds": round(time.perf_counter() - started, 1), "jax": jax.__version__}


def depth() -> Iterator[dict]:
    """Rows of a Glow of 8 and of 128 steps, by each back-propagation."""
    for backprop in KINDS:
        for num_steps in (8, 128):
            flow = jflows.glow(SHAPE, num_levels=1, num_steps=num_steps, width=64, backprop=backprop)
            gradient = round(flow.summary(CONFIG.batch_size).planned_bytes / 1e6, 3)
            facts = {"part": "depth", "flow": "glow", "backprop": backprop, "num_steps": num_steps}
            yield planned(flow, **facts, gradient_mb=gradient)


def presets() -> Iterator[dict]:
    """Rows of the presets of images, by each back-propagation that they take."""
    made = {
        "nice_images": functools.partial(jflows.nice_images, SHAPE, num_layers=4),
        "realnvp_images": functools.partial(jflows.realnvp_images, SHAPE, num_scales=2, num_blocks=2, width=32),
        "residual_images": functools.partial(jflows.flows.residual_images, SHAPE, num_scales=3, num_blocks=8, width=64),
        "glow": functools.partial(jflows.glow, SHAPE, num_levels=3, num_steps=8, width=128),
    }
    for name, make in made.items():
        for backprop in KINDS:
            try:
                flow = make(backprop=backprop)
            except jflows.InvalidValueError:  # batch normalisation and numerical inverses cannot be replayed
                continue
            yield planned(flow, part="presets", flow=name, backprop=backprop)


def devices() -> Iterator[dict]:
    """Rows of one Glow whose state is divided among 1 to 8 devices, and of one whose state is whole."""
    flow = jflows.glow(SHAPE, num_levels=1, num_steps=8, width=256)
    for parallel, num in (("fsdp", 1), ("fsdp", 2), ("fsdp", 4), ("fsdp", 8), ("jit", 8)):
        config = dataclasses.replace(CONFIG, parallel=parallel)
        yield planned(flow, config, num, part="devices", flow="glow", parallel=parallel, num_devices=num)


def ensembles() -> Iterator[dict]:
    """Rows that compare compiling the step of five members with that of one."""
    rows = TableData("rows", np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32))
    images = ImageData("images", np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1)).astype(np.uint8))
    made = {
        "realnvp": (jflows.realnvp((6,)), rows),
        "nsf_coupling": (jflows.nsf_coupling((6,)), rows),
        "maf": (jflows.maf((6,)), rows),
        "glow": (jflows.glow((28, 28, 1), num_levels=2, num_steps=4, width=32), images),
    }
    for name, (flow, data) in made.items():
        batch = jax.tree.map(lambda leaf: leaf[0], TrainBatches(data, 64, 0, flow.reading).at(0))
        optimizer = CONFIG.make_optimizer(1000)
        start = functools.partial(started, flow, optimizer, jnp.asarray(batch.x))
        make_step = functools.partial(make_train_step, flow, optimizer, NegativeLogLikelihood())
        one = compiled(make_step(), jax.eval_shape(start, jax.random.key(0)), batch)
        stacked = jax.eval_shape(jax.vmap(start), jax.random.split(jax.random.key(0), MEMBERS))
        batches = jax.tree.map(lambda leaf: np.stack([leaf] * MEMBERS, axis=1), batch)
        five = compiled(step_of_members(make_step, flow), stacked, batches)
        yield {
            "part": "ensembles",
            "flow": name,
            "members": MEMBERS,
            "compile_seconds_of_one": round(one[0], 2),
            "compile_seconds": round(five[0], 2),
            "ratio": round(five[0] / one[0], 2),
            "temporary_mb_of_one": round(one[1] / 1e6, 2),
            "temporary_mb": round(five[1] / 1e6, 2),
            "jax": jax.__version__,
        }


def started(flow: Density, optimizer, x, key):
    """The first state of one member."""
    return init_state(flow.init(key, x), optimizer, key)


def compiled(step, state, batch) -> tuple[float, int]:
    """The fewer CPU seconds of two compilations, which other work hardly changes, and the bytes of temporaries."""
    seconds = []
    for _ in range(2):
        jax.clear_caches()
        start = time.process_time()
        made = jax.jit(step).lower(state, batch).compile()
        seconds.append(time.process_time() - start)
    return min(seconds), made.memory_analysis().temp_size_in_bytes


def samples() -> Iterator[dict]:
    """Rows of the bytes that samples hold, drawn at once and in chunks."""
    made = {"realnvp": jflows.realnvp((6,)), "glow": jflows.glow(SHAPE, num_levels=2, num_steps=4, width=64)}
    for name, flow in made.items():
        variables = jax.eval_shape(flow.init, jax.random.key(0), *examples_of(flow, 2))
        key, size = jax.eval_shape(lambda: jax.random.key(0)), IMAGES if len(flow.event_shape) > 1 else ROWS
        index = jax.ShapeDtypeStruct((size,), jnp.uint32)
        block = draw_block.lower(flow, variables, key, index, None, np.float32(1), None).compile()
        for num in (1_000, 10_000, 100_000):
            whole = jax.jit(flow.sample, static_argnums=2).lower(variables, key, (num,)).compile()
            in_mb = {"at_once_mb": whole, "in_chunks_mb": block}
            yield {"part": "samples", "flow": name, "num": num, **{key: held(made) for key, made in in_mb.items()}}


def held(program) -> float:
    """The temporaries and results of a program in MB."""
    plan = program.memory_analysis()
    return round((plan.temp_size_in_bytes + plan.output_size_in_bytes) / 1e6, 3)


PARTS = {"depth": depth, "presets": presets, "devices": devices, "ensembles": ensembles, "samples": samples}

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"which of {', '.join(PARTS)}; all by default")
    for part in parser.parse_args().parts or PARTS:
        for row in PARTS[part]():
            print(json.dumps(row), flush=True)
