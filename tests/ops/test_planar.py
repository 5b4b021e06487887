"""Planar, radial and Sylvester maps against the formulas of the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops import planar, sylvester


def test_positive_is_one_at_zero_and_stays_above_its_minimum():
    raw = np.array([-1e4, -5.0, 0.0, 5.0, 1e4])
    got = planar.positive(raw, 0.1)
    np.testing.assert_allclose(got[np.array([0, 2])], [0.1, 1.0], rtol=1e-14)
    assert np.all(np.diff(got) > 0) and np.isfinite(got).all()


def test_the_planar_direction_by_hand():
    w, u = np.array([2.0, 0.0]), np.array([0.5, 1.0])  # w^T u = 1
    direction, slope = planar.planar_direction(w, u, 0.0)
    m = np.log(1 + np.e * (np.e - 1)) - 1
    np.testing.assert_allclose(slope, 1 + m, rtol=1e-12)
    np.testing.assert_allclose(direction, [m / 2, 1.0], rtol=1e-12)


def test_the_planar_direction_keeps_its_bound_for_all_lengths():
    w = np.array([0.0, 1e-30, 1e-8, 1.0, 1e3])[:, None] * np.array([0.6, -0.8])
    u = np.array([-3.0, 1e3])

    @jax.jit
    def run(w):
        direction, slope = planar.planar_direction(w, u, 1e-3)
        return direction, slope, jax.jacrev(lambda w: planar.planar_direction(w, u, 1e-3))(w)

    direction, slope, gradients = run(w)
    assert np.all(slope >= 1e-3) and np.all(np.linalg.norm(direction, axis=-1) <= 2 * np.linalg.norm(u))
    np.testing.assert_allclose(1 + np.sum(w * direction, axis=-1), slope, rtol=1e-9, atol=1e-9)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_tanh_shear_is_inverted_and_its_log_slope_keeps_its_digits():
    p = np.asarray([-1e4, -3.0, -1e-9, 0.0, 0.2, 30.0])
    slope = np.asarray([[1e-3], [0.5], [1.0], [1e3]])

    @jax.jit
    def run(p, slope):
        q, narrow = planar.tanh_shear(p, slope), (p.astype(jnp.float32), slope.astype(jnp.float32))
        return planar.tanh_shear_inverse(q, slope), planar.tanh_shear_log_slope(*narrow)

    found, narrow = run(p, slope)
    np.testing.assert_allclose(found, np.broadcast_to(p, found.shape), rtol=1e-10, atol=1e-12)
    wanted = np.log1p((slope - 1) / np.cosh(np.clip(p, -300, 300)) ** 2)
    np.testing.assert_allclose(narrow, wanted, rtol=1e-6, atol=1e-6)


def test_the_radial_map_is_that_of_the_paper():
    random = np.random.default_rng(0)
    z, centre = random.standard_normal((2, 5, 3))
    alpha, slope = np.asarray(0.7), np.asarray(0.2)
    x, log_det = jax.jit(planar.radial_forward)(z, centre, alpha, slope)
    r = np.linalg.norm(z - centre, axis=-1)
    beta, h, dh = 0.7 * (0.2 - 1), 1 / (0.7 + r), -1 / (0.7 + r) ** 2
    np.testing.assert_allclose(x, z + (beta * h)[:, None] * (z - centre), rtol=1e-12)
    determinant = (1 + beta * h) ** 2 * (1 + beta * h + beta * dh * r)
    np.testing.assert_allclose(log_det, np.log(determinant), rtol=1e-11)


@pytest.mark.parametrize(("run", "growth"), [(planar.radial_forward, 0.2), (planar.radial_inverse, 5.0)])
def test_the_radial_map_is_smooth_enough_at_its_centre(run, growth):
    arguments = (jnp.ones(3), jnp.ones(3), jnp.asarray(0.5), jnp.asarray(0.2))
    jacobians = jax.jit(jax.jacrev(run, (0, 1, 2, 3)))(*arguments)
    out, log_det = jax.jit(run)(*arguments)
    np.testing.assert_array_equal(out, np.ones(3))
    np.testing.assert_allclose(log_det, 3 * np.log(growth), rtol=1e-12)
    np.testing.assert_allclose(jacobians[0][0], growth * np.eye(3), rtol=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jacobians))


def test_householder_and_qr_columns_are_orthonormal():
    random = np.random.default_rng(1)
    vectors = random.standard_normal((2, 3, 5))
    householder = jax.jit(sylvester.householder_columns, static_argnums=1)
    got = householder(vectors, 4)
    reflection = lambda v: np.eye(5) - 2 * np.outer(v, v) / (v @ v)
    wanted = [(reflection(a) @ reflection(b) @ reflection(c))[:, :4] for a, b, c in vectors]
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    np.testing.assert_array_equal(householder(np.zeros((2, 3, 5)), 4)[0], np.eye(5, 4))
    matrix = random.standard_normal((2, 5, 3))
    q = np.asarray(jax.jit(sylvester.qr_columns)(matrix))
    np.testing.assert_allclose(np.swapaxes(q, 1, 2) @ q, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(q @ (np.swapaxes(q, 1, 2) @ matrix), matrix, atol=1e-12)


def test_the_sylvester_map_is_that_of_the_paper():
    random = np.random.default_rng(2)
    z = random.standard_normal((4, 5))
    q = np.linalg.qr(random.standard_normal((5, 3)))[0]
    r, r_tilde = (np.triu(random.standard_normal((3, 3))) for _ in range(2))
    np.fill_diagonal(r_tilde, np.abs(np.diag(r_tilde)) + 0.1)
    np.fill_diagonal(r, [-0.9, 0.0, 3.0] / np.diag(r_tilde))
    bias, slope = random.standard_normal(3), np.asarray([0.1, 1.0, 4.0])
    arguments = (q, r, r_tilde, bias, slope)
    x, terms = map(np.asarray, jax.jit(sylvester.sylvester_forward)(z, *arguments))
    a, b = q @ r, r_tilde @ q.T
    hidden = np.tanh(z @ b.T + bias)
    np.testing.assert_allclose(x, z + hidden @ a.T, rtol=1e-12)
    wanted = [np.linalg.slogdet(np.eye(3) + np.diag(1 - h**2) @ b @ a)[1] for h in hidden]  # Sylvester's identity
    np.testing.assert_allclose(np.sum(terms, axis=-1), wanted, rtol=1e-10)
    back, back_terms = jax.jit(sylvester.sylvester_inverse)(x, *arguments)
    np.testing.assert_allclose(back, z, atol=1e-11)
    np.testing.assert_allclose(back_terms, -terms, atol=1e-11)
