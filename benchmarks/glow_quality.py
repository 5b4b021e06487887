"""Does Glow learn as well here as in normflows? One JSON line per seed and library, and one that compares them.

    python benchmarks/glow_quality.py --other-python PATH       # an environment with normflows and torch
    python benchmarks/glow_quality.py --compare FILE            # the rows of seeds that were run one by one, by --seeds

MNIST, 10,000 training and 2,000 test rows, 28x28, 8 bits: 2 levels of 4 steps, width 32, affine couplings whose scale
is sigmoid(s + 2), 1x1 convolutions in LU form, ActNorm, a learned diagonal normal for each level. Both libraries see
the same batches with the same noise, and take 600 steps of Adam at 1e-3 on 64 rows, without clipping, schedule or
averaging; the last parameters are scored on the same noisy test rows. The first batch initialises both.

What cannot be equal: our last convolution in a coupling has a learned scale for each output (Kingma and Dhariwal 2018,
published code), normflows' has none, which is `channels` more parameters in a step; normflows stores both halves of
each triangular matrix, of which one is masked; and the initial weights of the other convolutions are drawn from
N(0, 0.05^2) here, and from a uniform distribution by torch.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import glow_quality_worker as shared
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jflows
from jflows import bijectors as b
from jflows.data import load
from jflows.distributions import DiagonalNormal
from jflows.flows import Flow
from jflows.flows.presets.glow import glow_step

SEEDS, TRAIN, TEST = (0, 1, 2), 10_000, 2_000
LIBRARIES = ("jflows", "normflows")
CALL = 50  # steps of one compiled call


def build() -> Flow:
    """The preset's steps, without its learned priors, on floats: normflows dequantizes outside of the model too."""
    image, levels = (shared.SIDE, shared.SIDE, 1), []
    for _ in range(shared.LEVELS):
        step = glow_step(b.Affine("sigmoid"), "conv1x1", shared.WIDTH, "bias")
        levels.append(b.Chain((b.Repeat(step, shared.STEPS), b.Squeeze())))
    priors = tuple(b.Identity(event_ndims=3) for _ in levels)
    bijector = b.MultiScale(image, tuple(levels), priors)
    return Flow(bijector=bijector, base=DiagonalNormal(bijector.z_event_shape(image)), event_shape=image)


def train(flow: Flow, rows: np.ndarray, seed: int) -> tuple[dict, list[float]]:
    """The variables after all steps, and the losses in nats."""
    batches, optimizer = shared.stream(rows, seed), optax.adam(shared.RATE)
    variables = flow.init(jax.random.key(seed), jnp.asarray(next(batches)))
    rest = {name: value for name, value in variables.items() if name != "params"}
    loss = lambda params, x: -jnp.mean(flow.log_prob({"params": params, **rest}, x))

    def step(state, x):
        value, gradient = jax.value_and_grad(loss)(state[0], x)
        updates, opt_state = optimizer.update(gradient, state[1], state[0])
        return (optax.apply_updates(state[0], updates), opt_state), value

    run = jax.jit(lambda state, xs: jax.lax.scan(step, state, xs))
    state, losses = (variables["params"], optimizer.init(variables["params"])), []
    for _ in range(shared.UPDATES // CALL):
        state, values = run(state, np.stack([next(batches) for _ in range(CALL)]))
        losses += np.asarray(values).tolist()
    return {"params": state[0], **rest}, losses


def our_row(train_rows: np.ndarray, test_rows: np.ndarray, seed: int) -> dict:
    """Trains and scores one seed of ours."""
    flow, started = build(), time.perf_counter()
    variables, losses = train(flow, train_rows, seed)
    seconds, scored = time.perf_counter() - started, shared.noisy(test_rows, np.random.RandomState(0))
    log_prob = jax.jit(flow.log_prob)
    parts = [log_prob(variables, scored[i : i + shared.SCORED]) for i in range(0, len(scored), shared.SCORED)]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    last = shared.bits_per_dim(-np.array(losses[-100:]))["test_bits_per_dim"]
    row = {"train_bits_per_dim_last_100": last, "stored_parameters": count, "used_parameters": count}
    row |= {"seconds": round(seconds, 1), "jflows": jflows.__version__, "jax": jax.__version__}
    return shared.bits_per_dim(np.concatenate(parts)) | row


def compared(rows: list[dict]) -> dict:
    """Means over seeds, and their difference beside its standard error over seeds."""
    ours, theirs = ([row["test_bits_per_dim"] for row in rows if row.get("library") == name] for name in LIBRARIES)
    error = math.sqrt(sum(statistics.variance(scores) / len(scores) for scores in (ours, theirs)))
    difference = statistics.mean(ours) - statistics.mean(theirs)
    means = {"jflows_mean": statistics.mean(ours), "normflows_mean": statistics.mean(theirs)}
    verdict = {"difference": difference, "standard_error": error, "holds": difference <= 2 * error}
    return {"benchmark": "glow_quality/compared", **means, **verdict}


def measured(other: str, seeds: list[int]) -> list[dict]:
    """Trains both libraries with each seed, and prints their rows."""
    train_rows, test_rows, rows = load("mnist", "train").x[:TRAIN], load("mnist", "test").x[:TEST], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, train=train_rows, test=test_rows)
        worker = [other, str(Path(__file__).with_name("glow_quality_worker.py")), str(path)]
        for seed, library in itertools.product(seeds, LIBRARIES):
            if library == "jflows":
                row = our_row(train_rows, test_rows, seed)
            else:
                row = json.loads(subprocess.run([*worker, str(seed)], check=True, stdout=subprocess.PIPE).stdout)
            rows.append({"benchmark": "glow_quality", "library": library, "seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--other-python", help="python of an environment with torch and normflows")
    what.add_argument("--compare", type=Path, help="file of rows to compare")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    if options.compare is not None:
        rows = [json.loads(line) for line in options.compare.read_text().splitlines()]
    else:
        rows = measured(options.other_python, options.seeds)
    if options.compare is not None or len(options.seeds) > 1:
        print(json.dumps(compared(rows)))


if __name__ == "__main__":
    main()
