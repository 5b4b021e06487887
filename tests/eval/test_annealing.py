"""Annealed importance sampling: against integrals that are known, its invariances, and what it refuses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import jflows
from jflows import bijectors as b
from jflows.distributions import ClassConditionalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import annealed_importance_sample, importance_sample
from jflows.eval.annealing import Walk
from jflows.flows import normal
from jflows.nn import ClassEmbed, TimeMLP

KEY = jax.random.key(11)
FLOW = normal((2,))
VARIABLES = FLOW.init(KEY)
CENTRE, DEVIATION = 3.0, 0.5


def log_density(x):
    """Two narrow modes at +-3 on the first axis, of weights 3/4 and 1/4; log Z = 1."""
    modes = [norm.logpdf(x[:, 0], sign * CENTRE, DEVIATION) for sign in (1, -1)]
    return 1.0 + jnp.logaddexp(math.log(0.75) + modes[0], math.log(0.25) + modes[1]) + norm.logpdf(x[:, 1])


def draw(**given):
    arguments = dict(log_density=log_density, key=KEY, num_samples=1280, batch_size=64, num_levels=12)
    return annealed_importance_sample(FLOW, VARIABLES, **(arguments | given))


@pytest.fixture(scope="module")
def drawn():
    return draw()


def test_both_modes_have_their_weights(drawn):
    plain = importance_sample(FLOW, VARIABLES, log_density, KEY, 1280)
    assert drawn.ess > 4 * plain.ess
    assert abs(drawn.log_normalizer - 1) < 4 * drawn.standard_error
    assert drawn.expectation(drawn.x[:, 0] > 0) == pytest.approx(0.75, abs=0.08)
    assert drawn.expectation(jnp.abs(drawn.x[:, 0])) == pytest.approx(CENTRE, abs=0.1)
    assert drawn.expectation(drawn.x[:, 1] ** 2) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_the_mean_weight_has_no_bias():
    """Over many runs of few samples, where adapting on the samples that count would show."""
    keys = jax.random.split(KEY, 400)
    target = lambda x: norm.logpdf(x, 1.0, 0.6).sum(-1)
    call = lambda key: draw(log_density=target, key=key, num_samples=16, num_levels=4).log_normalizer
    ratios = np.exp(np.asarray(jax.jit(jax.vmap(call))(keys)))
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / 20 and ratios.std() / 20 < 0.03


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_batch_size(drawn):
    parts = draw(batch_size=1000)
    np.testing.assert_allclose(parts.log_weights, drawn.log_weights, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.x, drawn.x, atol=1e-6)


def walked(power, num_levels, scale=1.0):
    """A walk from N(0, 1) to N(0.5, 0.8^2) e^2 in one dimension, with 4000 chains."""
    walk = Walk(num_levels, 4, power)
    x = scale * np.random.default_rng(0).normal(size=(4000, 1))
    log_q = lambda x: norm.logpdf(x[:, 0])
    log_p = lambda x: 2.0 + norm.logpdf(x[:, 0], 0.5, 0.8)
    return jax.jit(lambda x: walk(log_q, log_p, jax.random.split(KEY, 4000), x, walk.first_tuning((1,), x.dtype)))(x)


def test_walks_reach_the_density_of_least_variance():
    """With power 2: p^2 / q, whose integral has a closed form, and which is a normal of other moments than p's."""
    found = walked(2.0, 12)
    precision, slope = 2 / 0.8**2 - 1, 2 * 0.5 / 0.8**2  # of 2 log p - log q = -precision/2 x^2 + slope x + constant
    constant = 4.0 - math.log(0.8**2) - 0.5**2 / 0.8**2 - 0.5 * math.log(2 * math.pi)
    exact = constant + 0.5 * slope**2 / precision + 0.5 * math.log(2 * math.pi / precision)
    weights = np.exp(np.asarray(found.log_weights) - exact)
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(4000) < 0.1
    mean = (weights * np.asarray(found.x[:, 0])).sum() / weights.sum()
    assert mean == pytest.approx(slope / precision, abs=0.06)
    assert np.all((found.accepted > 0.3) & (found.accepted < 1)) and found.failed == 0 and not found.flat


def test_a_transition_leaves_its_density_as_it_is():
    """From its own density, a walk of equal ends moves, and stays in distribution; weights stay 1."""
    walk = Walk(3, 4)
    log_q = lambda x: norm.logpdf(x[:, 0])
    x = np.random.default_rng(0).normal(size=(4000, 1))
    found = jax.jit(lambda x: walk(log_q, log_q, jax.random.split(KEY, 4000), x, walk.first_tuning((1,), x.dtype)))(x)
    np.testing.assert_allclose(found.log_weights, 0, atol=1e-12)
    assert jnp.mean(jnp.abs(found.x - x)) > 0.2
    assert found.x.mean() == pytest.approx(0, abs=0.07) and found.x.std() == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_proposals_outside_of_a_support_are_refused():
    """Chains in the positive half stay there; and where the density is NaN, none goes."""
    inside = lambda x: jnp.where(x[:, 0] < 6, jnp.log(x[:, 0]) - x[:, 0], jnp.nan)
    half = lambda x: jnp.where(x[:, 0] > 0, inside(x), -jnp.inf) - x[:, 1] ** 2
    found = draw(log_density=half, num_samples=64, num_levels=4)
    reached = found.x[np.isfinite(found.log_weights), 0]
    assert len(reached) > 20 and np.all(reached > 0) and 2 < reached.max() < 6


@pytest.mark.slow
def test_labels_as_context():
    flow = jflows.Flow(b.Identity(), ClassConditionalNormal((2,)), (2,), embed=ClassEmbed(3), context_shape=())
    labels = np.array([2, 0])
    variables = flow.init(KEY, context=labels)
    shifted = lambda x, label: norm.logpdf(x, label[:, None] / 2, 0.6).sum(-1) + label
    drawn = annealed_importance_sample(flow, variables, shifted, KEY, 800, labels, num_levels=6)
    assert drawn.x.shape == (800, 2, 2) and drawn.pareto_k.shape == (2,)
    assert np.all(np.abs(drawn.log_normalizer - labels) < 4 * drawn.standard_error)
    assert np.all(drawn.ess_fraction > 0.3)


@pytest.mark.slow
def test_float32_flows_stay_in_float32():
    flow = jflows.realnvp((2,), 2, (8,), standardize=False)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), flow.init(KEY))
    found = annealed_importance_sample(flow, variables, log_density, KEY, 100, num_levels=3)
    assert np.isfinite(found.log_normalizer)


def estimated():
    return jflows.Flow(b.Continuous(TimeMLP((4,)), trace="hutchinson"), StandardNormal((2,)), (2,))


def host(x):
    return jax.pure_callback(lambda x: -np.sum(np.asarray(x) ** 2, -1), jax.ShapeDtypeStruct(x.shape[:1], x.dtype), x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(num_samples=1), InvalidValueError, "annealed_importance_sample: `num_samples` must be at least 2; got 1"),
        (dict(num_levels=0), InvalidValueError, "`num_levels` must be at least 1; got 0"),
        (dict(num_steps=0), InvalidValueError, "`num_steps` must be at least 1; got 0"),
        (dict(log_density=1), InvalidTypeError, "`log_density` must be a function of x, or of .*; got int"),
        (dict(flow=jflows.Flow), InvalidTypeError, "`flow` must be a Flow; got the class Flow"),
        (dict(flow=estimated()), InvalidValueError, "`flow` must have an exact density; got an estimated log-det"),
        (dict(log_density=lambda x: x), InvalidValueError, r"must return one float per event, shape \(64,\)"),
        (
            dict(log_density=host),
            InvalidValueError,
            "`log_density` must be differentiable in x by JAX; got ValueError: Pure callbacks .* Write it in jax.numpy",
        ),
        (
            dict(log_density=lambda x: jnp.floor(x[:, 0])),
            InvalidValueError,
            "`log_density` must have a gradient that leads somewhere; got values that differ, and 0 for all gradients",
        ),
        (
            dict(log_density=lambda x: -jnp.sqrt(jnp.sum(0 * x, -1))),
            InvalidValueError,
            "must have a finite gradient where it is finite; got 64 of 64 samples of the flow where it has none",
        ),
        (
            dict(log_density=lambda x: -jnp.inf + 0 * x[:, 0]),
            InvalidValueError,
            "`log_density` must give weights that are finite, and some above 0; got 0 for all 64 samples",
        ),
        (dict(log_density=lambda x: jnp.nan * x[:, 0]), InvalidValueError, "got 64 of 64 that are NaN or infinite"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    given = dict(flow=FLOW, variables=VARIABLES, log_density=log_density, key=KEY, num_samples=64, num_levels=2)
    with pytest.raises(error, match=message):
        annealed_importance_sample(**(given | arguments))
