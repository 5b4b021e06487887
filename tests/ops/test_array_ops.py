"""The pure functions under the bijectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jflows import ops
from jflows.errors import InvalidValueError
from jflows.ops.affine import scaled

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("kind", "low", "high", "at_zero"),
    [("tanh", -2, 2, 0), ("sigmoid", -np.inf, 0, np.log(0.8807970779778823)), ("exp", -1e3, 1e3, 0)],
)
def test_log_scales_stay_in_their_interval(kind, low, high, at_zero):
    raw = np.array([-1e3, -3.0, 0.0, 3.0, 1e3])
    log_scale = ops.bounded_log_scale(raw, kind, 2.0)
    assert np.all(np.isfinite(log_scale))
    assert np.all((low <= log_scale) & (log_scale <= high))
    assert np.all(np.diff(log_scale) >= 0)
    np.testing.assert_allclose(log_scale[2], at_zero, atol=1e-12)


WHITENED = {  # mean, deviation, and whether that is a constant in float32
    "ordinary": (3.0, 5.0, False),
    "small": (0.0, 1e-9, False),
    "tiny": (0.0, 1e-25, False),
    "huge": (1e30, 1e29, False),
    "offset": (1.0, 1e-5, False),
    "zero": (0.0, 0.0, True),
    "constant": (-2.0, 0.0, True),
    "rounded": (1e6, 0.03, True),
}


@pytest.mark.parametrize("name", WHITENED)
def test_whitening_gives_mean_0_and_deviation_1_in_any_unit_and_leaves_constants_at_scale_1(name):
    mean, deviation, constant = WHITENED[name]
    noise = np.random.default_rng(0).standard_normal((500, 1))
    x = jnp.asarray(mean + deviation * noise, jnp.float32)
    shift, log_scale = ops.whitening(x)
    white = np.asarray((x + shift) * jnp.exp(log_scale), np.float64)
    assert shift.dtype == log_scale.dtype == jnp.float32
    assert ops.affine.constant_channels(x).tolist() == [constant] == [float(log_scale[0]) == 0]
    np.testing.assert_allclose(white.mean(), 0, atol=1e-2 if name == "offset" else 0.1 if constant else 1e-5)
    if not constant:
        np.testing.assert_allclose(white.std(), 1, rtol=1e-5)
        np.testing.assert_allclose(white / jnp.exp(log_scale) - shift, x, rtol=1e-6, atol=1e-6 * deviation)


def test_a_log_scale_of_0_is_that_of_constants_alone():
    x = np.array([[-1.0, 2.0], [1.0, 2.0]])
    _, log_scale = ops.whitening(x)
    assert log_scale[0] != 0 and jnp.exp(log_scale[0]) == 1 and log_scale[1] == 0
    _, log_scale = ops.affine.whitening_by(np.array([0.0, 2.0]), np.array([1.0, 0.0]), jnp.float32)
    assert log_scale[0] != 0 and jnp.exp(log_scale[0]) == 1 and log_scale[1] == 0


def test_whitening_keeps_nan():
    shift, log_scale = ops.whitening(jnp.array([[jnp.nan, 1.0], [0.0, 2.0]]))
    assert jnp.isnan(shift[0]) and jnp.isnan(log_scale[0]) and jnp.isfinite(log_scale[1])


def test_known_statistics_whiten_as_those_of_the_data():
    x = np.random.default_rng(0).standard_normal((50, 3)) * [1e-9, 1.0, 0.0] + [0.0, 5000.0, 7.0]
    obtained = ops.affine.whitening_by(x.mean(axis=0), x.std(axis=0), jnp.float64)
    for a, b in zip(obtained, ops.whitening(jnp.asarray(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(
    ("mean", "deviation", "message"),
    [
        ([0.0], [1.0, 1.0], r"here: `mean, deviation` must both be \[channels\]; got \(1,\) and \(2,\)"),
        (0.0, 1.0, r"must both be \[channels\]; got \(\) and \(\)"),
        ([np.nan], [1.0], "here: `mean` must be finite"),
        ([0.0], [np.inf], "here: `deviation` must be finite and at least 0"),
        ([0.0], [-1.0], "here: `deviation` must be finite and at least 0"),
    ],
)
def test_statistics_are_checked(mean, deviation, message):
    with pytest.raises(InvalidValueError, match=message):
        ops.affine.check_statistics("here", np.asarray(mean), np.asarray(deviation))


def test_scaled_has_the_derivatives_of_a_product_and_reaches_scales_beyond_its_type():
    values, log_scale = jnp.linspace(-2.0, 3.0, 6).reshape(3, 2), jnp.asarray([0.5, -1.5])
    check_grads(scaled, (values, log_scale), order=2)
    np.testing.assert_allclose(scaled(values, log_scale), values * jnp.exp(log_scale))
    far = jnp.asarray([3e38, 2e-38], jnp.float32), jnp.asarray([-88.0, 88.0], jnp.float32)
    slopes = jax.grad(lambda *args: jnp.sum(scaled(*args)), argnums=1)(*far)
    np.testing.assert_allclose(slopes, [1.82, 3.30], rtol=0.01)


def test_sums_accumulate_in_float32_or_wider():
    ones = jnp.ones((2, 3000), jnp.bfloat16)
    total = ops.sum_event(ones, 1)
    assert (total.dtype, total.tolist()) == (jnp.float32, [3000.0, 3000.0])
    assert ops.zero_log_det(ones, 1).dtype == jnp.float32
    assert ops.constant_log_det(ones, 1, 2.5).dtype == jnp.float32
    assert ops.sum_event(ones.astype(jnp.float64), 2).dtype == jnp.float64
    assert ops.constant_log_det(jnp.ones((2, 3, 4)), 1, 2.0).shape == (2, 3)
