"""Do a schedule of the base's precision, and a penalty on latents of two modes, improve a flow or its latent space?

Each row is one run of `ShapedLikelihood`: held-out nats, or bits/dim of digits; the common p-value of the tests of
2,000 latents (360 of digits) and some of their statistics; the mean and the least kurtosis of these latents along 256
random directions, beside the least of as many normal draws; and the quality of samples:

- eight_gaussians: the share of 2,000 samples outside of the disc around each centre that holds 0.9997 of its normal,
  and the energy distance to test rows;
- corners, 8 normals of deviation 0.4 at corners of a cube with edges of 3 that lies askew in 8 dimensions: likewise,
  by balls;
- digits: the share of 360 samples whose entropy under a classifier, fitted to the training images, is above the 99 %
  point of test images (0.01 of the truth), and the energy distance to test images, in pixels of 0 to 1.

    python benchmarks/latent_shaping.py [--data digits,corners] [--settings "plain;unimodality 1"] [--seeds 3]
        [--times 4] [--temperature 1.414]

Flows: RealNVP of 6 layers of (32, 32), 1,500 steps of 256 rows; one of 2 layers of (16,) for corners, which is too
weak to join the modes; and the config `glow_digits`. `--times` multiplies the steps of toys, and samples are drawn at
`--temperature`. Schedules last for the first half of a run.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from scipy.stats import chi2

import jflows
from jflows.data import Data, TableData, eval_batches, load
from jflows.eval.latent_tests import latent_null, latent_tests, latents_of
from jflows.flows import Flow
from jflows.train import TrainConfig, fit
from jflows.train.losses import ShapedLikelihood
from jflows.typing import Variables

STEPS = {"eight_gaussians": 1500, "corners": 1500, "digits": 600}
FLOWS = {"eight_gaussians": jflows.realnvp((2,), 6, (32, 32)), "corners": jflows.realnvp((8,), 2, (16,))}
DEVIATION = {"eight_gaussians": 0.3, "corners": 0.4}
NUM_LATENTS, NUM_DIRECTIONS = 2000, 256
SETTINGS = {
    "plain": {},
    "unimodality 0.1": {"unimodality": 0.1},
    "unimodality 1": {"unimodality": 1.0},
    "unimodality 10": {"unimodality": 10.0},
    "precision 4 to 1": {"precision_start": 4.0},
    "precision 4 to 1, linear": {"precision_start": 4.0, "precision_path": "linear"},
    "precision 1/4 to 1": {"precision_start": 0.25},
    "precision 1 to 2": {"precision_end": 2.0},
    "precision 4 to 1, unimodality 1": {"precision_start": 4.0, "unimodality": 1.0},
}


def corners(num: int, seed: int) -> TableData:
    """Rows of 8 normals in 8 dimensions."""
    random = np.random.RandomState(seed)
    label = random.randint(8, size=num)
    return TableData("corners", centres_of("corners")[label] + DEVIATION["corners"] * random.randn(num, 8), label)


def centres_of(name: str) -> np.ndarray:
    """The centres of a toy: [8, dim]."""
    if name == "corners":
        signs = 2.0 * (np.arange(8)[:, None] >> np.arange(3) & 1) - 1
        return 1.5 * signs @ np.linalg.qr(np.random.RandomState(0).randn(8, 8))[0][:3]
    turn = 2 * np.pi * np.arange(8) / 8
    return 3 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)


def loaded(name: str) -> tuple[Data, Data]:
    """Training and test rows."""
    if name == "corners":
        return corners(20000, 0), corners(10000, 1)
    return load(name), load(name, "test")


def kurtosis(z: np.ndarray) -> np.ndarray:
    """The kurtosis of latents along random directions: [num directions]."""
    directions = np.random.RandomState(0).randn(z.shape[1], NUM_DIRECTIONS)
    p = z @ (directions / np.linalg.norm(directions, axis=0))
    p = p - p.mean(axis=0)
    return (p**4).mean(axis=0) / (p**2).mean(axis=0) ** 2


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| of rows [num, dim]."""
    apart = lambda a, b: np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)).mean()
    return float(2 * apart(x, y) - apart(x, x) - apart(y, y))


def failing_toy(name: str, samples: np.ndarray) -> float:
    """The share of samples that lie between the modes."""
    squares = ((samples[:, None] - centres_of(name)) ** 2).sum(axis=-1).min(axis=1)
    return float(np.mean(squares > DEVIATION[name] ** 2 * chi2.ppf(0.9997, samples.shape[1])))


def failing_digits(samples: np.ndarray, train: Data, test: Data) -> float:
    """The share of samples that no class fits well."""
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(C=1.0, max_iter=2000).fit(train.x.reshape(len(train), -1) / 15, train.label)

    def entropy(x: np.ndarray) -> np.ndarray:
        p = classifier.predict_proba(x.reshape(len(x), -1) / 15)
        return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)

    return float(np.mean(entropy(samples) > np.quantile(entropy(test.x), 0.99)))


def trained(name: str, loss: ShapedLikelihood, seed: int, steps: int) -> tuple[Flow, Variables]:
    """The flow of a data set, trained by a loss."""
    if name == "digits":
        with tempfile.TemporaryDirectory() as folder:
            options = {"loss": loss, "seed": seed, "steps": steps, "parallel": "none"}
            found = jflows.run("glow_digits", Path(folder) / "run", progress=False, **options)
            return found.flow, found.variables
    flow = FLOWS[name]
    config = TrainConfig(steps=steps, batch_size=256, learning_rate=2e-3, seed=seed, parallel="none")
    return flow, fit(flow, loaded(name)[0], config, loss=loss, progress=False).variables


def measured(name: str, flow: Flow, variables: Variables, temperature: float) -> dict[str, float]:
    """The measures of one run."""
    train, test = loaded(name)
    key, batches = jax.random.key(0), list(eval_batches(test, 500, flow.reading))
    found = jflows.eval.evaluate(flow, variables, batches, key)
    scores = {"bits_per_dim": found.bits_per_dim} if name == "digits" else {"nats": found.nats}
    z = latents_of(flow, variables, batches, key)[:NUM_LATENTS]
    report = latent_tests(z, latent_null(*z.shape))
    scores["p_value"] = report.p_value
    wanted = ("kurtosis", "sliced_ks", "radius", "classifier")
    scores |= {test.name: test.value for test in report.tests if test.name in wanted}
    along = kurtosis(z)
    normal = kurtosis(np.random.RandomState(1).randn(*z.shape)).min()
    scores |= {"mean_kurtosis": along.mean(), "least_kurtosis": along.min(), "least_of_normal": normal}
    num = len(test.x) if name == "digits" else NUM_LATENTS
    samples = np.asarray(flow.sample(variables, jax.random.key(1), (num,), temperature=temperature))
    scores["failing"] = failing_digits(samples, train, test) if name == "digits" else failing_toy(name, samples)
    scale, rows = (15 if name == "digits" else 1), lambda x: x[:num].reshape(num, -1)
    scores["energy_distance"] = energy_distance(rows(samples) / scale, rows(test.x) / scale)
    return {measure: round(float(value), 5) for measure, value in scores.items()}


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="What shaping the latent space in training does.")
    parser.add_argument("--data", default=",".join(STEPS))
    parser.add_argument("--settings", default=";".join(SETTINGS), help="names of settings, separated by ;")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=1.0)
    options = parser.parse_args()
    for name in options.data.split(","):
        steps = STEPS[name] * (1 if name == "digits" else options.times)
        for setting in options.settings.split(";"):
            for seed in range(options.seeds):
                start = time.perf_counter()
                loss = ShapedLikelihood(precision_steps=steps // 2, **SETTINGS[setting])
                flow, variables = trained(name, loss, seed, steps)
                row = {"data": name, "setting": setting, "seed": seed, "steps": steps}
                row |= {"temperature": options.temperature} if options.temperature != 1 else {}
                row |= measured(name, flow, variables, options.temperature)
                print(json.dumps({**row, "seconds": round(time.perf_counter() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
