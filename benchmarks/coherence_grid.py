"""How do dimension, number of rows, number of transforms and their form bear on the coherence of a flow?

    python benchmarks/coherence_grid.py [--seeds 3] [--steps 3000] > benchmarks/results/coherence_grid.jsonl

Data are four normals around a square in two dimensions, N(0, 1) in the others, all rotated, so that their density is
known. One thing is varied at a time around 8 dimensions, 3,000 rows and 4 transforms of `realnvp`. Each row has:

    kl      E[ln p(x) - ln p_flow(x)] of 20,000 new rows in nats. As a map changes no divergence, it is the divergence
            of embedded data from the base too: the exact measure of what coherence asks for
    gap     the part of it that the best refitted base finds, in nats
    auroc   how well a classifier tells latents of 2,000 new rows from draws of the base
    low     share of 2,000 draws of the flow whose true density is below that of all but 1 % of real rows
"""

import argparse
import json

import jax
import numpy as np
from scipy.special import logsumexp

import jflows
from jflows.data import TableData
from jflows.eval import recalibrate
from jflows.eval.latent_tests import latent_null, latent_tests

CENTRE = {"dim": 8, "num": 3000, "layers": 4, "form": "realnvp"}
GRID = {
    "dim": (2, 8, 32),
    "num": (300, 3000, 30_000),
    "layers": (1, 2, 4, 8),
    "form": ("realnvp", "maf", "nsf_coupling"),
}
NUM_NEW, NUM_TESTED, WIDTH, NUM_SETS = 20_000, 2000, 64, 19
MEANS, SPREAD = 2.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]), 0.5


def rotation(dim: int) -> np.ndarray:
    """A fixed rotation [dim, dim]."""
    return np.linalg.qr(np.random.RandomState(7).standard_normal((dim, dim)))[0]


def drawn(dim: int, num: int, seed: int) -> np.ndarray:
    """Rows of the data: [num, dim]."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((num, dim))
    x[:, :2] = MEANS[random.randint(0, 4, num)] + SPREAD * x[:, :2]
    return x @ rotation(dim)


def log_prob(x: np.ndarray) -> np.ndarray:
    """The true log density in nats: [num, dim] -> [num]."""
    z = x @ rotation(x.shape[1]).T
    apart = ((z[:, None, :2] - MEANS) ** 2).sum(axis=2) / SPREAD**2
    square = logsumexp(-0.5 * apart, axis=1) - np.log(4) - 2 * np.log(SPREAD) - np.log(2 * np.pi)
    return square - 0.5 * (z[:, 2:] ** 2).sum(axis=1) - 0.5 * (x.shape[1] - 2) * np.log(2 * np.pi)


def row(cell: dict, seed: int, steps: int) -> dict:
    """One flow."""
    dim, num = cell["dim"], cell["num"]
    preset = jflows.flows.PRESETS[cell["form"]]
    flow = preset((dim,), num_layers=cell["layers"], hidden_sizes=(WIDTH, WIDTH))
    x = drawn(dim, num, 1000 + seed)
    cut = max(num // 10, 50)
    every = max(steps // 20, 1)
    config = jflows.TrainConfig(
        steps=steps, batch_size=min(256, num // 2), seed=seed, eval_every=every, parallel="none"
    )
    result = jflows.fit(flow, TableData("grid", x[cut:]), config, validation=TableData("grid", x[:cut]), progress=False)
    variables = result.variables
    new = drawn(dim, NUM_NEW, seed)
    encode = jax.jit(lambda x: (flow.encode(variables, x)[0], flow.log_prob(variables, x)))
    z, of_flow = (np.asarray(each, np.float64) for each in encode(new.astype(np.float32)))
    excess = log_prob(new) - of_flow
    half = NUM_NEW // 2
    found = recalibrate(flow, variables, z[:half], z[half:])
    gain = found.gains.get(found.kind)
    tests = latent_tests(z[:NUM_TESTED], latent_null(NUM_TESTED, dim, num_sets=NUM_SETS)).tests
    samples = np.asarray(flow.sample(variables, jax.random.key(seed), (NUM_TESTED,)), np.float64)
    low = log_prob(samples) < np.quantile(log_prob(new), 0.01)
    return {
        **cell,
        "seed": seed,
        "kl": round(float(excess.mean()), 4),
        "kl_error": round(float(excess.std(ddof=1) / np.sqrt(NUM_NEW)), 4),
        "gap": round(gain.nats if gain else 0.0, 4),
        "gap_base": found.kind,
        "auroc": round(next(test.value for test in tests if test.name == "classifier"), 4),
        "low": round(float(low.mean()), 4),
    }


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="Coherence over dimension, rows, transforms and their form.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    cells = [CENTRE, *({**CENTRE, name: value} for name, values in GRID.items() for value in values)]
    distinct = [cell for place, cell in enumerate(cells) if cell not in cells[:place]]
    for cell in distinct:
        for seed in range(options.seeds):
            print(json.dumps(row(cell, seed, options.steps)), flush=True)


if __name__ == "__main__":
    main()
