"""Does a Laplace posterior over parameters find what is out of distribution, and does it help to choose samples?

    python benchmarks/laplace.py [--kinds moons,digits] [--draws 20] [--steps 600]

"moons": a RealNVP of 1,000 rows of two moons; out of distribution are rows of a ring around them, and of a square.
"digits": the flow of the config glow_digits on the training images of 0 to 7; out of distribution are test images of 8
and 9, and test images of 0 to 7 that are turned by a quarter, have inverted brightness, or shuffled pixels. Three seeds
of each are trained, and each is in an ensemble with the other two for `waic`.

Rows "ood": the area under the curve of each score, means over three seeds. "latent" and "log_prob" are the deviations
of `embedding_uncertainty`, "waic_laplace" is `waic` over its draws; by posteriors over all parameters, or over the last
layers of conditioners ("output"), at several scales. "cost" is the mean of log p of test rows by the trained parameters
less that by draws, in nats. Rows "samples": of 400 samples at temperature 1, the half that a score finds least unusual
is kept; "entropy" is that of a classifier of real images in nats, and "nearest" the distance from the nearest training
row, each less its mean over all samples, which is in the row "quality".
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression

import jflows
from jflows import TrainConfig, fit
from jflows.data import Data, TableData, eval_batches, load
from jflows.data.toys import two_moons
from jflows.eval import auroc, embedding_uncertainty, laplace, nearest_rows, row_scores
from jflows.eval.ood import base_norms, latent_norms, radius, typicality, waic

SEEDS, SAMPLES, BATCH, LEFT_OUT = 3, 400, 200, 8
SCALES = (1.0, 0.1)
SELECTED: dict[str, Any] = {"all": None, "output": lambda path: "conv_out/" in path or "output/" in path}
"""Which parameters have a posterior: all, or those of the last layers of conditioners."""


class Study(NamedTuple):
    """A flow with its training rows, test rows, and sets out of distribution by name."""

    flow: Any
    config: TrainConfig
    train: Data
    test: Data
    others: dict[str, Data]


def moons(steps: int) -> Study:
    """Two moons, with a ring around them and a square."""
    random = np.random.default_rng(0)
    angle, near = random.uniform(0, 2 * np.pi, 500), random.uniform(-2.5, 3.5, (500, 2))
    ring = np.array([0.5, 0.25]) + 2.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    others = {name: TableData(name, rows.astype(np.float32)) for name, rows in (("ring", ring), ("square", near))}
    flow = jflows.realnvp((2,), 8, (64, 64))
    config = TrainConfig(steps=steps, batch_size=100, learning_rate=1e-3, warmup_steps=50)
    return Study(flow, config, two_moons(1000), two_moons(500, seed=1), others)


def digits(steps: int) -> Study:
    """Digits 0 to 7, with 8 and 9, and with 0 to 7 changed."""
    train, test = load("digits", "train"), load("digits", "test")
    known = test.take(np.flatnonzero(test.label < LEFT_OUT))
    order = np.random.RandomState(0).permutation(64)
    change = lambda x: type(known)("changed", np.ascontiguousarray(x), num_bits=4)
    others = {
        "8_and_9": test.take(np.flatnonzero(test.label >= LEFT_OUT)),
        "turned": change(np.rot90(known.x, axes=(1, 2))),
        "inverted": change(15 - known.x),
        "shuffled": change(known.x.reshape(len(known), -1)[:, order].reshape(known.x.shape)),
    }
    flow = jflows.glow((8, 8, 1), num_levels=2, num_steps=4, width=32, num_bits=4)
    config = TrainConfig(steps=steps, batch_size=32, warmup_steps=20)
    return Study(flow, config, train.take(np.flatnonzero(train.label < LEFT_OUT)), known, others)


def log_densities(study: Study, variables: Any, rows: Data) -> np.ndarray:
    """log p of rows in nats."""
    flow = study.flow
    scores = row_scores(flow, variables, eval_batches(rows, BATCH, flow.reading), jax.random.key(0))
    return flow.unit.log_prob(np.concatenate(list(scores)), flow.num_dims)


def common_scores(study: Study, members: list[Any], number: int, rows: Data) -> dict[str, np.ndarray]:
    """The scores that need no posterior; larger is further out."""
    flow, variables = study.flow, members[number]
    by_members = np.stack([log_densities(study, each, rows) for each in members])
    entropy = -log_densities(study, variables, study.train).mean()
    batches = eval_batches(rows, BATCH, flow.reading)
    norms = np.concatenate(list(latent_norms(flow, variables, batches, jax.random.key(0))))
    return {
        "likelihood": -by_members[number],
        "typicality": typicality(by_members[number], float(entropy)),
        "radius": radius(norms, base_norms(flow, variables, jax.random.key(1), 2000)),
        "waic_ensemble": waic(by_members),
    }


def of_posterior(study: Study, posterior: Any, rows: Data, draws: int, scale: float) -> dict[str, np.ndarray]:
    """The scores of a posterior; larger is further out."""
    batches = eval_batches(rows, BATCH, study.flow.reading)
    found = embedding_uncertainty(study.flow, posterior, batches, jax.random.key(2), num_draws=draws, scale=scale)
    finite = np.nan_to_num(found.log_probs, nan=-1e30, neginf=-1e30)  # what a draw cannot hold is as far as can be
    scores = {"latent": found.latent, "log_prob": finite.std(axis=0), "waic_laplace": waic(finite)}
    return {name: np.nan_to_num(score, nan=np.inf) for name, score in scores.items()} | {"mean": finite.mean(axis=0)}


def sample_rows(study: Study, variables: Any) -> Data:
    """Samples as rows."""
    x = np.asarray(jax.jit(study.flow.sample, static_argnums=2)(variables, jax.random.key(3), (SAMPLES,)))
    if study.flow.reading.num_bits is None:
        return TableData("samples", x)
    return type(study.test)("samples", x.astype(study.test.x.dtype), num_bits=4)


def quality(study: Study, samples: Data) -> dict[str, np.ndarray]:
    """How far each sample is from training rows, and how unsure a classifier of real images is of it."""
    train = np.asarray(study.train.x, np.float32)
    found = {"nearest": nearest_rows(np.asarray(samples.x, np.float32), train).distance}
    if study.flow.reading.num_bits is not None:
        model = LogisticRegression(max_iter=2000).fit(train.reshape(len(train), -1) / 15, study.train.label)
        shares = model.predict_proba(np.asarray(samples.x).reshape(len(samples), -1) / 15)
        found["entropy"] = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    return found


def kept(score: np.ndarray, measures: dict[str, np.ndarray]) -> dict[str, float]:
    """The means of measures over the half of least score, less those over all."""
    half = np.argsort(score, kind="stable")[: len(score) // 2]
    return {name: float(values[half].mean() - values.mean()) for name, values in measures.items()}


def rows_of(kind: str, study: Study, draws: int) -> Iterator[dict[str, Any]]:
    """All rows of one study."""
    configs = [dataclasses.replace(study.config, seed=seed) for seed in range(SEEDS)]
    members = [fit(study.flow, study.train, config, progress=False).variables for config in configs]
    found: dict[tuple, list] = {}
    note = lambda key, values: found.setdefault(key, []).append(values)
    for number, variables in enumerate(members):
        samples = sample_rows(study, variables)
        measures = quality(study, samples)
        sets = {"test": study.test, **study.others, "samples": samples}
        scored = {name: common_scores(study, members, number, rows) for name, rows in sets.items()}
        note(("quality",), {name: float(values.mean()) for name, values in measures.items()})
        note_all(note, ("none", 0.0), scored, measures)
        for selected, select in SELECTED.items():
            batches = eval_batches(study.train, BATCH, study.flow.reading)
            posterior = laplace(study.flow, variables, batches, jax.random.key(4), select=select)
            note(
                ("posterior", selected), {"prior_precision": posterior.prior_precision, "params": posterior.num_params}
            )
            for scale in SCALES:
                scored = {name: of_posterior(study, posterior, rows, draws, scale) for name, rows in sets.items()}
                means = {name: values.pop("mean") for name, values in scored.items()}
                cost = log_densities(study, variables, study.test).mean() - means["test"].mean()
                note(("cost", selected, scale), {"cost": cost})
                note_all(note, (selected, scale), scored, measures)
    for (row, *key), values in found.items():
        mean = {name: float(np.mean([each[name] for each in values])) for name in values[0]}
        yield {"row": row, "kind": kind, "key": key} | {name: float(f"{value:.4g}") for name, value in mean.items()}


def note_all(note: Any, which: tuple, scored: dict[str, dict[str, np.ndarray]], measures: dict[str, Any]) -> None:
    """Notes the areas under the curve of all scores, and what choosing samples by them is worth."""
    for name in scored["test"]:
        own = scored["test"][name]
        areas = {other: auroc(of[name], own).value for other, of in scored.items() if other not in ("test", "samples")}
        note(("ood", name, *which), areas)
        note(("samples", name, *which), kept(scored["samples"][name], measures))


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="What a Laplace posterior is good for.")
    parser.add_argument("--kinds", default="moons,digits")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    for kind in options.kinds.split(","):
        for row in rows_of(kind, {"moons": moons, "digits": digits}[kind](options.steps), options.draws):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
