"""Does Glow learn as well here as in normflows? One JSON line per seed and library, and one that compares them.

    python benchmarks/glow_quality.py --other-python PATH       # an environment with normflows and torch

MNIST, 10,000 training and 2,000 test rows, 28x28, 8 bits: 2 levels of 4 steps, width 32, affine couplings whose scale
is sigmoid(s + 2), 1x1 convolutions in LU form, ActNorm, a learned diagonal normal for each level. Both libraries see
the same batches with the same noise, and take 1,000 steps of Adam at 1e-3 on 64 rows, without clipping, schedule or
averaging; the last parameters are scored on the same noisy test rows. The first batch initialises both.

What cannot be equal: our last convolution in a coupling has a learned scale for each output (Kingma and Dhariwal 2018,
published code), normflows' has none, which is `channels` more parameters in a step; normflows stores both halves of
each triangular matrix, of which one is masked; and the initial weights of the other convolutions are drawn from
N(0, 0.05^2) here, and from a uniform distribution by torch.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
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


def compared(ours: list[float], theirs: list[float]) -> dict:
    """Means over seeds, and their difference beside its standard error over seeds."""
    error = math.sqrt(sum(statistics.variance(scores) / len(scores) for scores in (ours, theirs)))
    difference = statistics.mean(ours) - statistics.mean(theirs)
    means = {"jflows_mean": statistics.mean(ours), "normflows_mean": statistics.mean(theirs)}
    return means | {"difference": difference, "standard_error": error, "holds": difference <= 2 * error}


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other-python", required=True, help="python of an environment with torch and normflows")
    other = parser.parse_args().other_python
    train_rows, test_rows = load("mnist", "train").x[:TRAIN], load("mnist", "test").x[:TEST]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, train=train_rows, test=test_rows)
        scores: dict[str, list[float]] = {"jflows": [], "normflows": []}
        worker = [other, str(Path(__file__).with_name("glow_quality_worker.py")), str(path)]
        for seed in SEEDS:
            for library in scores:
                if library == "jflows":
                    row = our_row(train_rows, test_rows, seed)
                else:
                    row = json.loads(subprocess.run([*worker, str(seed)], check=True, stdout=subprocess.PIPE).stdout)
                scores[library].append(row["test_bits_per_dim"])
                print(json.dumps({"benchmark": "glow_quality", "library": library, "seed": seed, **row}), flush=True)
    print(json.dumps({"benchmark": "glow_quality/compared", **compared(scores["jflows"], scores["normflows"])}))


if __name__ == "__main__":
    sys.exit(main())
