"""The numerical inverse: values, derivatives in both modes, and independence of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri

from jflows.ops.root_finding import invert_increasing

CASES = {
    "cubic": (lambda x: x**3 + 0.1 * x, (-1e4, -3.0, -1e-6, 0.0, 1e-3, 1.0, 1e6)),
    "kink": (lambda x: jnp.where(x > 0, 5 * x, 0.01 * x), (-10.0, -1e-8, 0.0, 2.0)),
    "steep": (lambda x: jnp.arcsinh(1e6 * x), (-20.0, -1.0, 0.0, 1e-3, 15.0)),
    "plateau": (lambda x: x + jnp.sin(x) * 0.999999, (-50.0, -jnp.pi, 0.5, jnp.pi, 50.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_inverts(name):
    f, x = CASES[name]
    x = jnp.asarray(x)
    found = jax.jit(lambda y: invert_increasing(f, y, -1.0, 1.0))(f(x))
    np.testing.assert_allclose(f(found), f(x), rtol=1e-12, atol=1e-14)


def test_converges_in_few_evaluations_of_the_function():
    calls = []

    def f(x):
        jax.debug.callback(lambda: calls.append(1))
        return x + 0.5 * jnp.tanh(x)

    jax.jit(lambda y: invert_increasing(f, y, -1.0, 1.0))(jnp.linspace(-0.9, 0.9, 7)).block_until_ready()
    jax.effects_barrier()
    assert len(calls) <= 16


def test_float32_reaches_its_rounding():
    x = jnp.asarray([-1e3, -1.0, 1e-4, 0.3, 77.0], jnp.float32)
    found = invert_increasing(lambda v: v + jnp.tanh(v), x + jnp.tanh(x), -1.0, 1.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, x, rtol=5e-7, atol=1e-7)


def test_derivatives_are_those_of_the_inverse_function_in_both_modes():
    p = jnp.asarray([0.2, 0.5, 0.9])

    def quantile(p, scale):
        return invert_increasing(lambda x: jax.scipy.stats.norm.cdf(x / scale), p, -1.0, 1.0)

    np.testing.assert_allclose(quantile(p, 2.0), 2 * ndtri(p), rtol=1e-12)
    dp, dscale = jax.jacrev(quantile, (0, 1))(p, 2.0)
    np.testing.assert_allclose(np.diag(dp), 2 / jax.scipy.stats.norm.pdf(ndtri(p)), rtol=1e-10)
    np.testing.assert_allclose(dscale, ndtri(p), rtol=1e-10)
    np.testing.assert_allclose(jax.jacfwd(quantile, 1)(p, 2.0), dscale, rtol=1e-12)
    second = jax.grad(jax.grad(lambda y: invert_increasing(jnp.sinh, y, -1.0, 1.0)))(0.7)
    np.testing.assert_allclose(second, jax.grad(jax.grad(jnp.arcsinh))(0.7), rtol=1e-9)


def test_an_element_does_not_depend_on_the_others():
    f = lambda x: x**3 + 0.01 * x
    y = jnp.asarray([1e-3, 1e9, -4.0])
    together = invert_increasing(f, y, -1.0, 1.0)
    alone = [invert_increasing(f, y[i : i + 1], -1.0, 1.0)[0] for i in range(3)]
    np.testing.assert_array_equal(together, jnp.stack(alone))


def test_nan_and_unreachable_values_stay_visible():
    found = invert_increasing(jax.nn.sigmoid, jnp.asarray([jnp.nan, 0.5, 2.0]), -1.0, 1.0)
    assert found[1] == 0 and not jnp.isfinite(found[jnp.asarray([0, 2])]).any()
