"""Defensive mixtures: exact shares, bounded weights, exact densities, and a standard error that holds."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import cauchy, norm

import jflows
from jflows.distributions import ClassConditionalNormal, Uniform
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import Defensive, importance_sample, widened
from jflows.flows import normal
from jflows.nn import ClassEmbed

KEY = jax.random.key(7)
FLOW = normal((2,))
VARIABLES = FLOW.init(KEY)
WIDTH = 2.5  # of the density, where the deviation of the flow is 1: plain weights have no variance


def log_density(x):
    return 1.0 + norm.logpdf(x, scale=WIDTH).sum(-1)


def wide(weight=0.25):
    return Defensive(lambda key: 4.0 * jax.random.cauchy(key, (2,)), log_cauchy, weight)


def log_cauchy(x):
    return cauchy.logpdf(x, scale=4.0).sum(-1)


@pytest.fixture(scope="module")
def drawn():
    return importance_sample(FLOW, VARIABLES, log_density, KEY, 4001, batch_size=4001, defensive=wide())


def test_the_share_is_exact_and_weights_are_those_of_the_whole_mixture(drawn):
    """1000 of 4001 samples; the first are those that the flow would have given without the mixture."""
    own = FLOW.sample(VARIABLES, jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(3001)), (3001,))
    np.testing.assert_array_equal(drawn.x[:3001], own)
    share = 1000 / 4001
    mixture = np.logaddexp(
        math.log(1 - share) + norm.logpdf(drawn.x).sum(-1), math.log(share) + np.asarray(log_cauchy(drawn.x))
    )
    np.testing.assert_allclose(drawn.log_weights, log_density(drawn.x) - mixture, atol=1e-9)
    assert np.all(drawn.log_weights <= log_density(drawn.x) - log_cauchy(drawn.x) - math.log(share) + 1e-9)
    assert np.abs(drawn.x[3001:]).max() > 50 > np.abs(drawn.x[:3001]).max()


def test_the_standard_error_adds_up_the_variances_of_both_groups(drawn):
    relative = np.exp(np.asarray(drawn.log_weights) - float(drawn.log_normalizer))
    parts = relative[:3001], relative[3001:]
    expected = math.sqrt(sum(len(part) * part.var(ddof=1) for part in parts)) / 4001
    assert drawn.standard_error == pytest.approx(expected, rel=1e-9)
    assert drawn.standard_error < math.sqrt((4001 / drawn.ess - 1) / 4000)  # that of 4001 draws of the mixture
    assert abs(drawn.log_normalizer - 1) < 4 * drawn.standard_error
    assert drawn.pareto_k < 0.5


def test_it_mends_a_flow_that_is_too_narrow(drawn):
    plain = importance_sample(FLOW, VARIABLES, log_density, KEY, 4001, batch_size=4001)
    assert plain.pareto_k > 0.7 and plain.log_normalizer < 0.8  # it misses what it never draws
    assert drawn.ess > 3 * plain.ess


@pytest.mark.slow
def test_log_normalizers_of_many_runs_spread_as_the_standard_error_says():
    keys = jax.random.split(jax.random.key(0), 200)
    found = jax.jit(jax.vmap(lambda key: draw(key=key, num_samples=500, defensive=WIDE)))(keys)
    errors = (found.log_normalizer - 1) / found.standard_error
    assert 0.85 < errors.std() < 1.15 and abs(errors.mean()) < 0.3


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_batch_size(drawn):
    parts = importance_sample(FLOW, VARIABLES, log_density, KEY, 4001, batch_size=1600, defensive=wide())
    for obtained, wanted in zip(parts, drawn, strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=1e-7, atol=1e-9)


def test_a_widened_flow_has_the_density_of_its_samples():
    twice = widened(FLOW, VARIABLES, temperature=2.0)
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(jax.jit(twice.log_prob)(x), norm.logpdf(x, scale=2.0).sum(-1), atol=1e-10)
    draws = jax.jit(jax.vmap(twice.sample))(jax.random.split(KEY, 4000))
    assert draws.std() == pytest.approx(2, rel=0.05)


@pytest.mark.slow
def test_a_widened_flow_that_bends_has_an_integral_of_1():
    flow = jflows.realnvp((2,), 2, (8,), standardize=False)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, flow.init(KEY, np.random.default_rng(0).normal(size=(5, 2))))
    axis = jnp.linspace(-40, 40, 401)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = jnp.exp(widened(flow, variables, 2.0).log_prob(grid)).sum() * (80 / 400) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_labels_reach_the_wide_density():
    flow = jflows.Flow(
        jflows.bijectors.Identity(), ClassConditionalNormal((1,)), (1,), embed=ClassEmbed(2), context_shape=()
    )
    labels = np.array([1, 0])
    variables = flow.init(KEY, context=labels)
    shifted = lambda x, label: norm.logpdf(x[:, 0], 3.0 * label) + label
    own = Defensive(
        lambda key, label: 3.0 * label + 2 * jax.random.normal(key, (1,)),
        lambda x, label: norm.logpdf(x[:, 0], 3.0 * label, 2.0),
        weight=0.5,
    )
    for defensive in (own, widened(flow, variables, 4.0, 0.5)):
        drawn = importance_sample(flow, variables, shifted, KEY, 1000, labels, defensive=defensive)
        assert drawn.x.shape == (1000, 2, 1)
        assert np.all(np.abs(drawn.log_normalizer - labels) < 4 * drawn.standard_error)
    assert np.all(drawn.pareto_k < 0.5)


@pytest.mark.slow
def test_it_runs_under_jit_and_vmap():
    """The numbers are those of the call outside."""
    call = lambda variables, key: importance_sample(FLOW, variables, log_density, key, 64, defensive=WIDE)
    keys = jax.random.split(KEY, 2)
    found = jax.jit(jax.vmap(call, in_axes=(None, 0)))(VARIABLES, keys)
    np.testing.assert_allclose(found.log_normalizer[1], call(VARIABLES, keys[1]).log_normalizer, rtol=1e-9)


WIDE = wide()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: wide(0.0), InvalidValueError, r"Defensive: `weight` must lie in \(0, 1\); got 0"),
        (lambda: wide(1.0), InvalidValueError, r"Defensive: `weight` must lie in \(0, 1\); got 1"),
        (lambda: wide(math.nan), InvalidValueError, "Defensive: `weight` must be finite; got nan"),
        (lambda: Defensive(1.0, log_cauchy), InvalidTypeError, "Defensive: `sample` must be a function; got float"),
        (lambda: Defensive(log_cauchy, None), InvalidTypeError, "`log_prob` must be a function; got NoneType"),
        (
            lambda: draw(defensive=0.1),
            InvalidTypeError,
            "`defensive` must be a Defensive; got float. Write jfl",
        ),
        (
            lambda: draw(defensive=wide(0.01)),
            InvalidValueError,
            "`defensive` must leave at least 2 samples to the flow and to .*; got weight=0.01 of num_samples=100",
        ),
        (lambda: draw(defensive=wide(0.99)), InvalidValueError, "must leave at least 2 samples to the flow"),
        (
            lambda: draw(defensive=Defensive(lambda key: jax.random.normal(key), log_cauchy)),
            InvalidValueError,
            r"`defensive.sample` must return one event of shape \(2,\); got shape \(\)",
        ),
        (
            lambda: draw(defensive=Defensive(wide().sample, lambda x: x)),
            InvalidValueError,
            "`defensive.log_prob` must return one float per event",
        ),
        (
            lambda: draw(defensive=Defensive(wide().sample, lambda x: jnp.log(x[:, 0]))),
            InvalidValueError,
            "importance_sample: `defensive.log_prob` must not be NaN or inf; got .* of 100 samples where it is. Give",
        ),
        (
            lambda: draw(num_samples=4001, defensive=Defensive(wide().sample, lambda x: log_cauchy(x) + 1, 0.3)),
            InvalidValueError,
            "of what defensive.sample draws; got 0.3.* as its mean share of the proposal at the .* must be 0.3",
        ),
        (
            lambda: draw(defensive=Defensive(wide().sample, lambda x: jnp.full(len(x), -jnp.inf), 0.4)),
            InvalidValueError,
            "must be the normalised log density of what defensive.sample draws; got 0 as its mean share",
        ),
        (
            lambda: draw(defensive=Defensive(wide().sample, lambda x: np.asarray(x)[:, 0])),
            InvalidTypeError,
            "`defensive.log_prob` must be a function that JAX can trace; got TracerArrayConversionError inside of it.",
        ),
        (lambda: widened(None, {}), InvalidTypeError, "widened: `flow` must be a Flow; got NoneType"),
        (
            lambda: widened(FLOW, VARIABLES, 0.0),
            InvalidValueError,
            "widened: `temperature` must be positive; got 0.0",
        ),
        (
            lambda: widened(FLOW, VARIABLES, 1.0),
            InvalidValueError,
            "widened: `temperature` must be above 1; got 1.0. A narrower density bounds no weights",
        ),
        (lambda: widened(FLOW, VARIABLES, weight=2.0), InvalidValueError, r"`weight` must lie in \(0, 1\); got 2"),
        *(
            (
                lambda base=base: widened(jflows.Flow(jflows.bijectors.Identity(), base, (2,)), {}),
                InvalidValueError,
                f"must have a base with a mean and a density on all real numbers; got the base {type(base).__name__}",
            )
            for base in (Uniform((2,)),)
        ),
        (
            lambda: draw(log_density=lambda x: -jnp.inf * jnp.ones(len(x))),
            InvalidValueError,
            "`log_density` must give weights that are finite, and some above 0; got 0 for all 100 samples. Train the",
        ),
        (
            lambda: draw(log_density=lambda x: jnp.where(x[:, 0] > 0, jnp.nan, 0.0)),
            InvalidValueError,
            "must give weights that are finite, and some above 0; got .* of 100 that are NaN or infinite. Look at l",
        ),
        (
            lambda: draw(log_density=lambda x: jnp.inf + x[:, 0]),
            InvalidValueError,
            "got 100 of 100 that are NaN or",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def draw(**given):
    return importance_sample(FLOW, VARIABLES, **{"log_density": log_density, "key": KEY, "num_samples": 100} | given)
