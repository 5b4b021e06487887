"""Does a flow trained on a density of two modes keep both, by annealed bootstrap (FAB) and by the reverse KL?

    python benchmarks/multimodal.py --seeds 10 --out benchmarks/results/multimodal.json

Each target has two normal modes of deviation 0.6 and weights 0.6 and 0.4, at +-distance on the first axis; log Z = 1.
The flow is a RealNVP that starts as N(0, I). Both losses take the same steps of the same number of rows. A mode counts
as kept if at least a tenth of its weight is left in samples of the flow. log Z comes from importance sampling with the
flow alone, and with a defensive share of a tenth from N(0, (2 distance)^2 I), which shows modes that the flow has lost.
`z` is the error of log Z over its standard error. Times are CPU seconds of this process, compiling included.
"""

import argparse
import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

import jflows
from jflows.eval import Defensive, importance_sample
from jflows.train import FlowAnnealedBootstrap, TrainConfig, fit, reverse_kl

TARGETS = {"2d": (2, 5.0), "8d": (8, 3.0)}  # dimensions, distance of the modes from 0
DEVIATION, WEIGHTS, LOG_Z = 0.6, (0.6, 0.4), 1.0
KEPT = 0.1  # of a mode's own weight
METHODS = {"fab": FlowAnnealedBootstrap, "reverse_kl": reverse_kl}


def target(dim, distance):
    """The log density of two modes: [num, dim] -> [num]."""
    centre = jnp.zeros(dim).at[0].set(distance)

    def log_density(x):
        modes = (norm.logpdf(x, sign * centre, DEVIATION).sum(-1) for sign in (1, -1))
        return LOG_Z + jnp.logaddexp(*(math.log(weight) + mode for weight, mode in zip(WEIGHTS, modes, strict=True)))

    return log_density


def numbers(name, found):
    """The estimate of log Z, how far it is off, and the diagnostics of its weights."""
    return {
        f"{name}log_z": float(found.log_normalizer),
        f"{name}z": float((found.log_normalizer - LOG_Z) / found.standard_error),
        f"{name}ess_fraction": float(found.ess_fraction),
        f"{name}pareto_k": float(found.pareto_k),
    }


def row(name, method, seed, options):
    """One run of training, and the estimates from its flow."""
    dim, distance = TARGETS[name]
    log_density = target(dim, distance)
    flow = jflows.realnvp((dim,), num_layers=6, hidden_sizes=(32, 32), standardize=False)
    settings = dict(learning_rate=2e-3, warmup_steps=50, clip_norm=10.0, log_every=options.steps, parallel="none")
    config = TrainConfig(steps=options.steps, batch_size=options.batch_size, seed=seed, **settings)
    start = time.process_time()
    result = fit(flow, jflows.data.NoData(), config, loss=METHODS[method](log_density))
    seconds = time.process_time() - start
    key, num = jax.random.key(seed), options.samples
    wide = Defensive(
        lambda key: 2 * distance * jax.random.normal(key, (dim,)),
        lambda x: norm.logpdf(x, scale=2 * distance).sum(-1),
    )
    drawn = importance_sample(flow, result.variables, log_density, key, num)
    share = float((drawn.x[:, 0] > 0).mean())
    kept = min(share / WEIGHTS[0], (1 - share) / WEIGHTS[1]) >= KEPT
    defended = importance_sample(flow, result.variables, log_density, key, num, defensive=wide)
    found = {"target": name, "method": method, "seed": seed, "kept": kept, "first_share": share}
    found |= numbers("", drawn) | numbers("defended_", defended)
    return found | {"training_s": seconds, "skipped": result.history[-1]["skipped"]}


def main():
    """Reads the command line, and prints and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--note", default="", help="What else there is to say, such as that the machine was busy.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        for name in options.targets:
            for method in options.methods:
                rows.append(row(name, method, seed, options))
                print(json.dumps(rows[-1]), flush=True)
    if options.out:
        host = {"machine": platform.machine(), "python": platform.python_version(), "jax": version("jax")}
        settings = {name: vars(options)[name] for name in ("steps", "batch_size", "samples")}
        found = {"host": host, "note": options.note, "settings": settings, "rows": rows}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
