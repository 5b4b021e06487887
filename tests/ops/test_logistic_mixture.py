"""The mixture of logistics against independent formulas, and in its far tails."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, ndtri
from scipy.stats import logistic, norm

from jflows import bijectors as b
from jflows.ops.logistic_mixture import (
    invert_logit_cdf,
    invert_normal_logit_cdf,
    logit_cdf,
    normal_logit_cdf,
)

LOGITS, MEANS = np.array([[0.3], [-1.0], [0.5]]), np.array([[-2.0], [0.0], [3.0]])
LOG_SCALES = np.array([[0.1], [-1.0], [0.4]])
X = np.linspace(-6, 6, 9)[:, None]


def mixture_cdf(x):
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    return (weights * logistic.cdf(x, MEANS, np.exp(LOG_SCALES))).sum(axis=0)


def test_equals_the_distribution_function():
    y, log_slope = jax.jit(logit_cdf)(X, LOGITS, MEANS, LOG_SCALES)
    wanted = np.stack([mixture_cdf(x) for x in np.asarray(X)])
    np.testing.assert_allclose(expit(y), wanted, rtol=1e-12)
    slope = jax.jit(jax.vmap(jax.grad(lambda x: logit_cdf(x[None], LOGITS, MEANS, LOG_SCALES)[0].sum())))(X)
    np.testing.assert_allclose(np.exp(log_slope), slope, rtol=1e-10)


def test_tails_are_exact_in_both_directions():
    x = np.array([[-1e4], [-300.0], [300.0], [1e4]])
    y = np.asarray(jax.jit(logit_cdf)(x, LOGITS, MEANS, LOG_SCALES)[0])
    assert np.all(np.isfinite(y)) and np.all(np.diff(y[:, 0]) > 0)
    np.testing.assert_allclose(jax.jit(invert_logit_cdf)(y, LOGITS, MEANS, LOG_SCALES), x, rtol=1e-12)


# Computed by mpmath with 120 digits: log-scales and x, then y, log dy/dx and dy/dmeans. Two scales are equal, so that
# means decide; or they nearly are, so that both decide; or they differ much. All numbers are exact in float32.
FAR_LOGITS, FAR_MEANS = (0.25, -1.0, 0.5), (-2.0, 0.0, 3.0)
EQUAL, NEAR, WIDE = (0.125, -1.0, 0.125), (0.125, 0.125 + 2**-20, 0.125 - 2**-20), (3.5, -3.5, 0.5)
FAR = (
    (EQUAL, -1e30, -8.8249691586393773e29, -0.125, (-0.8689680871, 0.0, -0.01352881544)),
    (EQUAL, -1e7, -8824968.1895154572, -0.125, (-0.8689680871, 0.0, -0.01352881544)),
    (EQUAL, -1.0, -0.86500910949624276, -0.72625675058769693, (-0.340854172, -0.08438207741, -0.05848002672)),
    (EQUAL, 1e4, 8823.0062486587132, -0.125, (-0.008255437715, 0.0, -0.8742414649)),
    (EQUAL, 1e30, 8.8249691586393773e29, -0.125, (-0.008255437715, 0.0, -0.8742414649)),
    (NEAR, -1e7, -8824962.7993145842, -0.12500094939120445, (-0.003963413021, -0.8785326381, -1.365327863e-8)),
    (NEAR, -300.0, -263.86556805056307, -0.12500003000311635, (-0.8289287238, -0.04066598113, -0.01290217116)),
    (NEAR, 1e4, 8822.9987880089668, -0.12499908507096251, (-0.008194075969, -0.01382972753, -0.8604739065)),
    (NEAR, 1e7, 8824962.8036805541, -0.12500095354234238, (-0.0001166571355, -0.8823766705, -2.733483606e-6)),
    (NEAR, 1e30, 8.8249607424969608e29, -0.12500095367431641, (0.0, -0.882496061, 0.0)),
    (WIDE, -300.0, -9.943007932738779, -3.5000754864859515, (-0.03019510401, 0.0, 0.0)),
    (WIDE, 40.0, 2.3710071429351251, -3.6586048278977074, (-0.02576843837, 0.0, -6.956463497e-10)),
    (WIDE, 1e7, 301974.83873013825, -3.5, (-0.03019738342, 0.0, 0.0)),
    (WIDE, 1e30, 3.0197383876712608e28, -3.5, (-0.03019738342, 0.0, 0.0)),
)
# The same of the normal law: z, y and log dy/dz, on both sides of where its formulas change.
FAR_NORMAL = (
    (0.0, 0.0, 0.46735582791521788),
    (0.5, 0.80696534630496222, 0.50091964367760226),
    (2.96875, 6.5040868687162203, 1.1814024293133328),
    (3.0, 6.6063754115456013, 1.190138498270425),
    (5.96875, 20.544792900440911, 1.8128660883770189),
    (6.0, 20.736768948988118, 1.8178304177566206),
    (30.0, 454.3212439563432, 3.4023054231385244),
    (1e4, 50000010.129278915, 9.2103403819761825),
    (1e5, 5000000012.431864, 11.512925465070228),
    (1e18, 4.9999998430674956e35, 41.446531658199572),
)
both_types = pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 1e-6), (np.float64, 2e-8)])  # of 10 digits


@both_types
def test_far_out_values_slopes_and_gradients_are_those_of_120_digits(dtype, tol):
    scales, x, y, log_slope, by_means = (np.asarray(column, dtype) for column in zip(*FAR, strict=True))
    logits = np.asarray(FAR_LOGITS, dtype)

    @jax.jit
    @jax.vmap
    def run(x, log_scales):
        of = lambda means: [
            part[0] for part in logit_cdf(x[None], logits[:, None], means[:, None], log_scales[:, None])
        ]
        means = jnp.asarray(FAR_MEANS, dtype)
        return *of(means), jax.grad(lambda means: of(means)[0])(means)

    found_y, found_log_slope, found_by_means = run(x, scales)
    # 1e30 and its nearest float32 differ by 1.5e-8.
    np.testing.assert_allclose(found_y, y, rtol=tol)
    np.testing.assert_allclose(found_log_slope, log_slope, rtol=tol)
    np.testing.assert_allclose(found_by_means, by_means, rtol=20 * tol, atol=1e-10)


@both_types
def test_far_out_the_normal_law_is_that_of_60_digits(dtype, tol):
    z, y, log_slope = (np.asarray(column, dtype) for column in zip(*FAR_NORMAL, strict=True))
    z, y = np.concatenate([z, -z[1:]]), np.concatenate([y, -y[1:]])
    log_slope = np.concatenate([log_slope, log_slope[1:]])
    run = jax.jit(jax.vmap(lambda z: (*normal_logit_cdf(z), *jax.jvp(normal_logit_cdf, (z,), (jnp.ones_like(z),))[1])))
    found_y, found_log_slope, slope, _ = run(z)
    np.testing.assert_allclose(found_y, y, rtol=1.6e-8 * 2 + 3 * np.finfo(dtype).eps)  # of 1e18 rounded to float32
    np.testing.assert_allclose(found_log_slope, log_slope, rtol=tol)
    np.testing.assert_allclose(slope, np.exp(np.float64(log_slope)), rtol=10 * tol)
    np.testing.assert_allclose(jax.jit(invert_normal_logit_cdf)(found_y), z, rtol=10 * tol)


@pytest.mark.parametrize("inner", [b.LogisticMixture(3), b.Gaussianize(3)], ids=lambda inner: type(inner).__name__)
@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.by_default("forward_and_log_det-Gaussianize", "inverse_and_log_det-LogisticMixture")
def test_far_out_float32_has_the_gradients_of_float64(inner, method):
    params = np.float32(1.5 * np.random.default_rng(0).normal(size=(inner.num_params, 1)))
    values = np.float32([1.0, -1e4, 1e10, -1e18])

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def run(value, params):
        map_of = lambda value, params: inner.apply({}, value[None], params, method=method)
        one = lambda value, params: jnp.stack([part[0] for part in map_of(value, params)])
        return one(value, params), jax.jacrev(one, (0, 1))(value, params)

    found, wanted = run(values, params), run(np.float64(values), np.float64(params))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=3e-5, atol=2e-6), found, wanted)


def test_normal_quantile_of_a_logit():
    z = np.array([-40.0, -3.0, 0.0, 1e-3, 5.0, 40.0])
    y, log_slope = map(np.asarray, jax.jit(normal_logit_cdf)(z))
    slope = jax.jit(jax.vmap(jax.grad(lambda v: normal_logit_cdf(v)[0])))(z)
    np.testing.assert_allclose(y[1:4], norm.logcdf(z[1:4]) - norm.logsf(z[1:4]), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jax.jit(invert_normal_logit_cdf)(y), z, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-12)


@pytest.mark.slow
def test_gaussianize_sends_quantiles_to_normal_quantiles():
    params = jnp.concatenate([LOGITS, MEANS - np.array([[-1.0], [0.0], [1.0]]), 4 * jnp.arctanh(LOG_SCALES / 4)])
    z, _ = b.Gaussianize(3).apply({}, X, params, method="inverse_and_log_det")
    wanted = ndtri(np.stack([mixture_cdf(x) for x in np.asarray(X)]))
    np.testing.assert_allclose(z, wanted, rtol=1e-8)
    x, _ = b.Gaussianize(3).apply({}, z, params, method="forward_and_log_det")
    np.testing.assert_allclose(x, X, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_components_part_from_equal_parameters():
    """With equal means they would get equal gradients for ever."""
    grad = jax.grad(lambda p: b.LogisticMixture(2).apply({}, X, p, method="inverse_and_log_det")[1].sum())
    slopes = grad(jnp.zeros((8, 1)))
    assert abs(slopes[2, 0] - slopes[3, 0]) > 0.1


@pytest.mark.parametrize("make", [b.LogisticMixture, b.Gaussianize])
def test_bad_settings(make):
    with pytest.raises(ValueError, match=f"{make.__name__}: `num_components` must be at least 1; got 0"):
        make(0)
    with pytest.raises(ValueError, match=f"{make.__name__}: `max_log_scale` must be positive; got -1"):
        make(2, -1)
