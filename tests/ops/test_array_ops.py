"""The pure functions under the bijectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import ops

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("kind", "low", "high", "at_zero"),
    [("tanh", -2, 2, 0), ("sigmoid", -np.inf, 0, np.log(0.8807970779778823)), ("exp", -1e3, 1e3, 0)],
)
def test_log_scales_stay_in_their_interval(kind, low, high, at_zero):
    raw = jnp.array([-1e3, -3.0, 0.0, 3.0, 1e3])
    log_scale = ops.bounded_log_scale(raw, kind, 2.0)
    assert np.all(np.isfinite(log_scale))
    assert np.all((low <= log_scale) & (log_scale <= high))
    assert np.all(np.diff(log_scale) >= 0)
    np.testing.assert_allclose(log_scale[2], at_zero, atol=1e-12)


def test_whitening_gives_mean_0_and_deviation_1_and_survives_a_constant_channel():
    x = jnp.array([3.0, -2.0]) + jnp.array([5.0, 0.0]) * jax.random.normal(KEY, (50, 2))
    shift, log_scale = ops.whitening(x)
    white = (x + shift) * jnp.exp(log_scale)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(white.std(axis=0), [1, 0], atol=1e-9)
    np.testing.assert_allclose(log_scale[1], np.log(1e6), rtol=1e-12)


def test_sums_accumulate_in_float32_or_wider():
    ones = jnp.ones((2, 3000), jnp.bfloat16)
    total = ops.sum_event(ones, 1)
    assert (total.dtype, total.tolist()) == (jnp.float32, [3000.0, 3000.0])
    assert ops.zero_log_det(ones, 1).dtype == jnp.float32
    assert ops.constant_log_det(ones, 1, 2.5).dtype == jnp.float32
    assert ops.sum_event(ones.astype(jnp.float64), 2).dtype == jnp.float64
    assert ops.constant_log_det(jnp.ones((2, 3, 4)), 1, 2.0).shape == (2, 3)
