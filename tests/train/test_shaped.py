"""`ShapedLikelihood`: its density is that of a base at a precision, and its penalty sees two modes, on any devices."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.data import load
from jflows.distributions import ClassConditionalNormal, DiagonalNormal, StandardNormal, Uniform
from jflows.flows import Flow
from jflows.train import NegativeLogLikelihood, Runner, TrainConfig, fit, init_state, make_train_step
from jflows.train.losses import LOSSES, ShapedLikelihood, shaped
from jflows.train.losses.shaped import directions_at
from jflows.typing import Batch

flatness = jax.jit(shaped.flatness)
FLOW = jflows.realnvp((2,), 2, (8,), standardize=False)


def batch_of(x, weight=None) -> Batch:
    return Batch(x, None, jnp.ones(len(x)) if weight is None else weight, jnp.arange(len(x), dtype=jnp.uint32))


@pytest.fixture(scope="module")
def variables():
    variables = FLOW.init(jax.random.key(0), jnp.asarray(load("two_moons").x[:64]))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape)
    return {**variables, "params": jax.tree.map(noise, variables["params"])}


def two_modes(num: int, dim: int, apart: float) -> jax.Array:
    """Draws of two normals at +-apart along the first axis."""
    z = jax.random.normal(jax.random.key(3), (num, dim))
    return z.at[:, 0].add(apart * jnp.where(jnp.arange(num) % 2, 1, -1))


def test_precision_follows_its_schedule():
    loss = ShapedLikelihood(precision_start=4.0, precision_end=0.25, precision_steps=10)
    np.testing.assert_allclose([loss.precision_at(step) for step in (0, 5, 10, 99)], [4, 1, 0.25, 0.25], rtol=1e-6)
    linear = ShapedLikelihood(precision_start=4.0, precision_path="linear", precision_steps=10)
    np.testing.assert_allclose([linear.precision_at(step) for step in (0, 5, 10, 99)], [4, 2.5, 1, 1], rtol=1e-6)


def test_neutral_settings_are_the_likelihood(variables):
    batch = batch_of(jnp.asarray(load("two_moons").x[:16]))
    found, updates = ShapedLikelihood()(FLOW, variables, batch, jax.random.key(0), 7)
    wanted, _ = NegativeLogLikelihood()(FLOW, variables, batch, jax.random.key(0), 7)
    np.testing.assert_array_equal(found, wanted)
    assert updates == {}


def test_the_density_is_that_of_a_base_of_this_precision():
    """A diagonal base of mean m and deviations s has the mean m and the deviations s / sqrt(t) at the precision t."""
    narrow, batch = 2.25, batch_of(jax.random.normal(jax.random.key(2), (5, 3)))
    flow = Flow(jflows.bijectors.Identity(), DiagonalNormal((3,)), (3,))
    base = {"mean": jnp.array([1.0, -2.0, 0.5]), "log_std": jnp.array([0.3, -0.1, 0.0])}
    at_precision = {"params": {"base": {**base, "log_std": base["log_std"] - 0.5 * math.log(narrow)}}}
    loss = ShapedLikelihood(precision_start=narrow, precision_end=1.0, precision_steps=10)
    found, _ = loss(flow, {"params": {"base": base}}, batch, jax.random.key(0), 0)
    np.testing.assert_allclose(found, -flow.log_prob(at_precision, batch.x), rtol=1e-6)
    after, _ = loss(flow, {"params": {"base": base}}, batch, jax.random.key(0), 10)
    np.testing.assert_allclose(after, -flow.log_prob({"params": {"base": base}}, batch.x), rtol=1e-6)


def test_flatness_is_that_of_its_formula_and_counts_rows_by_weight():
    z, directions = two_modes(50, 4, 2.0), directions_at(jax.random.key(0), 3, 6, 4, jnp.float32)
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert not np.allclose(directions, directions_at(jax.random.key(0), 4, 6, 4, jnp.float32))
    p = np.asarray(z @ directions.T, np.float64)
    p = p - p.mean(axis=0)
    kurtosis = (p**4).mean(axis=0) / (p**2).mean(axis=0) ** 2
    wanted = np.mean(np.maximum(3 * 49 / 51 - kurtosis, 0) ** 2)
    np.testing.assert_allclose(flatness(z, directions, jnp.ones(50)), wanted, rtol=1e-4)
    padded = jnp.concatenate([z, 100 + z[:7]])
    weight = jnp.concatenate([jnp.full(50, 2.0), jnp.zeros(7)])
    np.testing.assert_allclose(flatness(padded, directions, weight), wanted, rtol=1e-4)


def test_flatness_tells_two_modes_from_one():
    along, weight = jnp.eye(4)[:1], jnp.ones(4000)
    points = jnp.where(jnp.arange(4000) % 2, 1.0, -1.0)[:, None] * jnp.ones(4)
    np.testing.assert_allclose(flatness(points, along, weight), (3 - 1) ** 2, rtol=1e-2)  # kurtosis 1
    of_modes = [float(flatness(two_modes(4000, 4, apart), along, weight)) for apart in (0.0, 1.0, 2.0)]
    assert of_modes[0] < 0.02 < of_modes[1] < of_modes[2]
    heavy = jax.random.t(jax.random.key(0), 5.0, (4000, 4))
    assert float(flatness(heavy, along, weight)) == 0  # no penalty on tails


def test_a_batch_without_spread_has_no_flatness_and_a_finite_gradient():
    directions, weight = jnp.eye(3), jnp.ones(6)
    value, gradient = jax.value_and_grad(flatness)(jnp.ones((6, 3)), directions, weight)
    assert float(value) == 0 and np.isfinite(gradient).all()


def test_its_gradient_merges_two_modes():
    """Latents that follow the gradient alone lose their gap."""
    z, weight = two_modes(256, 2, 2.0), jnp.ones(256)
    along = jnp.eye(2)[:1]

    def move(z, step):
        directions = directions_at(jax.random.key(0), step, 16, 2, z.dtype)
        return z - 20.0 * jax.grad(flatness)(z, directions, weight), None

    moved = jax.lax.scan(move, z, jnp.arange(300))[0]
    before, after = (float(flatness(values, along, weight)) for values in (z, moved))
    assert before > 0.8 and after < 0.1 * before


@pytest.mark.by_default("shard_map")
@pytest.mark.parametrize("parallel", ["jit", "pmap", "shard_map"], ids=["jit", "pmap", "shard_map"])
def test_eight_devices_equal_one(parallel, variables):
    """The penalty is of the global batch: under SGD, steps on eight devices are those on one."""
    loss, optimizer = ShapedLikelihood(precision_start=2.0, precision_steps=4, unimodality=3.0), optax.sgd(1e-2)
    make_step = functools.partial(make_train_step, FLOW, optimizer, loss)
    x = load("two_moons").x[:32].reshape(2, 16, 2)
    batches = Batch(x, None, np.ones((2, 16), np.float32), np.arange(32, dtype=np.uint32).reshape(2, 16))
    found = []
    for mode in ("none", parallel):
        runner = Runner(make_step, mode, batch_size=16, steps_per_call=2)
        start = jax.tree.map(jnp.copy, init_state(variables, optimizer, jax.random.key(1)))
        state, metrics = runner.run(runner.put_state(start), batches)
        found.append((runner.get_state(state).params, metrics["loss"]))
    (one, loss_of_one), (many, loss_of_many) = found
    np.testing.assert_allclose(loss_of_many, loss_of_one, rtol=1e-10)
    for obtained, wanted in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=0, atol=1e-10)


def test_fit_and_recipes_take_it():
    loss = ShapedLikelihood(precision_start=4.0, precision_steps=5, unimodality=0.5, projections=4)
    result = fit(FLOW, load("two_moons"), TrainConfig(steps=6, parallel="none", log_every=3), loss=loss)
    assert result.step == 6 and all(np.isfinite(entry["loss"]) for entry in result.history)
    assert "bits_per_dim" not in result.history[-1]  # no bound on the likelihood
    recipe = jflows.Recipe(flow=jflows.realnvp, data=jflows.DataConfig(name="two_moons"))
    made = recipe.with_options(loss="shaped", unimodality=2.0, precision_start=3.0).objective
    assert made == ShapedLikelihood(unimodality=2.0, precision_start=3.0) and LOSSES["shaped"] is ShapedLikelihood


@pytest.mark.parametrize(
    ("base", "loss", "message"),
    [
        (
            Uniform((2,)),
            ShapedLikelihood(precision_end=2.0),
            "must be 1 for a base without a mean, or with a density of",
        ),
        (Uniform((2,)), ShapedLikelihood(unimodality=1.0), None),
        (StandardNormal((2,)), ShapedLikelihood(precision_end=2.0), None),
        (ClassConditionalNormal((2,)), ShapedLikelihood(precision_end=2.0), None),
    ],
)
def test_bases_that_cannot_change_are_refused(base, loss, message):
    flow = Flow(jflows.bijectors.Identity(), base, (2,))
    if message is None:
        loss.check(flow)
    else:
        with pytest.raises(jflows.InvalidValueError, match=f"`precision_start, precision_end` {message}"):
            loss.check(flow)


def test_mixtures_are_refused():
    with pytest.raises(jflows.InvalidTypeError, match="`flow` must be a Flow; got .* Train mixtures by MixtureLoss"):
        ShapedLikelihood().check(jflows.vmonf((2,), 2))
