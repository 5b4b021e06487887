"""Two flows joined by a normal over their latents, beside flows that were trained to be conditional.

    python benchmarks/joint.py RUN [--steps 4000] > benchmarks/results/joint.jsonl

RUN is a Glow of MNIST. The other domain is the slant, thickness and ink of a digit, a flow of which (`maf`) is trained
here. The joint normal is fitted to the latents of `--num` training digits (`jflows.eval.joint_normal`). Rows:

    attributes given digits    mean ln p(attributes | digit) of 2,000 test digits, in nats per digit: the flow of
                               attributes alone; the joint; a `maf` trained with 64 principal components of pixels as
                               its context
    digits given attributes    mean ln p(digit | attributes) - ln p(digit) in nats; and of samples for the attributes
                               of 500 test digits (temperature 0.7), the correlation of measured attributes with those
                               asked for: of the joint, and of a Glow of the same size and steps trained with attributes
                               as its context
"""

import argparse
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np

import jflows
from jflows.data import ImageData, TableData, eval_batches
from jflows.data.strokes import STROKES
from jflows.eval import joint_normal
from jflows.eval.coherence import Embedded, base_of, decoded, embedded
from jflows.flows import Flow
from jflows.nn import StandardizeContext
from jflows.runs import TrainedRun
from jflows.runs.data import as_read
from jflows.train import FunctionLoss, make_optimizer
from jflows.train.step import init_state, make_train_step
from jflows.typing import Batch, Variables

SEED, BATCH, COMPONENTS, NUM_ASKED, TEMPERATURE = 0, 250, 64, 500, 0.7


def measured(x: np.ndarray) -> np.ndarray:
    """Slant in degrees, thickness in pixels and ink in pixels of digits [num, 28, 28, 1]: [num, 3]; NaN for none."""
    return np.stack([measure(np.asarray(x) / 255) for measure in STROKES.values()], axis=1).astype(np.float32)


def fitted_table(x: np.ndarray, context: np.ndarray | None, steps: int) -> tuple[Flow, Variables]:
    """A `maf` of attributes, with or without a context; the last tenth of rows chooses the step."""
    dim = None if context is None else context.shape[1]
    flow = jflows.maf((x.shape[1],), num_layers=5, hidden_sizes=(128,), context_dim=dim)
    cut = len(x) - len(x) // 10
    data = [
        TableData("attributes", x[part], context=None if context is None else context[part])
        for part in (slice(None, cut), slice(cut, None))
    ]
    config = jflows.TrainConfig(steps=steps, batch_size=256, eval_every=max(steps // 20, 1), parallel="none")
    result = jflows.fit(flow, data[0], config, validation=data[1], progress=False)
    return flow, result.variables


def conditional_glow(run: TrainedRun, x: np.ndarray, attributes: np.ndarray, steps: int) -> tuple[Flow, Variables]:
    """The flow of the run with attributes as its context, trained by the same number of steps of the same size."""
    plain, settings = run.density, run.stored.recipe.train
    assert isinstance(plain, Flow)
    flow = dataclasses.replace(plain, embed=StandardizeContext(), context_shape=(attributes.shape[1],))
    first = slice(0, settings.init_batch)
    variables = jax.jit(flow.init)(jax.random.key(SEED), x[first], attributes[first])
    optimizer = make_optimizer(
        steps=steps, learning_rate=settings.learning_rate, clip_norm=settings.clip_norm, warmup_steps=100,
        schedule="cosine", optimizer="adamw", weight_decay=settings.weight_decay,
    )  # fmt: skip
    keys = lambda key, index: jax.vmap(lambda one: jax.random.fold_in(key, one))(index)
    loss = FunctionLoss(lambda f, v, b, key, step: (-f.log_prob(v, b.x, b.context, keys(key, b.index)), {}), True)
    step = jax.jit(make_train_step(flow, optimizer, loss), donate_argnums=0)
    state, random, size = init_state(variables, optimizer, jax.random.key(SEED)), np.random.RandomState(SEED), 32
    for number in range(steps):
        rows = random.randint(0, len(x), size)
        index = (np.arange(size) + number * size).astype(np.uint32)
        batch = Batch(jnp.asarray(x[rows]), jnp.asarray(attributes[rows]), jnp.ones(size), jnp.asarray(index))
        state, _ = step(state, batch)
    return flow, state.ema_variables


def mean_in_nats(values: np.ndarray) -> dict:
    """A mean and its standard error."""
    return {"nats": round(float(values.mean()), 3), "error": round(float(values.std(ddof=1) / np.sqrt(len(values))), 3)}


def correlations(images: np.ndarray, asked: np.ndarray) -> dict:
    """Of the attributes of samples with those asked for."""
    found = measured(images)
    known = np.isfinite(found).all(axis=1)
    pairs = zip(STROKES, found[known].T, asked[known].T, strict=True)
    return {name: round(float(np.corrcoef(own, other)[0, 1]), 3) for name, own, other in pairs}


Pairs = tuple[np.ndarray, np.ndarray]
"""Digits and their attributes."""


def by_conditional_glow(run: TrainedRun, train: Pairs, test: Pairs, plain: Embedded, steps: int) -> dict:
    """What a flow of digits given attributes gains over the density of the run, and how its samples obey."""
    (x, y), asked = test, test[1][:NUM_ASKED]
    glow, weights = conditional_glow(run, *train, steps)
    keys = lambda index: jax.vmap(lambda one: jax.random.fold_in(jax.random.key(SEED), one))(index)
    score = jax.jit(lambda x, c, index: glow.log_prob(weights, x, c, keys(index)))
    size, parts = 100, []
    for start in range(0, len(y) - len(y) % size, size):
        rows = slice(start, start + size)
        parts.append(score(x[rows], y[rows], jnp.arange(start, start + size)))
    gain = np.concatenate(parts) - plain.log_prob[: len(parts) * size]
    draw = jax.jit(lambda c, key: glow.sample(weights, key, (), c, TEMPERATURE))
    contexts = np.split(asked, NUM_ASKED // 50)
    drawn = [np.asarray(draw(context, jax.random.key(number))) for number, context in enumerate(contexts)]
    return mean_in_nats(gain) | correlations(np.concatenate(drawn), asked)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="Two flows joined over their latents, beside conditional flows.")
    parser.add_argument("run")
    parser.add_argument("--num", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--no-glow", action="store_true", help="leave out the conditional Glow, which takes longest")
    options = parser.parse_args()
    run = TrainedRun.open(options.run)
    flow, variables = run.density, run.variables
    train, test = run.data(split="train"), run.data(split="test")
    assert isinstance(flow, Flow) and isinstance(train, ImageData) and isinstance(test, ImageData)
    show = lambda what, by, found: print(json.dumps({"what": what, "by": by, **found}), flush=True)

    values = [measured(train.x), measured(test.x[:2000])]
    known = [np.flatnonzero(np.isfinite(each).all(axis=1)) for each in values]
    y, y_test = values[0][known[0]], values[1][known[1]]
    few = slice(0, options.num)
    base = base_of(flow, variables)
    images = train.take(known[0][few]), test.take(known[1])
    z, z_test = (
        embedded(
            flow, variables, base, eval_batches(as_read(data, flow), BATCH, flow.reading), jax.random.key(SEED)
        ) for data in images
    )  # fmt: skip
    table, own = fitted_table(y, None, options.steps)
    encode = jax.jit(lambda y: table.encode(own, y))
    v, (v_test, log_det) = encode(y[few])[0], encode(y_test)
    joint = joint_normal(z.latents, np.asarray(v))

    what = "attributes given digits"
    show(what, "marginal", mean_in_nats(np.asarray(jax.jit(table.log_prob)(own, y_test))))
    given = joint.second_given_first(z_test.latents).log_prob(v_test) + np.asarray(log_det)
    show(what, "joint", mean_in_nats(given) | {"shrinkage": round(joint.shrinkage, 4)})
    pixels = lambda data: np.asarray(data.x, np.float32).reshape(len(data.x), -1) / 255
    centre = pixels(train).mean(axis=0)
    components = np.linalg.svd(pixels(train)[:5000] - centre, full_matrices=False)[2][:COMPONENTS].T
    contexts = (pixels(train)[known[0]] - centre) @ components, (pixels(images[1]) - centre) @ components
    conditional, weights = fitted_table(y, contexts[0], options.steps)
    log_prob = jax.jit(lambda y, c: conditional.log_prob(weights, y, c))(y_test, contexts[1])
    show(what, "conditional flow", mean_in_nats(np.asarray(log_prob)))

    what, asked = "digits given attributes", y_test[:NUM_ASKED]
    given = joint.first_given_second(np.asarray(v_test)).log_prob(z_test.latents) - z_test.base_log_prob
    drawn = joint.first_given_second(np.asarray(v_test[:NUM_ASKED])).draw(1, TEMPERATURE, SEED)[0]
    samples = decoded(flow, variables, base, drawn).x
    show(what, "joint", mean_in_nats(given) | correlations(samples, asked))
    if options.no_glow:
        return
    pairs = (np.asarray(train.x)[known[0]], y), (np.asarray(images[1].x), y_test)
    show(what, "conditional flow", by_conditional_glow(run, *pairs, z_test, options.steps))


if __name__ == "__main__":
    main()
