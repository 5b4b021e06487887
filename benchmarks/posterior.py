"""Does a flow pay for itself in NUTS? Effective samples per second of CPU time, with the training of the flow included.

    python benchmarks/posterior.py --seeds 3 --out benchmarks/results/posterior.json

Plain NUTS and NUTS in the latent space of a flow (NeuTra) are BlackJAX's, through `jflows.interop.blackjax.nuts`: plain
NUTS is that of the identity. Both run on NumPyro's models, in its unconstrained space. The flow is trained by
`reverse_kl` first, and its time counts. Times are CPU seconds of this process, so that other processes on the machine
do not count; compiling is apart (`compile_s`). The figure is the least bulk effective sample size over all coordinates.

Plain NUTS does not reach the neck of a funnel, and its effective sample size does not show it: the mean and the
deviation of the first coordinate, beside their true values, do.
"""

import argparse
import functools
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
from jax.flatten_util import ravel_pytree
from numpyro import distributions as dist
from numpyro.infer.util import initialize_model
from sklearn.datasets import load_breast_cancer

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.interop.blackjax import nuts
from jflows.train import reverse_kl
from jflows.typing import Batch

CHAINS, DRAWS, WARMUP = 4, 2500, 500
MAX_LOG_SCALE = 10.0


def eight_schools():
    """The centred form; Rubin 1981, Journal of Educational Statistics 6, 377-401."""
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    tau = numpyro.sample("a_tau", dist.HalfCauchy(5.0))
    mu = numpyro.sample("b_mu", dist.Normal(0.0, 5.0))
    theta = numpyro.sample("theta", dist.Normal(mu, tau).expand([8]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, sigma).to_event(1), obs=y)


def funnel():
    """Neal 2003, Annals of Statistics 31, 705-767, section 8; the first coordinate is N(0, 3^2)."""
    v = numpyro.sample("a_v", dist.Normal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2)).expand([9]).to_event(1))


def logistic():
    """Logistic regression of breast cancer, 569 rows, on 10 standardised columns, with a standard normal prior."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([10]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=jnp.asarray(x[:, :10]) @ weights).to_event(1), obs=jnp.asarray(y))


MODELS = {"eight_schools": eight_schools, "funnel": funnel, "logistic": logistic}
TRUE_STD = {"funnel": 3.0}
STEPS = {"eight_schools": 4000, "funnel": 2000, "logistic": 2000}  # after 2000, 2 of 10 flows miss a tail of the first


def unconstrained(model):
    """The log density of a model over its unconstrained coordinates: [num, dim] -> [num]; and dim."""
    info = initialize_model(jax.random.key(0), model)
    flat, unravel = ravel_pytree(info.param_info.z)
    return jax.vmap(lambda x: -info.potential_fn(unravel(x))), len(flat)


def plain(dim):
    """The flow that changes nothing, by which NUTS is plain."""
    return jflows.Flow(b.Identity(), d.StandardNormal((dim,)), (dim,))


def neutra(dim):
    """Inverse autoregressive layers, which sample in one pass, and a learned scale.

    The scale of a funnel spans exp(-4.5) to exp(4.5) within three standard deviations of its first coordinate. Scales
    that are bounded by exp(2) a layer do not reach into the neck, where chains then diverge and get stuck.
    """
    flow = jflows.iaf((dim,), num_layers=2, hidden_sizes=(32,), activation="softplus", max_log_scale=MAX_LOG_SCALE)
    bijector = b.Chain((flow.bijector, b.Elementwise(b.Affine("exp"))))
    return jflows.Flow(bijector, d.StandardNormal((dim,)), (dim,))


def trainer(flow, log_density, steps, batch_size, learning_rate):
    """The compiled training (variables, key) -> (variables, losses) by the reverse KL divergence."""
    loss = reverse_kl(log_density)
    optimizer = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    )
    index = jnp.arange(batch_size, dtype=jnp.uint32)

    def step(carry, key):
        variables, state = carry

        def mean_loss(params):
            batch = Batch(None, None, jnp.ones(batch_size), index)
            losses, _ = loss(flow, {**variables, "params": params}, batch, key)
            return jnp.mean(jnp.where(jnp.isfinite(losses), losses, 0.0))

        value, slope = jax.value_and_grad(mean_loss)(variables["params"])
        slope = jax.tree.map(jnp.nan_to_num, slope)
        updates, state = optimizer.update(slope, state)
        return ({**variables, "params": optax.apply_updates(variables["params"], updates)}, state), value

    @jax.jit
    def train(variables, key):
        carry = (variables, optimizer.init(variables["params"]))
        (variables, _), values = jax.lax.scan(step, carry, jax.random.split(key, steps))
        return variables, values

    return train


def timed(run):
    """The result of a call, and its CPU seconds."""
    start = time.process_time()
    result = jax.block_until_ready(run())
    return result, time.process_time() - start


@functools.cache  # the programs are compiled for the functions made here, and serve all seeds
def problem(name, method, options):
    """The log density of a model, the flow of a method, and its training; None for plain NUTS."""
    log_density, dim = unconstrained(MODELS[name])
    if method == "plain":
        return log_density, plain(dim), None
    flow = neutra(dim)
    return log_density, flow, trainer(flow, log_density, *options)


def row(name, method, seed, options):
    """One row of the table; every seed but the first of a process finds its programs compiled."""
    steps = options.steps or STEPS[name]
    log_density, flow, train = problem(name, method, (steps, options.batch_size, options.learning_rate))
    train_key, init_key, run_key = jax.random.split(jax.random.key(seed), 3)
    variables, training, loss = flow.init(init_key), 0.0, None
    if train is not None:
        (variables, losses), training = timed(lambda: train(variables, train_key))
        loss = float(losses[-200:].mean())
    run = lambda: nuts(log_density, flow, variables, run_key, num_chains=CHAINS, num_draws=DRAWS, num_warmup=WARMUP)
    chains, sampling = timed(run)
    x = np.asarray(chains.x)
    ess = float(chains.ess.min())
    return {
        "model": name,
        "method": method,
        "seed": seed,
        "ess": ess,
        "rhat": float(chains.rhat.max()),
        "divergences": int(chains.divergences.sum()),
        "training_s": training,
        "sampling_s": sampling,
        "ess_per_s": ess / (training + sampling),
        "loss": loss,
        "first_mean": float(x[..., 0].mean()),
        "first_std": float(x[..., 0].std()),
        "first_std_true": TRUE_STD.get(name),
    }


def main():
    """Reads the command line, and prints and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="Training steps of every flow, instead of those of STEPS.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--note", default="", help="What else there is to say, such as that the machine was busy.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = []
    for name in options.models:
        for method in ("plain", "neutra"):
            first = row(name, method, 0, options)  # compiles
            for seed in range(options.seeds):
                found = row(name, method, seed, options)
                if seed == 0:
                    spent = lambda row: row["training_s"] + row["sampling_s"]
                    found["compile_s"] = spent(first) - spent(found)
                rows.append(found)
                print(json.dumps(found), flush=True)
    ratios = {}
    for name in options.models:
        rate = lambda method, seed: next(
            r["ess_per_s"]
            for r in rows
            if (r["model"], r["method"], r["seed"]) == (name, method, seed)  # noqa: B023
        )
        ratios[name] = [rate("neutra", seed) / rate("plain", seed) for seed in range(options.seeds)]
        print(name, "NeuTra over plain:", " ".join(f"{ratio:.2f}" for ratio in ratios[name]), file=sys.stderr)
    if options.out:
        host = {"machine": platform.machine(), "python": platform.python_version(), "jax": version("jax")}
        settings = {name: vars(options)[name] for name in ("batch_size", "learning_rate")}
        settings["steps"] = {name: options.steps or STEPS[name] for name in options.models}
        found = {"host": host, "note": options.note, "settings": settings, "ratios": ratios, "rows": rows}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
