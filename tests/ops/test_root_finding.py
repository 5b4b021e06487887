"""The numerical inverses: values, derivatives in both modes, and independence of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri

from jflows.ops.root_finding import invert_increasing, solve_fixed_point

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
    x = np.asarray([-1e3, -1.0, 1e-4, 0.3, 77.0], np.float32)
    found = invert_increasing(lambda v: v + jnp.tanh(v), x + jnp.tanh(x), -1.0, 1.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, x, rtol=5e-7, atol=1e-7)


def test_derivatives_are_those_of_the_inverse_function_in_both_modes():
    p = np.array([0.2, 0.5, 0.9])

    @jax.jit
    def quantile(p, scale):
        return invert_increasing(lambda x: jax.scipy.stats.norm.cdf(x / scale), p, -1.0, 1.0)

    np.testing.assert_allclose(quantile(p, 2.0), 2 * ndtri(p), rtol=1e-12)
    dp, dscale = jax.jit(jax.jacrev(quantile, (0, 1)))(p, 2.0)
    np.testing.assert_allclose(np.diag(dp), 2 / jax.scipy.stats.norm.pdf(ndtri(p)), rtol=1e-10)
    np.testing.assert_allclose(dscale, ndtri(p), rtol=1e-10)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(quantile, 1))(p, 2.0), dscale, rtol=1e-12)
    second = lambda f: jax.jit(jax.grad(jax.grad(f)))(0.7)
    found = second(lambda y: invert_increasing(jnp.sinh, y, -1.0, 1.0))
    np.testing.assert_allclose(found, second(jnp.arcsinh), rtol=1e-9)


def test_an_element_does_not_depend_on_the_others():
    f = lambda x: x**3 + 0.01 * x
    y = np.array([1e-3, 1e9, -4.0])
    together = invert_increasing(f, y, -1.0, 1.0)
    alone = [invert_increasing(f, y[i : i + 1], -1.0, 1.0)[0] for i in range(3)]
    np.testing.assert_array_equal(together, jnp.stack(alone))


def test_nan_and_unreachable_values_stay_visible():
    found = invert_increasing(jax.nn.sigmoid, jnp.asarray([jnp.nan, 0.5, 2.0]), -1.0, 1.0)
    assert found[1] == 0 and not jnp.isfinite(found[np.array([0, 2])]).any()


def contraction(params, x):
    """Lip < 0.9: sin has slope 1 and each row of the matrices sums to less than that."""
    return 0.9 * jnp.sin(x @ (params / jnp.linalg.norm(params, 2)) + 0.2)


PARAMS = jax.device_put(np.random.default_rng(0).standard_normal((3, 3)))
Z = jax.device_put(np.random.default_rng(1).standard_normal((4, 3)))


def fixed_point(params, z, **options):
    return solve_fixed_point(lambda x: z - contraction(params, x), z, 1, **options)


def unrolled(params, z):
    return jax.lax.fori_loop(0, 500, lambda _, x: z - contraction(params, x), z)


def test_fixed_point_solves_its_equation():
    x = jax.jit(fixed_point)(PARAMS, Z)
    np.testing.assert_allclose(x + contraction(PARAMS, x), Z, atol=1e-14)
    narrow = fixed_point(PARAMS.astype(jnp.float32), Z.astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, x, atol=2e-5)


@pytest.mark.slow
def test_fixed_point_has_the_derivatives_of_the_long_iteration_in_both_modes():
    rows = jax.jacrev(unrolled, (0, 1))(PARAMS, Z)
    for mode in (jax.jacrev, jax.jacfwd):
        found = jax.jit(mode(fixed_point, (0, 1)))(PARAMS, Z)
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, atol=1e-12), found, rows)
    loss = lambda solve: lambda z: jnp.sum(solve(PARAMS, z) ** 3)
    hessian = jax.jit(jax.hessian(loss(fixed_point)))(Z[:1])
    np.testing.assert_allclose(hessian, jax.hessian(loss(unrolled))(Z[:1]), atol=1e-10)


def test_tiny_cotangents_are_solved_to_relative_precision():
    _, vjp = jax.vjp(lambda z: fixed_point(PARAMS, z), Z)
    (large,), (small,) = vjp(jnp.ones_like(Z)), vjp(1e-30 * jnp.ones_like(Z))
    np.testing.assert_allclose(small * 1e30, large, rtol=1e-12)
    np.testing.assert_array_equal(vjp(jnp.zeros_like(Z))[0], 0)


def test_a_settled_example_is_left_alone():
    easy = jnp.zeros((1, 3))
    f = lambda x, scale: scale * jnp.cos(x)
    together = solve_fixed_point(lambda x: f(x, np.array([[0.1], [0.9]])), jnp.zeros((2, 3)), 1)
    alone = [solve_fixed_point(lambda x, s=s: f(x, s), easy, 1)[0] for s in (0.1, 0.9)]
    np.testing.assert_array_equal(together, jnp.stack(alone))


def test_divergence_and_nan_stay_visible():
    start = jnp.asarray([[1.0], [jnp.nan], [0.0]])
    found = solve_fixed_point(lambda x: np.array([[3.0], [0.5], [0.5]]) * x + 1, start, 1)
    assert not np.isfinite(found[:2]).any()
    np.testing.assert_allclose(found[2], 2)


def test_iterations_are_limited():
    np.testing.assert_allclose(solve_fixed_point(lambda x: 0.5 * x + 1, jnp.zeros(1), 1, max_iterations=3), 1.75)
    loose = solve_fixed_point(lambda x: 0.5 * x + 1, jnp.zeros(1), 1, tolerance=0.1)
    assert 1.5 < loose[0] < 1.9
