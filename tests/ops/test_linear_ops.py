"""The algebra under the linear bijectors, against dense NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jflows import ops

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


def test_plu_packs_and_inverts_any_matrix():
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    plu = ops.plu_pack(matrix)
    np.testing.assert_allclose(ops.plu_matrix(*plu), matrix, atol=1e-12)
    np.testing.assert_allclose(ops.plu_inverse_matrix(*plu), np.linalg.inv(matrix), atol=1e-10)
    np.testing.assert_allclose(np.sum(np.diagonal(plu[0])), np.linalg.slogdet(matrix)[1], atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_random_rotations_are_rotations_in_every_dtype(dtype):
    rotation = ops.random_rotation(KEY, 6, jnp.dtype(dtype))
    packed, sign, _ = ops.plu_pack(rotation)
    assert (rotation.dtype, packed.dtype, sign.dtype) == (dtype,) * 3
    tol = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 0.05}[dtype]
    wide = np.asarray(rotation, np.float64)
    np.testing.assert_allclose(wide @ wide.T, np.eye(6), atol=tol)


@pytest.mark.parametrize("lower", [True, False])
def test_triangles_are_filled_with_a_positive_diagonal(lower):
    entries = jnp.array([0.0, 2.0, np.log(3.0), 4.0, 5.0, np.log(6.0)])
    matrix = ops.fill_triangular(entries, 3, lower)
    wanted = np.array([[1, 0, 0], [2, 3, 0], [4, 5, 6]])
    np.testing.assert_allclose(matrix, wanted if lower else wanted.T, rtol=1e-12)
    np.testing.assert_allclose(ops.triangular_log_diagonal(entries, 3), np.log([1, 3, 6]), atol=1e-12)
    np.testing.assert_allclose(ops.triangular_inverse(matrix, lower), np.linalg.inv(matrix), atol=1e-12)


def reflections(vectors):
    """The product of the reflections, one dense factor at a time."""
    product = np.eye(vectors.shape[1])
    for v in vectors:
        product = product @ (np.eye(len(v)) - 2 * np.outer(v, v) / (v @ v))
    return product


@pytest.mark.parametrize(("count", "num_rows"), [(2, 2), (7, 40)])  # thin factors serve few rows, the matrix many
def test_householder_equals_the_product_of_reflections(count, num_rows):
    vectors, x = RANDOM.standard_normal((count, 5)), RANDOM.standard_normal((num_rows, 5))
    wanted = reflections(vectors)
    np.testing.assert_allclose(ops.householder_matrix(vectors), wanted, atol=1e-12)
    np.testing.assert_allclose(ops.householder_matvec(vectors, x), x @ wanted.T, atol=1e-12)
    np.testing.assert_allclose(ops.householder_matvec(vectors, x, transpose=True), x @ wanted, atol=1e-12)


def test_householder_survives_vectors_of_any_length_and_equal_ones():
    directions = np.asarray(RANDOM.standard_normal((4, 6)), np.float32)
    lengths = np.asarray([[0.0], [1e-30], [1e-20], [3e37]], np.float32)
    wanted = reflections(np.asarray(directions[1:], np.float64))
    np.testing.assert_allclose(ops.householder_matrix(directions * lengths), wanted, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(jnp.cos(ops.householder_matrix(v)))))(directions * lengths)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0], 0)
    equal = jnp.tile(directions[:1], (4, 1))
    np.testing.assert_allclose(ops.householder_matrix(equal), np.eye(6), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("make", [ops.cayley, ops.skew_exp])
def test_skew_matrices_become_rotations_however_large(make, size, dtype):
    entries = size * jnp.asarray(RANDOM.standard_normal(10), dtype)
    skew = ops.skew_matrix(entries, 5)
    np.testing.assert_array_equal(skew, -skew.T)
    q = np.asarray(make(skew), np.float64)
    tol = {"float64": 1e-12, "float32": 1e-4 if size > 1 else 1e-6}[dtype]
    np.testing.assert_allclose(q @ q.T, np.eye(5), atol=tol)
    np.testing.assert_allclose(np.linalg.det(q), 1, atol=10 * tol)
    wide, eye = np.asarray(skew, np.float64), np.eye(5)
    wanted = scipy.linalg.expm(wide) if make is ops.skew_exp else np.linalg.solve(eye + wide, eye - wide)
    np.testing.assert_allclose(q, wanted, atol=1e-3 if dtype == "float32" and size > 1 else 10 * tol)


@pytest.mark.parametrize("spread", [0.1, 3.0, 100.0])
def test_low_rank_maps_equal_dense_algebra(spread):
    log_diagonal, factor = RANDOM.standard_normal(5), spread * RANDOM.standard_normal((5, 2))
    dense = np.diag(np.exp(log_diagonal)) + factor @ factor.T
    x = RANDOM.standard_normal((3, 5))
    z = ops.low_rank_matvec(log_diagonal, factor, x)
    np.testing.assert_allclose(z, x @ dense, rtol=1e-12)
    np.testing.assert_allclose(ops.low_rank_solve(log_diagonal, factor, x), np.linalg.solve(dense, x.T).T, atol=1e-9)
    np.testing.assert_allclose(ops.low_rank_log_det(log_diagonal, factor), np.linalg.slogdet(dense)[1], atol=1e-12)


def test_qr_and_svd_forms_invert():
    left, right = RANDOM.standard_normal((2, 3, 4))
    log_scale = RANDOM.standard_normal(4)
    upper = ops.fill_triangular(jax.device_put(RANDOM.standard_normal(10)), 4, lower=False)
    qr = ops.qr_matrix(left, upper)
    np.testing.assert_allclose(qr, reflections(left) @ upper, atol=1e-12)
    np.testing.assert_allclose(ops.qr_inverse_matrix(left, upper) @ qr, np.eye(4), atol=1e-11)
    svd = ops.svd_matrix(left, log_scale, right)
    np.testing.assert_allclose(svd, reflections(left) @ np.diag(np.exp(log_scale)) @ reflections(right), atol=1e-12)
    np.testing.assert_allclose(ops.svd_matrix(left, -log_scale, right).T @ svd, np.eye(4), atol=1e-11)
