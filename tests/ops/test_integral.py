"""The quadrature that is a monotone function: exact for piecewise linear integrands, close for smooth ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jflows.ops.integral import integral, integral_inverse, quadrature_nodes

area_and_value = jax.jit(integral, static_argnums=2)
upper_limit = jax.jit(integral_inverse, static_argnums=2)


def test_a_linear_integrand_by_hand():
    integrand = 3.0 + quadrature_nodes(5, 2.0)[:, None]  # f(t) = 3 + t: 1 and 5 at the ends
    x = np.asarray([[-2.0], [-1.3], [0.0], [0.25], [1.0], [2.0], [4.0], [-12.0]])
    area, value = area_and_value(x, integrand, 2.0)
    inside = np.clip(x, -2, 2)
    np.testing.assert_allclose(value, 3 + inside, rtol=1e-14)
    np.testing.assert_allclose(area, 3 * inside + inside**2 / 2 + (x - inside) * (3 + inside), atol=1e-13)
    np.testing.assert_allclose(upper_limit(area, integrand, 2.0), x, atol=1e-13)


def test_converges_to_the_integral_of_a_smooth_function():
    x = np.linspace(-3, 3, 7)[:, None]
    wanted = 0.5 * x + 0.5 * np.sqrt(np.pi) * erf(x)
    errors = []
    for num_nodes in (33, 65):
        integrand = 0.5 + np.exp(-(quadrature_nodes(num_nodes, 4.0)[:, None] ** 2))
        errors.append(np.max(np.abs(area_and_value(x, integrand, 4.0)[0] - wanted)))
    assert errors[1] < errors[0] / 3 and errors[1] < 1e-3


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-9), (jnp.float32, 2e-3)])
def test_wild_integrands_are_inverted(dtype, tol):
    random = np.random.default_rng(0)
    integrand = np.asarray(10 ** random.uniform(-3, 3, (9, 4)), dtype)
    x = np.asarray([*random.uniform(-6, 6, (20, 4)), [-5.0] * 4, [5.0] * 4, [0.0] * 4, [1e4] * 4], dtype)
    area, value = area_and_value(x, integrand, 5.0)
    found = upper_limit(area, integrand, 5.0)
    assert np.all(value > 0)
    # An error of one rounding of the largest area moves x by that over f.
    np.testing.assert_allclose(area_and_value(found, integrand, 5.0)[0], area, rtol=tol, atol=tol)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(integral(x, integrand, 5.0)[0])))(x)
    np.testing.assert_allclose(slope, value, rtol=tol / 10)


def test_the_inverse_has_the_reciprocal_derivative_at_nodes_too():
    integrand = np.asarray([2.0, 0.5, 4.0, 1.0, 3.0])[:, None]
    x = np.asarray([-2.0, -1.0, 0.0, 1.0, 2.0, 0.3, 7.0, -7.0])[:, None]
    area, value = area_and_value(x, integrand, 2.0)
    slope = jax.jit(jax.grad(lambda z: jnp.sum(integral_inverse(z, integrand, 2.0))))(area)
    np.testing.assert_allclose(slope, 1 / value, rtol=1e-12)
