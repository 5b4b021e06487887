"""Does Glow learn as well here as in normflows? One JSON line per seed and library, and one that compares them.

    python benchmarks/glow_quality.py --other-python PATH       # an environment with normflows and torch
    python benchmarks/glow_quality.py --compare FILE            # the rows of seeds that were run one by one, by --seeds

MNIST, 10,000 training and 2,000 test rows, 28x28, 8 bits: 2 levels of 4 steps, width 32, affine couplings whose scale
is sigmoid(s + 2), 1x1 convolutions in LU form, ActNorm, a learned diagonal normal for each level. Both libraries see
the same batches with the same noise, and take 600 steps of Adam at 1e-3 on 64 rows, without clipping, schedule or
averaging; the last parameters are scored on the same noisy test rows. The first batch initialises both.

"jflows" is the step of our preset, which differs from normflows: our last convolution in a coupling has a learned scale
for each output (Kingma and Dhariwal 2018, published code), so `channels` more parameters in a step; and the initial
weights of the other convolutions are drawn from N(0, 0.05^2). "jflows_plain" has neither: its conditioner is that of
normflows with torch's initial weights, so that both train the same parameters. (normflows also stores the half of each
triangular matrix that is masked.)
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
from typing import ClassVar

import glow_quality_worker as shared
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jflows
from jflows import bijectors as b
from jflows.data import load
from jflows.distributions import DiagonalNormal
from jflows.flows import Flow
from jflows.flows.presets.glow import glow_step
from jflows.modules import Module
from jflows.ops.conv import conv2d
from jflows.options import Count
from jflows.typing import Array

SEEDS, TRAIN, TEST = (0, 1, 2), 10_000, 2_000
LIBRARIES = ("jflows", "jflows_plain", "normflows")
CALL = 50  # steps of one compiled call


class PlainConvNet(Module):
    """The conditioner of normflows: no output scale, and the initial weights of torch, uniform within fan_in^-1/2.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height, width, num_features].
    """

    event_ndims: ClassVar[int] = 3

    width: Count = 32

    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        h = nn.relu(self._conv("in", x, 3, self.width))
        h = nn.relu(self._conv("mid", h, 1, self.width))
        return self._conv("out", h, 3, num_features, zero=True)

    @nn.compact
    def _conv(self, name: str, x: Array, size: int, features: int, zero: bool = False) -> Array:
        bound = 0.0 if zero else (size * size * x.shape[-1]) ** -0.5
        draw = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        kernel = self.param(f"{name}_kernel", draw, (size, size, x.shape[-1], features))
        return conv2d(x, kernel) + self.param(f"{name}_bias", draw, (features,))


def plain_step(inner: b.InnerMap) -> b.Bijector:
    """`glow_step` with the conditioner of normflows."""
    coupling = b.Coupling(PlainConvNet(shared.WIDTH), inner, event_ndims=3)
    return b.Chain((coupling, b.InvertibleLinear(event_ndims=3), b.ActNorm(event_ndims=3)))


def build(plain: bool) -> Flow:
    """The preset's steps, without its learned priors, on floats: normflows dequantizes outside of the model too."""
    image, levels, inner = (shared.SIDE, shared.SIDE, 1), [], b.Affine("sigmoid")
    for _ in range(shared.LEVELS):
        step = plain_step(inner) if plain else glow_step(inner, "conv1x1", shared.WIDTH, "bias")
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


def our_row(train_rows: np.ndarray, test_rows: np.ndarray, seed: int, plain: bool) -> dict:
    """Trains and scores one seed of ours."""
    flow, started = build(plain), time.perf_counter()
    variables, losses = train(flow, train_rows, seed)
    seconds, scored = time.perf_counter() - started, shared.noisy(test_rows, np.random.RandomState(0))
    log_prob = jax.jit(flow.log_prob)
    parts = [log_prob(variables, scored[i : i + shared.SCORED]) for i in range(0, len(scored), shared.SCORED)]
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    last = shared.bits_per_dim(-np.array(losses[-100:]))["test_bits_per_dim"]
    row = {"train_bits_per_dim_last_100": last, "stored_parameters": count, "used_parameters": count}
    row |= {"seconds": round(seconds, 1), "jflows": jflows.__version__, "jax": jax.__version__}
    return shared.bits_per_dim(np.concatenate(parts)) | row


def compared(rows: list[dict]) -> list[dict]:
    """For each of ours: means over seeds, and the difference to normflows beside its standard error over seeds."""
    found = []
    for name in LIBRARIES[:-1]:
        ours, theirs = (
            [row["test_bits_per_dim"] for row in rows if row.get("library") == library]
            for library in (name, LIBRARIES[-1])
        )
        if min(len(ours), len(theirs)) < 2:
            continue  # no deviation over seeds
        error = math.sqrt(sum(statistics.variance(scores) / len(scores) for scores in (ours, theirs)))
        difference = statistics.mean(ours) - statistics.mean(theirs)
        means = {"mean": statistics.mean(ours), "normflows_mean": statistics.mean(theirs), "seeds": len(ours)}
        verdict = {"difference": difference, "standard_error": error, "holds": difference <= 2 * error}
        found.append({"benchmark": "glow_quality/compared", "library": f"{name} against normflows", **means, **verdict})
    return found


def measured(other: str, seeds: list[int], libraries: list[str]) -> list[dict]:
    """Trains with each seed, and prints the rows."""
    train_rows, test_rows, rows = load("mnist", "train").x[:TRAIN], load("mnist", "test").x[:TEST], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, train=train_rows, test=test_rows)
        worker = [other, str(Path(__file__).with_name("glow_quality_worker.py")), str(path)]
        for seed, library in itertools.product(seeds, libraries):
            if library != "normflows":
                row = our_row(train_rows, test_rows, seed, plain=library == "jflows_plain")
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
    parser.add_argument("--libraries", choices=LIBRARIES, nargs="+", default=list(LIBRARIES))
    options = parser.parse_args()
    if options.compare is not None:
        rows = [json.loads(line) for line in options.compare.read_text().splitlines()]
    else:
        rows = measured(options.other_python, options.seeds, options.libraries)
    if options.compare is not None or (len(options.seeds) > 1 and set(options.libraries) == set(LIBRARIES)):
        print(*map(json.dumps, compared(rows)), sep="\n")


if __name__ == "__main__":
    main()
