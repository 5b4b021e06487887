"""The mixture of logistics against independent formulas, and in its far tails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import logistic, norm

from jflows import bijectors as b
from jflows.ops.logistic_mixture import (
    invert_logit_cdf,
    invert_normal_logit_cdf,
    logit_cdf,
    normal_logit_cdf,
)

LOGITS, MEANS = jnp.asarray([[0.3], [-1.0], [0.5]]), jnp.asarray([[-2.0], [0.0], [3.0]])
LOG_SCALES = jnp.asarray([[0.1], [-1.0], [0.4]])
X = jnp.linspace(-6, 6, 9)[:, None]


def mixture_cdf(x):
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    return (weights * logistic.cdf(x, MEANS, np.exp(LOG_SCALES))).sum(axis=0)


def test_equals_the_distribution_function():
    y, log_slope = logit_cdf(X, LOGITS, MEANS, LOG_SCALES)
    wanted = np.stack([mixture_cdf(x) for x in np.asarray(X)])
    np.testing.assert_allclose(jax.nn.sigmoid(y), wanted, rtol=1e-12)
    slope = jax.vmap(jax.grad(lambda x: logit_cdf(x[None], LOGITS, MEANS, LOG_SCALES)[0].sum()))(X)
    np.testing.assert_allclose(jnp.exp(log_slope), slope, rtol=1e-10)


def test_tails_are_exact_in_both_directions():
    x = jnp.asarray([[-1e4], [-300.0], [300.0], [1e4]])
    y, _ = logit_cdf(x, LOGITS, MEANS, LOG_SCALES)
    assert np.all(np.isfinite(y)) and np.all(np.diff(y[:, 0]) > 0)
    np.testing.assert_allclose(invert_logit_cdf(y, LOGITS, MEANS, LOG_SCALES), x, rtol=1e-12)


def test_normal_quantile_of_a_logit():
    z = jnp.asarray([-40.0, -3.0, 0.0, 1e-3, 5.0, 40.0])
    y, log_slope = normal_logit_cdf(z)
    np.testing.assert_allclose(y[1:4], norm.logcdf(z[1:4]) - norm.logsf(z[1:4]), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(invert_normal_logit_cdf(y), z, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(log_slope, jnp.log(jax.vmap(jax.grad(lambda v: normal_logit_cdf(v)[0]))(z)), rtol=1e-8)


@pytest.mark.slow
def test_gaussianize_sends_quantiles_to_normal_quantiles():
    params = jnp.concatenate([LOGITS, MEANS - jnp.asarray([[-1.0], [0.0], [1.0]]), 4 * jnp.arctanh(LOG_SCALES / 4)])
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
