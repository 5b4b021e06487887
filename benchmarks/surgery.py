"""Can a class be taken out of the latent space of a trained flow, and what does it cost?

    python benchmarks/surgery.py RUN [--classes 0,1,...,9] > benchmarks/results/surgery.jsonl

RUN is one of images with classes. A probability r(u) of the class, given a latent, is fitted to `--num` training
images: by normals of classes (`jflows.eval.coherence.class_table`), by logistic regression of latents, or by logistic
regression of the images that latents decode to. The base is multiplied by 1 - 0.99 r(u) (`jflows.eval.remove`). For
each class and r:

    before, after   share of `--num-samples` samples whose nearest training image, of 10,000, is of the class: of draws
                    of the base, and of those that are kept
    kept            share of draws that are kept, which is Z
    others          what held-out images of other classes gain, in bits/dim; negative is the cost
    own             what held-out images of the class lose, in nats
"""

import argparse
import functools
import json
import math

import jax
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from jflows.data import ImageData, eval_batches
from jflows.eval import nearest_rows, remove
from jflows.eval.coherence import base_of, class_table, decoded
from jflows.eval.latent_tests import latents_of
from jflows.flows import Flow
from jflows.runs import TrainedRun
from jflows.runs.data import as_read

SEED, BATCH, STRENGTH = 0, 250, 0.99


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="What taking a class out of a latent space does, and costs.")
    parser.add_argument("run")
    parser.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=1.0)
    options = parser.parse_args()
    run = TrainedRun.open(options.run)
    flow, variables = run.density, run.variables
    train, test = run.data(split="train"), run.data(split="test")
    assert isinstance(flow, Flow) and isinstance(train, ImageData) and isinstance(test, ImageData)
    train = train.take(np.arange(min(options.num, len(train))))
    test = test.take(np.arange(min(2000, len(test))))
    label, of_test = np.asarray(train.label), np.asarray(test.label)
    latents = [
        latents_of(flow, variables, eval_batches(as_read(data, flow), BATCH, flow.reading), jax.random.key(SEED))
        for data in (train, test)
    ]
    base = base_of(flow, variables)
    draws = base.draw(options.num_samples, SEED, None, options.temperature)
    images = decoded(flow, variables, base, draws).x
    pixels = lambda x: np.asarray(x, np.float64).reshape(len(x), -1)
    guess = label[nearest_rows(pixels(images), pixels(train.x)).index[:, 0]]
    names = tuple(map(str, range(int(label.max()) + 1)))
    table = class_table(latents[0], label, latents[1], of_test, names=names)
    shares = np.log(np.bincount(label) / len(label))
    scaler = StandardScaler().fit(latents[0])
    logistic = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(latents[0]), label)
    of_images = LogisticRegression(C=0.01, max_iter=300).fit(pixels(train.x) / 255, label)
    decode = functools.cache(lambda which: images if which == "draws" else decoded(flow, variables, base, latents[1]).x)
    in_images = functools.cache(lambda which: of_images.predict_proba(pixels(decode(which)) / 255))
    posteriors = {
        "normals": lambda u: softmax(table.normals.log_prob(u) + shares, axis=1),
        "logistic": lambda u: logistic.predict_proba(scaler.transform(u)),
        "images": lambda u: in_images("draws" if u is draws else "test"),
    }
    in_bits = 1 / (math.prod(flow.event_shape) * math.log(2))
    for number in map(int, options.classes.split(",")):
        for name, posterior in posteriors.items():
            gone = remove(lambda u, posterior=posterior, number=number: posterior(u)[:, number], draws, STRENGTH)
            kept = gone.accepts(draws, SEED)
            change = gone.log_prob(latents[1], np.zeros(len(of_test)))
            others = change[of_test != number]
            found = {
                "class": number,
                "by": name,
                "temperature": options.temperature,
                "accuracy": float((posterior(latents[1]).argmax(axis=1) == of_test).mean()),
                "before": float((guess == number).mean()),
                "after": float((guess[kept] == number).mean()),
                "kept": math.exp(gone.log_normaliser),
                "others": float(others.mean()) * in_bits,
                "others_error": float(others.std(ddof=1)) / math.sqrt(len(others)) * in_bits,
                "own": -float(change[of_test == number].mean()),
            }
            print(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}), flush=True)


if __name__ == "__main__":
    main()
