"""Importance weights: against a known normaliser, known tails, and for every batch size the same."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import genpareto

import jflows
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import importance_sample, pareto_k
from jflows.flows import normal

KEY = jax.random.key(3)
DEVIATION = 0.7  # of the density, where the flow's is 1


def log_density(x):
    return 2.0 - 0.5 * jnp.sum((x / DEVIATION) ** 2, axis=-1)


@pytest.fixture(scope="module")
def drawn():
    flow = normal((2,))
    return importance_sample(flow, flow.init(KEY), log_density, KEY, 10_000, batch_size=10_000)


def test_known_normaliser_and_effective_sample_size(drawn):
    """E[w]^2 / E[w^2] of N(0, 1) for N(0, s^2) is the root of 2 s^2 - s^4, for each of two dimensions."""
    exact = 2.0 + math.log(2 * math.pi * DEVIATION**2)
    assert abs(drawn.log_normalizer - exact) < 4 * drawn.standard_error
    fraction = 2 * DEVIATION**2 - DEVIATION**4
    assert drawn.ess_fraction == pytest.approx(fraction, rel=0.02)
    assert drawn.standard_error == pytest.approx(math.sqrt((1 / fraction - 1) / 10_000), rel=0.1)
    second = drawn.expectation(drawn.x**2)
    np.testing.assert_allclose(second, DEVIATION**2, rtol=0.1)
    weights = np.exp(np.asarray(drawn.log_weights, np.float64))
    assert drawn.ess == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-6)
    spread = weights.std(ddof=1) / weights.mean() / 100  # the sum of squares once more, from its definition
    assert drawn.standard_error == pytest.approx(spread, rel=1e-6)


def test_the_result_does_not_depend_on_the_batch_size(drawn):
    flow = normal((2,))
    parts = importance_sample(flow, flow.init(KEY), log_density, KEY, 10_000, batch_size=7000)
    for obtained, wanted in zip(parts, drawn, strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=1e-9, atol=1e-12)


def test_a_flow_that_is_the_density_has_equal_weights():
    flow = normal((2,))
    variables = flow.init(KEY)
    exact = importance_sample(flow, variables, lambda x: flow.log_prob(variables, x) + 1, KEY, 100)
    assert exact.ess_fraction == pytest.approx(1)
    assert exact.log_normalizer == pytest.approx(1)
    assert 0 <= exact.standard_error < 1e-6
    assert pareto_k(jnp.zeros(100)) == -np.inf


def test_labels_as_context():
    """Each context has samples, weights and numbers of its own."""
    flow = jflows.Flow(
        jflows.bijectors.Identity(),
        jflows.distributions.ClassConditionalNormal((2,)),
        (2,),
        embed=jflows.nn.ClassEmbed(3),
        context_shape=(),
    )
    labels = np.array([2, 0])
    variables = flow.init(KEY, context=labels)
    shifted = lambda x, label: log_density(x) + label
    drawn = importance_sample(flow, variables, shifted, KEY, 500, labels)
    assert drawn.x.shape == (500, 2, 2) and drawn.pareto_k.shape == (2,)
    assert len(np.unique(drawn.x)) == drawn.x.size
    exact = 2.0 + math.log(2 * math.pi * DEVIATION**2) + labels
    assert np.all(np.abs(drawn.log_normalizer - exact) < 4 * drawn.standard_error)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.5])
def test_pareto_k_of_known_tails(shape):
    weights = genpareto.rvs(shape, size=(40_000, 2), random_state=np.random.RandomState(0)) + 1
    tail = 3 * math.sqrt(40_000)
    prior = (tail * shape + 5) / (tail + 10)
    np.testing.assert_allclose(pareto_k(jnp.log(weights)), prior, atol=4 * (1 + abs(shape)) / math.sqrt(tail))


def test_pareto_k_sees_a_proposal_that_is_too_narrow():
    """N(0, s^2) for N(0, 1): P(w > t) falls as t^(-1/k) with k = 1 - s^2, up to logarithms."""
    z = np.random.RandomState(0).randn(100_000, 3) * [0.4, 0.8, 1.5]
    k = pareto_k(jnp.asarray(z**2 * (np.array([0.4, 0.8, 1.5]) ** -2.0 - 1) / 2))
    assert 0.65 < k[0] < 1 and 0.15 < k[1] < 0.5 and k[2] < 0.1


def test_what_cannot_be_told_is_nan():
    assert np.isnan(pareto_k(jnp.arange(24.0)))
    assert np.isnan(pareto_k(jnp.arange(100.0).at[3].set(jnp.nan)))
    assert np.isfinite(pareto_k(jnp.arange(100.0).at[3].set(-jnp.inf)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(num_samples=1), InvalidValueError, "importance_sample: `num_samples` must be at least 2; got 1"),
        (dict(batch_size=0), InvalidValueError, "`batch_size` must be at least 1; got 0"),
        (dict(log_density=None), InvalidTypeError, "`log_density` must be a function of x, or of .*; got NoneType"),
        (dict(log_density=lambda x: x), InvalidValueError, r"must return one float per event, shape \(9,\)"),
        (dict(flow=jflows.Flow), InvalidTypeError, "importance_sample: `flow` must be a Flow; got the class Flow"),
        (dict(key=0), InvalidTypeError, "importance_sample: `key` must be a typed key; got int"),
        (dict(flow=jflows.glow((4, 4, 1), 1, 1)), InvalidValueError, "must have an exact density; got one that dequ"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    flow = normal((2,))
    given = dict(flow=flow, variables=flow.init(KEY), log_density=log_density, key=KEY, num_samples=9) | arguments
    with pytest.raises(error, match=message):
        importance_sample(**given)
