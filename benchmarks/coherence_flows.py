"""Does coherence help? Measures of coherence beside the quality of samples, edits and OOD detection, over many flows.

    python benchmarks/coherence_flows.py RUN[@CHECKPOINT] [RUN ...] [--num 2000] [--out FILE.jsonl]
    python benchmarks/coherence_flows.py --summary benchmarks/results/coherence_flows.jsonl

A row for each run of images. Half of `--num` test images, by a seed, fit bases, directions and thresholds, and the
other half is scored. Candidates for one score of coherence:

    gap         what the best refitted base gains on held-out latents, in bits/dim; 0 is coherent
    auroc       how well a classifier tells latents from draws of the base; 0.5 is coherent
    radius      Kolmogorov-Smirnov distance of the norms of latents from those of draws

What they are compared with:

    bits/dim        of held-out images
    failing         share of samples that a check calls unlike real images (`jflows.eval.coherence`: the entropy of a
                    classifier for images with classes, the distance to principal components for others)
    frechet         Fréchet distance of samples and images, of normals fitted to 32 principal components of pixels
    edit            brightness: how far alpha = 1 along the direction moves it, as a share of the way between classes
    ood_upside_down, ood_other    AUROC of typicality for upside-down images, and for `--other` images of that size
"""

import argparse
import functools
import json
import math
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import sqrtm
from scipy.stats import spearmanr

from jflows.data import Data, ImageData, eval_batches, load
from jflows.eval import auroc, direction, recalibrate
from jflows.eval.coherence import Check, base_of, embedded, entropy_check, reconstruction_check
from jflows.eval.latent_tests import base_of_flow, latent_null, latent_tests
from jflows.flows import Flow
from jflows.runs import TrainedRun
from jflows.runs.data import as_read

SEED, BATCH, COMPONENTS, NUM_SETS, BOOTSTRAPS = 0, 250, 32, 19, 2000
SCORES = ("gap", "auroc", "radius")
QUALITIES = ("bits_per_dim", "failing", "failing_0.7", "frechet", "edit", "ood_upside_down", "ood_other")


def encoded(run: TrainedRun, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Latents [num, dim] and ln p(x) [num] of images with the noise of dequantization."""
    flow = cast(Flow, run.density)
    batches = eval_batches(as_read(data, flow), BATCH, flow.reading)
    found = embedded(flow, run.variables, base_of(flow, run.variables), batches, jax.random.key(SEED))
    return found.latents.reshape(len(found.latents), -1), found.log_prob


def frechet(images: np.ndarray, samples: np.ndarray, components: np.ndarray) -> float:
    """|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), of pixels in units of levels / sqrt(number of pixels)."""
    one, two = (each.reshape(len(each), -1) @ components / math.sqrt(len(components)) for each in (images, samples))
    first, second = np.cov(one.T), np.cov(two.T)
    root = np.real(sqrtm(first @ second))
    return float(((one.mean(axis=0) - two.mean(axis=0)) ** 2).sum() + np.trace(first + second - 2 * root))


def brightness(images: np.ndarray) -> np.ndarray:
    """The mean level of each image: [num, height, width, channels] -> [num]."""
    return images.reshape(len(images), -1).mean(axis=1)


def edit_success(run: TrainedRun, x: np.ndarray, z: np.ndarray, fitted: np.ndarray, held_out: np.ndarray) -> dict:
    """Moves dark held-out images by alpha = 1, and measures by how much of the way they become brighter."""
    flow, value = cast(Flow, run.density), brightness(x)
    bright = value > np.median(value[fitted])
    found = direction(z[fitted], bright[fitted])
    way = value[fitted][bright[fitted]].mean() - value[fitted][~bright[fitted]].mean()
    dark = held_out[~bright[held_out]][:200]
    moved = z[dark] + found.shift

    @jax.jit
    def decode(variables, z):
        return flow.quantize(flow.decode(variables, z)[0])

    parts = np.array_split(moved.astype(np.float32), 4)
    after = np.concatenate([np.asarray(decode(run.variables, jnp.asarray(part))) for part in parts])
    changes = (brightness(after) - value[dark]) / way
    return {"edit": changes.mean(), "edit_error": changes.std(ddof=1) / math.sqrt(len(dark)), "edited": after}


@functools.cache
def yardsticks(name: str) -> tuple[Check, np.ndarray]:
    """The check and the principal components [pixels, 32] of a data set, the same for all flows of it.

    They are those of real images alone, up to 10,000 for training and 2,000 for testing.
    """
    train, test = load(name, "train"), load(name, "test")
    assert isinstance(train, ImageData) and isinstance(test, ImageData)
    real, others = train.x[:10_000], test.x[:2000]
    pixels = real[:4000].reshape(len(real[:4000]), -1).astype(np.float64)
    components = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[2][:COMPONENTS].T
    if train.label is not None and test.label is not None and len(real) > 50 * int(train.label.max() + 1):
        levels = 2**train.num_bits
        return entropy_check(real, train.label[:10_000], others, test.label[:2000], levels), components
    return reconstruction_check(real, others), components


def row(path: str, num: int, num_samples: int, other: str | None) -> dict:
    """All measures of one run."""
    directory, _, checkpoint = path.partition("@")
    run = TrainedRun.open(directory, checkpoint=int(checkpoint) if checkpoint.isdecimal() else checkpoint or "auto")
    flow, test = run.density, run.data(split="test")
    assert isinstance(flow, Flow) and isinstance(test, ImageData)
    order = np.random.RandomState(SEED).permutation(len(test))[:num]
    data = test.take(np.sort(order))
    x = np.asarray(data.x)
    fitted, held_out = np.arange(0, len(x), 2), np.arange(1, len(x), 2)
    z, log_prob = encoded(run, data)
    found = recalibrate(flow, run.variables, z[fitted], z[held_out])
    gain = found.gains.get(found.kind)
    null = latent_null(
        len(held_out), z.shape[1], base_of_flow(flow, run.variables, len(held_out)), num_sets=NUM_SETS, seed=SEED
    )
    tests = {test.name: test.value for test in latent_tests(z[held_out], null).tests}
    in_bits = 1 / (math.prod(flow.event_shape) * math.log(2))
    own = {"run": Path(path).name, "data": test.name, "num": len(x)}
    own |= {"gap": gain.nats * in_bits if gain else 0.0, "gap_error": gain.standard_error * in_bits if gain else 0.0}
    own |= {"gap_base": found.kind, "auroc": abs(tests["classifier"] - 0.5) + 0.5, "radius": tests["radius"]}
    nll = -log_prob[held_out] * in_bits
    own |= {"bits_per_dim": nll.mean(), "bits_per_dim_error": nll.std(ddof=1) / math.sqrt(len(nll))}
    check, components = yardsticks(test.name)
    for name, temperature in (("failing", 1.0), ("failing_0.7", 0.7)):
        samples = run.sample(num_samples, temperature=temperature, seed=SEED)
        share = float(check.fails(samples).mean())
        own |= {name: share, f"{name}_error": math.sqrt(share * (1 - share) / num_samples)}
        if temperature == 1:
            own["frechet"] = frechet(x[held_out], samples, components)
            own["frechet_of_real"] = frechet(x[held_out], x[fitted], components)
    edit = edit_success(run, x, z, fitted, held_out)
    own |= {"edit_failing": float(check.fails(edit.pop("edited")).mean())} | edit
    typical = log_prob[fitted].mean()
    sets = {"upside_down": data.x[held_out][:, ::-1]}
    if other is not None:
        sets["other"] = load(other, "test").x[: len(held_out)]
    for name, images in sets.items():
        far = encoded(run, ImageData(name, np.ascontiguousarray(images), num_bits=test.num_bits))[1]
        apart = auroc(np.abs(far - typical), np.abs(log_prob[held_out] - typical))
        own |= {f"ood_{name}": apart.value, f"ood_{name}_error": apart.standard_error}
    return {name: round(float(value), 5) if isinstance(value, float) else value for name, value in own.items()}


def summary(path: str) -> None:
    """Spearman's correlation of each score with each quality over the flows of each data set, with 95 % intervals."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for data in sorted({each["data"] for each in rows}):
        own = [each for each in rows if each["data"] == data]
        print(f"{data}, {len(own)} flows: Spearman's correlation [95 % interval by resampling flows]")
        for score in SCORES:
            for quality in QUALITIES:
                pairs = np.array([(each[score], each[quality]) for each in own if quality in each])
                if len(pairs) < 4:
                    continue
                random = np.random.RandomState(SEED)
                drawn = [pairs[random.randint(0, len(pairs), len(pairs))] for _ in range(BOOTSTRAPS)]
                found = [spearmanr(*each.T)[0] for each in drawn if (each.std(axis=0) > 0).all()]
                low, high = np.quantile(found, (0.025, 0.975))
                print(f"  {score:8} {quality:16} {spearmanr(*pairs.T)[0]:+.2f} [{low:+.2f}, {high:+.2f}]")


def main() -> None:
    """Reads the command line, and prints or summarises rows."""
    parser = argparse.ArgumentParser(description="Coherence beside the quality of samples, edits and OOD detection.")
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--other", help="another data set of images of the same size, for ood_other")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--summary")
    options = parser.parse_args()
    if options.summary:
        summary(options.summary)
    for run in options.runs:
        found = row(run, options.num, options.num_samples, options.other)
        print(json.dumps(found), flush=True)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
