"""Laplace posteriors: the Fisher information of normals, row by row; the evidence; draws; uncertainty of embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jflows
from jflows import bijectors as b
from jflows.data import ImageData, TableData, eval_batches
from jflows.distributions import DiagonalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import embedding_uncertainty, laplace
from jflows.eval.ood import waic
from jflows.flows import UniformDequantize

MEAN, LOG_STD, NUM = np.array([1.0, -2.0]), np.array([0.3, -0.5]), 410
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def normal():
    """A normal whose parameters are trained, of which the posterior is known, and its rows."""
    flow = jflows.Flow(b.Identity(), DiagonalNormal((2,)), (2,))
    quantiles = stats.norm.ppf((np.arange(NUM) + 0.5) / NUM)
    z = np.stack([quantiles, np.random.default_rng(0).permutation(quantiles)], axis=1)
    x = (MEAN + np.exp(LOG_STD) * z).astype(np.float32)
    params = {"base": {"mean": jnp.asarray(x.mean(axis=0)), "log_std": jnp.log(jnp.asarray(x.std(axis=0)))}}
    return flow, {"params": params}, x


def batches(x, weight=None, size=40):  # whole chunks, a part of one, and padding
    return eval_batches(TableData("t", x, weight=weight), size, jflows.realnvp((2,), 1, (4,)).reading)


def test_the_deviations_of_a_normal_are_the_known_ones(normal):
    flow, variables, x = normal
    posterior = laplace(flow, variables, batches(x), KEY, prior_precision=1e-6)
    base, found = variables["params"]["base"], posterior.deviation["base"]
    assert (posterior.num_params, posterior.num_rows) == (4, NUM)
    # The posterior of the mean of NUM rows has the deviation std / sqrt(NUM), and that of log std 1 / sqrt(2 NUM).
    np.testing.assert_allclose(found["mean"], np.exp(base["log_std"]) / np.sqrt(NUM), rtol=1e-5)
    np.testing.assert_allclose(found["log_std"], 1 / np.sqrt(2 * NUM), rtol=0.05)
    z = (x - base["mean"]) * np.exp(-base["log_std"])
    np.testing.assert_allclose(found["log_std"], np.sum((z**2 - 1) ** 2, axis=0) ** -0.5, rtol=1e-4)


def test_weights_count_and_a_part_of_the_rows_can_stand_for_all(normal):
    flow, variables, x = normal
    times = np.arange(30) % 3 + 1
    weighted = laplace(flow, variables, batches(x[:30], times * 5.0), KEY, prior_precision=2.0, num_rows=60)
    repeated = laplace(flow, variables, batches(x[:30].repeat(times, axis=0)), KEY, prior_precision=2.0)
    fewer = laplace(flow, variables, batches(x[:30], times * 5.0), KEY, prior_precision=2.0)
    assert (weighted.num_rows, repeated.num_rows, fewer.num_rows) == (60, 60, 30)
    for a, c, d in zip(*(jax.tree.leaves(each.deviation) for each in (weighted, repeated, fewer)), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-5)
        assert (d > a).all()


def test_the_prior_precision_has_the_largest_evidence(normal):
    flow, variables, x = normal
    posterior = laplace(flow, variables, batches(x), KEY)
    free = laplace(flow, variables, batches(x), KEY, prior_precision=1e-9)
    information = np.concatenate([np.ravel(leaf) ** -2.0 - 1e-9 for leaf in jax.tree.leaves(free.deviation)])
    theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables["params"])])
    grid = np.exp(np.linspace(-6, 6, 2001))
    evidence = 0.5 * (4 * np.log(grid) - grid * (theta @ theta) - np.log(grid[:, None] + information).sum(axis=1))
    assert posterior.prior_precision == pytest.approx(grid[evidence.argmax()], rel=0.01)


def test_only_selected_parameters_are_drawn(normal):
    flow, variables, x = normal
    posterior = laplace(
        flow, variables, batches(x), KEY, prior_precision=1.0, select=lambda path: path.endswith("mean")
    )
    assert posterior.num_params == 2
    draws = jax.vmap(lambda key: posterior.draw(key, 0.5)["params"]["base"])(jax.random.split(KEY, 4000))
    np.testing.assert_array_equal(draws["log_std"], np.broadcast_to(variables["params"]["base"]["log_std"], (4000, 2)))
    np.testing.assert_allclose(draws["mean"].std(axis=0), 0.5 * posterior.deviation["base"]["mean"], rtol=0.05)
    np.testing.assert_allclose(draws["mean"].mean(axis=0), variables["params"]["base"]["mean"], atol=0.01)


def test_latents_of_an_affine_flow_move_as_its_derivatives_say():
    """z = (x - mean) exp(-log_std): |dz/d mean| = exp(-log_std), |dz/d log_std| = |z|; rows far out move most."""
    flow = jflows.Flow(b.ActNorm(), StandardNormal((2,)), (2,))
    x = np.random.default_rng(1).standard_normal((NUM, 2)).astype(np.float32)
    variables = flow.init(KEY, x)
    posterior = laplace(flow, variables, batches(x), KEY, prior_precision=1.0)
    rows = np.float32([[0, 0], [1, 0], [8, 8]])
    found = embedding_uncertainty(flow, posterior, batches(rows), KEY, num_draws=400)
    step, jacobian = 1e-4, 0.0
    leaves, tree = jax.tree.flatten(variables["params"])
    encode = lambda params: np.asarray(jax.jit(flow.encode)({**variables, "params": params}, rows)[0], np.float64)
    for place, deviation in enumerate(jax.tree.leaves(posterior.deviation)):
        for entry in np.ndindex(np.shape(deviation)):
            moved = [np.asarray(leaf, np.float64).copy() for leaf in leaves]
            moved[place][entry] += step
            slope = (encode(jax.tree.unflatten(tree, moved)) - encode(variables["params"])) / step
            jacobian = jacobian + (slope * float(deviation[entry])) ** 2
    np.testing.assert_allclose(found.latent, np.sqrt(jacobian.mean(axis=1)), rtol=0.15)
    assert found.log_probs.shape == (400, 3) and found.latent[2] > 3 * found.latent[0]
    np.testing.assert_allclose(found.log_prob, found.log_probs.std(axis=0, ddof=1))
    assert found.log_prob[2] > 3 * found.log_prob[1] and waic(found.log_probs).argmax() == 2


def test_integers_have_the_same_noise_in_all_draws():
    shape = (2, 2, 1)
    flow = jflows.Flow(b.ActNorm(event_ndims=3), StandardNormal(shape), shape, UniformDequantize(1))
    x = np.random.RandomState(0).randint(0, 2, (40, *shape)).astype(np.uint8)
    variables = flow.init(KEY, x)
    make = lambda: eval_batches(ImageData("bits", x, num_bits=1), 16, flow.reading)
    posterior = laplace(flow, variables, make(), KEY)
    none = embedding_uncertainty(flow, posterior, make(), KEY, num_draws=3, scale=1e-6)
    assert none.latent.shape == (40,) and none.latent.max() < 1e-4  # noise alone would move them by 0.3


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"select": "mean"}, InvalidTypeError, "laplace: `select` must be a function of a path; got str. Write a"),
        ({"select": lambda path: "kernel" in path}, InvalidValueError,
         "`select` must select parameters; got none of base/log_std, base/mean"),
        ({"prior_precision": 0.0}, InvalidValueError, "`prior_precision` must be positive; got 0.0"),
        ({"num_rows": 0.0}, InvalidValueError, "`num_rows` must be above 0|`num_rows` must be positive"),
    ],
)  # fmt: skip
def test_what_makes_no_posterior_is_refused(normal, settings, error, message):
    flow, variables, x = normal
    with pytest.raises(error, match=message):
        laplace(flow, variables, batches(x), KEY, **settings)


def test_rows_without_gradients_are_refused(normal):
    flow, variables, x = normal
    with pytest.raises(InvalidValueError, match="`batches` must hold rows of positive weight; got none"):
        laplace(flow, variables, [], KEY)
    broken = jax.tree.map(lambda leaf: leaf * np.nan, variables)
    with pytest.raises(InvalidValueError, match="finite gradients in all rows; got NaN or infinity for base/log_std"):
        laplace(flow, broken, batches(x), KEY)
