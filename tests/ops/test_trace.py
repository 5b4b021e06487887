"""Log-det estimators: exact where they say so, unbiased within their standard error, with the derivatives of that."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops import trace

DIM, BATCH, NUM_KEYS = 3, 2, 4096
KEYS = jax.random.split(jax.random.key(0, impl="unsafe_rbg"), NUM_KEYS)
X = jax.device_put(np.random.default_rng(0).standard_normal((BATCH, DIM)))
MATRIX = jax.device_put(np.random.default_rng(1).standard_normal((DIM, DIM)))
PARAMS = 0.75 * MATRIX / jnp.linalg.norm(MATRIX, 2)  # Lip(g) <= 0.75


def g(params, x):
    return jnp.tanh(x @ params + 0.3)


def exact(params, x):
    return trace.exact_log_det(functools.partial(g, params), x, 1)


def roulette(params, x, key, noise="rademacher"):
    noise_key, terms_key = jax.random.split(key)
    v = trace.hutchinson_noise(noise_key, x.shape, x.dtype, noise)
    num_terms = trace.roulette_terms(terms_key, 2, 0.3)
    return trace.series_log_det(g, params, x, v, num_terms, 1, num_exact=2, stop_probability=0.3)


def truncated(params, x, key, num_terms=3):
    v = trace.hutchinson_noise(key, x.shape, x.dtype, "rademacher")
    return trace.series_log_det(g, params, x, v, num_terms, 1)


def test_slopes_near_one_are_not_rounded_to_the_type_of_x():
    log_det = trace.exact_log_det(lambda x: 2.0**-10 * x, jnp.ones((2, 3), jnp.bfloat16), 1)
    np.testing.assert_allclose(log_det, 3 * np.log1p(2.0**-10), rtol=1e-3)


@pytest.mark.parametrize("kind", trace.NOISE_KINDS)
def test_a_key_gives_the_same_noise_in_every_type(kind):
    """As `float32_errors` compares float32 with float64 by one key."""
    key, wanted = jax.random.key(7), trace.hutchinson_noise(jax.random.key(7), (50,), jnp.float64, kind)
    for x64 in (True, False):
        with jax.enable_x64(x64):
            found = trace.hutchinson_noise(key, (50,), jnp.float32, kind)
            terms = [int(trace.roulette_terms(key, 2, 0.3)) for key in jax.random.split(key, 9)]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == jnp.float32
        assert terms == [int(trace.roulette_terms(key, 2, 0.3)) for key in jax.random.split(key, 9)]


def assert_mean(samples, wanted, largest_error):
    """Within 4 standard errors, which are small enough to prove something."""
    error = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.max(error) < largest_error
    np.testing.assert_array_less(np.abs(np.mean(samples, axis=0) - wanted), 4 * error + 1e-12)


def test_exact_log_det_and_trace_are_those_of_the_jacobian():
    f = functools.partial(g, PARAMS)
    jacobian = jax.vmap(jax.jacrev(f))(X)
    np.testing.assert_allclose(trace.jacobian(f, X, 1), jacobian, rtol=1e-12)
    np.testing.assert_allclose(exact(PARAMS, X), np.linalg.slogdet(np.eye(DIM) + jacobian)[1], rtol=1e-12)
    value, found = trace.exact_trace(f, X, 1)
    np.testing.assert_allclose(value, f(X))
    np.testing.assert_allclose(found, np.trace(jacobian, axis1=1, axis2=2), rtol=1e-12)


@pytest.mark.parametrize("noise", trace.NOISE_KINDS)
@pytest.mark.by_default("rademacher")
def test_roulette_is_unbiased(noise):
    samples = jax.jit(jax.vmap(lambda key: roulette(PARAMS, X, key, noise)))(KEYS)
    assert_mean(samples, exact(PARAMS, X), 0.02)


def test_truncation_estimates_the_cut_series():
    samples = jax.jit(jax.vmap(lambda key: truncated(PARAMS, X, key)))(KEYS)
    powers = [np.linalg.matrix_power(m, k) for m in trace.jacobian(lambda x: g(PARAMS, x), X, 1) for k in (1, 2, 3)]
    traces = np.asarray([np.trace(power) for power in powers]).reshape(BATCH, 3)
    cut = traces @ np.asarray([1, -1 / 2, 1 / 3])
    assert_mean(samples, cut, 0.02)
    assert np.all(np.abs(cut - exact(PARAMS, X)) <= trace.truncation_bound(0.75, DIM, 3))


@pytest.mark.parametrize("num_terms", [1, 4, 9])
def test_truncation_bound_is_reached(num_terms):
    """By J = -c I, for which signs as noise have no variance."""
    v = trace.hutchinson_noise(KEYS[0], X.shape, X.dtype, "rademacher")
    found = trace.series_log_det(lambda c, x: -c * x, 0.6, X, v, num_terms, 1)
    np.testing.assert_allclose(found - DIM * np.log(0.4), trace.truncation_bound(0.6, DIM, num_terms), rtol=1e-10)


def test_neumann_gradient_is_unbiased():
    weights = np.array([1.0, -0.5])

    def gradient(log_det):
        return jax.grad(lambda params, x: log_det(params, x) @ weights, (0, 1))(PARAMS, X)

    wanted = gradient(exact)
    samples = jax.jit(jax.vmap(lambda key: gradient(lambda p, x: roulette(p, x, key))))(KEYS)
    for part in (0, 1):
        assert_mean(samples[part], wanted[part], 0.015)
        assert np.max(np.abs(wanted[part])) > 0.05


def test_forward_mode_agrees_with_reverse_mode():
    value = lambda params: roulette(params, X, KEYS[1])
    forward, reverse = jax.jit(lambda params: (jax.jacfwd(value)(params), jax.jacrev(value)(params)))(PARAMS)
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)


def test_hutchinson_trace_is_unbiased():
    f = functools.partial(g, PARAMS)

    def draw(key):
        return trace.hutchinson_trace(f, X, trace.hutchinson_noise(key, X.shape, X.dtype, "normal"), 1)[1]

    assert_mean(jax.vmap(draw)(KEYS), trace.exact_trace(f, X, 1)[1], 0.05)
