"""The autoregressive mixture: its density from its formula, samples by two ways, its start, its messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from flax import linen as nn

import jflows
from jflows import bijectors as b
from jflows.distributions import AutoregressiveMixture
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import MADE, MLP, Transformer
from jflows.testing import integrate_density
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")
QUICK = {"xla_backend_optimization_level": 0}
DIM, K = 3, 2
NUM_SAMPLES = 4000


class Plain(nn.Module):
    """Hides what MADE can do beside being called."""

    made: MADE

    def __call__(self, x, num_features, context=None):
        return self.made(x, num_features, context)


def base_and_variables(num_components=K, conditional=True, dim=DIM):
    base = AutoregressiveMixture((dim,), MADE((8, 8), "tanh", order="random"), num_components)
    context = jnp.ones((3, 2)) if conditional else None
    variables = jax.jit(lambda: base.init(KEY, jnp.ones((3, dim)), context, method="log_prob"))()
    return base, perturb(variables, seed=1, noise=0.7)


def components(base, variables, z, context):
    """Weights, means and scales [num, K, D] as the formulas of the docstring have them."""
    dim = z.shape[-1]
    num = base.num_components
    raw = base.conditioner.apply({"params": variables["params"]["conditioner"]}, z, 3 * num * dim, context)
    raw = np.asarray(raw).reshape(len(z), 3 * num, dim) + np.asarray(variables["params"]["start"])
    logits, shifts, scales = np.split(raw, 3, axis=1)
    start = 0.8 * scipy.stats.norm.ppf((np.arange(num) + 0.5) / num)[:, None]
    s = np.sqrt(1 - np.mean(start**2))
    scales = 1e-3 + (s - 1e-3) * np.log1p(np.exp(scales + np.log(np.e - 1)))
    return scipy.special.softmax(logits, axis=1), start + shifts, scales


@functools.cache
def drawn():
    base, variables = base_and_variables()
    context = np.random.default_rng(1).normal(size=(NUM_SAMPLES, 2))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(variables):
        z = base.apply(variables, KEY, (NUM_SAMPLES,), context, method="sample")
        return z, base.apply(variables, z, context, method="log_prob")

    return (base, variables, context, *map(np.asarray, run(variables)))


def test_log_prob_is_the_formula():
    base, variables, context, z, log_prob = drawn()
    weights, means, scales = components(base, variables, z, context)
    density = (weights * scipy.stats.norm.pdf(z[:, None], means, scales)).sum(1)
    np.testing.assert_allclose(log_prob, np.log(density).sum(1), rtol=1e-9, atol=1e-9)


def test_samples_follow_the_density():
    base, variables, context, z, _ = drawn()
    weights, means, scales = components(base, variables, z, context)
    u = (weights * scipy.stats.norm.cdf(z[:, None], means, scales)).sum(1)  # uniform and independent if all is right
    bound = 1.95 / np.sqrt(NUM_SAMPLES)  # the 0.1% point of Kolmogorov's law
    assert all(scipy.stats.kstest(u[:, i], "uniform").statistic < bound for i in range(DIM))
    correlation = np.corrcoef(np.concatenate([u, np.asarray(context)], axis=1), rowvar=False)
    np.testing.assert_allclose(correlation, np.eye(DIM + 2), atol=4 / np.sqrt(NUM_SAMPLES))
    assert np.abs(np.corrcoef(z, rowvar=False) - np.eye(DIM)).max() > 0.1  # and z itself is not


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.by_default("1")
def test_density_integrates_to_one(dim):
    base, variables = base_and_variables(num_components=3, conditional=False, dim=dim)
    flow = jflows.Flow(b.Identity(), base, (dim,))
    mass = integrate_density(flow, {"params": {"base": variables["params"]}}, bound=15.0, num_points=1201)
    np.testing.assert_allclose(mass, 1.0, atol=1e-5)


@pytest.mark.slow
def test_any_autoregressive_network_samples_the_same():
    base, variables = base_and_variables(num_components=1)
    plain = AutoregressiveMixture((DIM,), Plain(base.conditioner), 1)
    wrapped = {"params": {**variables["params"], "conditioner": {"made": variables["params"]["conditioner"]}}}

    @functools.partial(jax.jit, compiler_options=QUICK, static_argnums=0)
    def draw(base, variables, temperature):
        sample = lambda v: base.apply(v, KEY, (4, 5), jnp.ones((4, 5, 2)), temperature, method="sample")
        return jax.jvp(sample, (variables,), (variables,))

    for temperature in (1.0, 0.0):
        z, slope = draw(base, variables, temperature)
        other, other_slope = draw(plain, wrapped, temperature)
        assert z.shape == (4, 5, DIM)
        np.testing.assert_allclose(z, other, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(slope, other_slope, rtol=1e-8, atol=1e-8)
    mean = jax.jit(lambda: base.apply(variables, jnp.ones((4, 5, 2)), method="mean"), compiler_options=QUICK)()
    np.testing.assert_allclose(z, mean, rtol=1e-10)
    weights, means, _ = components(base, variables, np.asarray(z).reshape(-1, DIM), jnp.ones((20, 2)))
    np.testing.assert_allclose(z.reshape(-1, DIM), (weights * means).sum(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_components", [1, 10])
@pytest.mark.by_default("1")
def test_starts_nearly_normal_with_components_that_differ(num_components):
    base = AutoregressiveMixture((1,), MADE((4,)), num_components)
    z = np.linspace(-9, 9, 4001)[:, None]
    variables = base.init(KEY, z[:1], method="log_prob")
    log_prob = jax.jit(functools.partial(base.apply, method="log_prob"), compiler_options=QUICK)(variables, z)
    density = np.exp(log_prob)
    for power, moment in ((0, 1), (1, 0), (2, 1)):
        np.testing.assert_allclose(np.trapezoid(density * z[:, 0] ** power, z[:, 0]), moment, atol=1e-6)
    normal = scipy.stats.norm.pdf(z[:, 0])
    divergence = np.trapezoid(normal * (np.log(normal) - log_prob), z[:, 0])
    assert -1e-9 < divergence < 0.0024
    assert (divergence < 1e-9) == (num_components == 1)


def test_starts_on_the_quantiles_of_the_data():
    base = AutoregressiveMixture((2,), MADE((4,)), 10)
    z = np.random.RandomState(0).randn(2000, 2)
    z[:700, 1] = 0.25  # a value that comes often
    variables = jax.jit(functools.partial(base.init, method="log_prob"), compiler_options=QUICK)(KEY, z)
    apply = functools.partial(base.apply, variables)
    log_prob_of = jax.jit(functools.partial(apply, method="log_prob"), compiler_options=QUICK)
    grid = np.stack([np.linspace(-9, 9, 4001), np.full(4001, 50.0)], axis=1)
    log_prob = log_prob_of(grid) - log_prob_of(grid * 0 + [[0.0, 50.0]])
    excess = log_prob - (scipy.stats.norm.logpdf(grid[:, 0]) - scipy.stats.norm.logpdf(0))
    assert np.abs(excess[np.abs(grid[:, 0]) < 1.5]).max() < 0.85  # the first column is as before
    assert excess.min() > -0.85  # and no tail is lighter
    at_value = np.stack([np.zeros(2), [0.25, 0.3]], axis=1)
    near, off = log_prob_of(at_value)
    assert near - off > 3
    drawn = jax.jit(lambda: apply(KEY, (4000,), method="sample")[:, 1], compiler_options=QUICK)()
    assert np.mean(np.abs(drawn - 0.25) < 0.02) == pytest.approx(0.35, abs=0.08)


def test_scales_are_bounded_below():
    base = AutoregressiveMixture((1,), MADE((4,)), 2, min_scale=0.01)
    z = np.array([[0.0]])
    variables = base.init(KEY, z, method="log_prob")
    bias = np.array([0.0, 0.0, 0.8 * 0.6744897501960817, 5.0, -1e4, -1e4])  # the first component at 0, both narrow
    variables["params"]["conditioner"]["output"]["bias"] = bias
    log_prob = base.apply(variables, z, method="log_prob")
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(0, 0, 0.01) - np.log(2), rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: AutoregressiveMixture((2,), MLP((4,))),
            InvalidValueError,
            "`conditioner` must be autoregressive; got MLP. Use MADE, or Transformer",
        ),
        (
            lambda: AutoregressiveMixture((2,), Transformer(event_ndims=2)),
            InvalidValueError,
            "`conditioner` must be for events of the same axes; got Transformer with event_ndims=2 where events have 1",
        ),
        (
            lambda: AutoregressiveMixture((2,), MADE),
            InvalidTypeError,
            r"`conditioner` must be a network, .*; got the class MADE; write MADE\(...\)",
        ),
        (
            lambda: AutoregressiveMixture((2,), MADE(), 0),
            InvalidValueError,
            "`num_components` must be at least 1; got 0",
        ),
        (
            lambda: AutoregressiveMixture((2,), MADE(), 2, 0.5),
            InvalidValueError,
            r"`min_scale` must lie in \(0, 0.5\); got 0.5",
        ),
    ],
)
def test_bad_settings_are_refused(make, error, message):
    with pytest.raises(error, match=f"AutoregressiveMixture: {message}"):
        make()
