"""The Fisher divergence: its two spaces, its gradient for every kind of map, and what few draws teach."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import TableData, TrainBatches, load
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.flows import normal
from jflows.nn import TimeMLP
from jflows.train import LOSSES, FisherDivergence, NegativeLogLikelihood, TrainConfig, fit, plan_step
from jflows.typing import Batch

KEY = jax.random.key(4)
LATENT, DATA = FisherDivergence(), FisherDivergence(space="data")
MEAN, COVARIANCE = np.array([1.0, -2.0]), np.array([[1.0, 0.9], [0.9, 2.0]])
CONFIG = TrainConfig(steps=3, batch_size=8, warmup_steps=1, log_every=3, parallel="none")


def score(x):
    """The gradient of the log density of N(MEAN, COVARIANCE)."""
    return -(x - MEAN) @ np.linalg.inv(COVARIANCE)


def draws(num, seed=0):
    x = np.random.RandomState(seed).multivariate_normal(MEAN, COVARIANCE, num)
    return TableData("draws", x, gradient=score(x))


def perturbed(flow, x, context=None):
    """Variables away from their start, where zeros would hide mistakes."""
    variables = flow.init(KEY, x, context)
    leaves, structure = jax.tree.flatten(variables["params"])
    keys = jax.random.split(KEY, len(leaves))
    moved = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return {**variables, "params": jax.tree.unflatten(structure, moved)}


def batch_of(num, dim=3, context=None):
    x, gradient = np.random.default_rng(0).normal(size=(2, num, dim))
    return Batch(x, context, jnp.ones(num), jnp.arange(num, dtype=jnp.uint32), gradient)


def small(preset, **options):
    return getattr(jflows, preset)((3,), 2, (8,), activation="tanh", **options)


FLOWS = {
    "realnvp": lambda: small("realnvp"),
    "nsf": lambda: small("nsf_coupling"),
    "maf": lambda: small("maf"),
    "iaf": lambda: small("iaf"),
    "invertible": lambda: small("realnvp", backprop="invertible"),
}


def test_the_error_in_latent_space_is_that_of_data_pulled_back():
    """J^T (s - grad log q), row by row, with the Jacobian of decode; and data are the definition."""
    flow, batch = FLOWS["realnvp"](), batch_of(4)
    variables = perturbed(flow, batch.x)

    @jax.jit
    def expected(x, s):
        error = s - jax.grad(lambda x: flow.log_prob(variables, x))(x)
        jacobian = jax.jacfwd(lambda z: flow.decode(variables, z)[0])(flow.encode(variables, x)[0])
        return jnp.sum(error**2), jnp.sum((jacobian.T @ error) ** 2)

    in_data, in_latent = jax.vmap(expected)(batch.x, batch.gradient)
    found = jax.jit(lambda batch: [loss(flow, variables, batch, KEY)[0] for loss in (DATA, LATENT)])(batch)
    np.testing.assert_allclose(found, [in_data, in_latent], rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["latent", "data"])
@pytest.mark.parametrize("name", FLOWS)
def test_its_gradient_is_that_of_its_value(name, space):
    """By differences along the gradient, through second derivatives of every kind of map."""
    flow, batch, loss = FLOWS[name](), batch_of(4), FisherDivergence(space)
    variables = perturbed(flow, batch.x)
    value = jax.jit(jax.value_and_grad(lambda p: jnp.sum(loss(flow, {**variables, "params": p}, batch, KEY)[0])))
    params = variables["params"]
    gradient = value(params)[1]
    norm = float(optax.tree.norm(gradient))
    ahead, behind = (value(optax.tree.add_scale(params, h / norm, gradient))[0] for h in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(norm, rel=1e-4) and norm > 0


@pytest.mark.slow
def test_units_of_the_data_do_not_matter_in_latent_space():
    """With columns standardised by a map of the flow; in the space of data, they do."""
    flow = small("realnvp", standardize=True)
    batch = batch_of(16)
    scale = np.array([10.0, 0.1, 3.0])
    other = batch._replace(x=batch.x * scale, gradient=batch.gradient / scale)

    @jax.jit
    def of_both(variables, batch):
        return [loss(flow, variables, batch, KEY)[0] for loss in (LATENT, DATA)]

    latent, data = of_both(flow.init(KEY, batch.x), batch)
    again, changed = of_both(flow.init(KEY, other.x), other)
    np.testing.assert_allclose(again, latent, rtol=1e-4)
    assert not np.allclose(changed, data, rtol=0.1)


def test_few_draws_with_gradients_fix_a_normal():
    """Six draws: the loss is 0 for the density alone, where the likelihood of six draws is not highest."""
    data, flow = draws(6), normal((2,))
    config = TrainConfig(steps=800, batch_size=6, learning_rate=5e-2, ema_decay=0.9, log_every=800, parallel="none")
    result = fit(flow, data, config, loss=DATA)
    assert result.history[-1]["loss"] < 1 and set(result.history[-1]).isdisjoint({"bits_per_dim"})
    x = np.random.default_rng(0).normal(size=(5, 2))
    gradient = jax.vmap(jax.grad(lambda x: flow.log_prob(result.variables, x)))(x)
    np.testing.assert_allclose(gradient, score(x), atol=0.05)


@pytest.mark.slow
def test_gradients_teach_more_than_likelihood_from_few_draws():
    """A banana from 64 draws: the log density of others, in nats."""
    random = np.random.RandomState(0)
    bend = lambda z: np.stack([z[:, 0], 0.5 * z[:, 1] + 0.5 * z[:, 0] ** 2], axis=1)
    log_density = lambda x: -0.5 * x[0] ** 2 - 2 * (x[1] - 0.5 * x[0] ** 2) ** 2 - math.log(math.pi)
    x, other = bend(random.randn(64, 2)), bend(random.randn(4000, 2))
    plain = TableData("banana", x)
    taught = TableData("banana", x, gradient=jax.vmap(jax.grad(log_density))(x))
    flow = jflows.realnvp((2,), 4, (32,), activation="tanh")
    config = TrainConfig(steps=1500, batch_size=64, learning_rate=3e-3, log_every=1500, parallel="none")
    score_of = lambda result: float(jnp.mean(flow.log_prob(result.variables, other)))
    by_gradient, by_likelihood = fit(flow, taught, config, loss=LATENT), fit(flow, plain, config)
    best = float(np.mean(jax.vmap(log_density)(other)))
    assert score_of(by_gradient) > score_of(by_likelihood) + 0.1
    assert score_of(by_gradient) > best - 0.3


@pytest.mark.slow
def test_mixtures_and_contexts():
    mixture = jflows.flows.vmonf((2,), num_components=2)
    result = fit(mixture, draws(32), CONFIG, loss=DATA)
    assert np.isfinite(result.history[-1]["loss"])
    flow = jflows.realnvp((3,), 2, (8,), context_dim=2, activation="tanh")
    context = np.random.default_rng(0).normal(size=(4, 2))
    batch = batch_of(4, context=context)
    variables = perturbed(flow, batch.x, context)
    alone = jax.tree.map(lambda leaf: leaf[:1], batch)
    np.testing.assert_allclose(
        LATENT(flow, variables, batch, KEY)[0][:1], LATENT(flow, variables, alone, KEY)[0], rtol=1e-8
    )


def test_gradients_travel_with_their_rows(tmp_path):
    data = draws(10)
    assert repr(data) == "TableData('draws', 10 rows x 2 columns, gradients)"
    batch = TrainBatches(data, 7, seed=3).at(0, 2)
    rows = batch.index % 10
    np.testing.assert_array_equal(batch.gradient, data.gradient[rows])
    np.testing.assert_allclose(data.take(np.array([4, 1])).joined(data).gradient[:2], data.gradient[[4, 1]])
    assert TrainBatches(dataclasses.replace(data, gradient=None), 4).at(0).gradient is None
    np.savez(
        tmp_path / "draws.npz", train=data.x, train_gradient=data.gradient, test=data.x, test_gradient=data.gradient
    )
    read = load(str(tmp_path / "draws.npz"))
    assert read.gradient.shape == read.x.shape
    np.testing.assert_allclose(read.gradient, score(read.x), rtol=1e-5)
    swapped = load(str(tmp_path / "draws.npz"), columns=("x1", "x0"))
    np.testing.assert_allclose(swapped.gradient[:, ::-1], score(swapped.x[:, ::-1]), rtol=1e-5)


def test_recipes_find_it_and_plans_count_the_gradients():
    assert LOSSES["fisher"] is FisherDivergence
    assert plan_step(normal((2,)), CONFIG, DATA).total_bytes > 0


def estimated():
    return jflows.Flow(b.Continuous(TimeMLP((4,)), trace="hutchinson"), StandardNormal((2,)), (2,))


def fitted(flow=None, data=None, loss=LATENT):
    return lambda: fit(flow or normal((2,)), data or draws(8), CONFIG, loss=loss)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FisherDivergence("z"), InvalidValueError, "`space` must be one of 'latent', 'data'; got 'z'"),
        (
            fitted(estimated()),
            InvalidValueError,
            "FisherDivergence: `flow` must have an exact density of floats; got",
        ),
        (
            fitted(jflows.flows.vmonf((2,), num_components=2)),
            InvalidTypeError,
            "`flow` must be a Flow in latent space; got MixtureOfFlows. Set space=data.",
        ),
        (
            fitted(data=TableData("plain", draws(8).x)),
            InvalidValueError,
            r"fit: `data` must have gradients for the loss fisher; got TableData\('plain', 8 rows .* Write TableData",
        ),
        (
            fitted(loss=NegativeLogLikelihood()),
            InvalidValueError,
            "fit: `loss` must use the gradients that the data have; got likelihood. Choose loss=fisher, or drop them",
        ),
        (
            lambda: LATENT(normal((2,)), {}, batch_of(4, 2)._replace(gradient=None), KEY),
            InvalidValueError,
            "FisherDivergence: `batch` must have gradients",
        ),
        (
            lambda: LATENT(normal((2,)), {"batch_stats": {}}, batch_of(4, 2), KEY),
            InvalidValueError,
            "`flow` must have no batch statistics, .*; got a flow with BatchNorm. Use ActNorm",
        ),
        (
            lambda: TableData("t", np.eye(3), gradient=np.ones((3, 2))),
            DataError,
            r"TableData 't': `gradient` must hold numbers of the shape of x, \(3, 3\), .*; got dtype float64",
        ),
        (
            lambda: TableData("t", np.eye(3), gradient=np.full((3, 3), np.nan)),
            DataError,
            r"`gradient` must be finite in float32; got row 0 \(3 bad rows\)",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
