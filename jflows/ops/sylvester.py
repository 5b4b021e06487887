"""The Sylvester map: planar maps along several orthogonal directions, chained by triangular matrices.

`jflows/ops/planar.py` holds the scalar equation that its inverse solves, once per direction.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jflows.ops import varying
from jflows.ops.factorisations import qr
from jflows.ops.numerics import EXACT
from jflows.ops.planar import tanh_shear_inverse, tanh_shear_log_slope
from jflows.typing import Array


def householder_columns(vectors: Array, num_columns: int) -> Array:
    """The first columns of a product of reflections H_1 H_2 ... H_n, H_i = I - 2 v_i v_i^T / |v_i|^2.

    Source: van den Berg et al. 2018, arXiv:1803.05649 (H-SNF). A zero vector reflects nothing.

    Shapes:
      vectors: [..., n, dim] -> [..., dim, num_columns], with orthonormal columns.
    """
    dim = vectors.shape[-1]
    squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
    unit = vectors / jnp.sqrt(jnp.where(squared > 0, squared, 1.0))
    columns = jnp.broadcast_to(jnp.eye(dim, num_columns, dtype=vectors.dtype), (*vectors.shape[:-2], dim, num_columns))

    def reflect(columns: Array, v: Array) -> tuple[Array, None]:
        parts = jnp.einsum("...d,...dm->...m", v, columns, precision=EXACT)
        return columns - 2 * v[..., :, None] * parts[..., None, :], None

    return varying.scan(reflect, columns, jnp.moveaxis(unit, -2, 0), reverse=True)[0]


def qr_columns(matrix: Array) -> Array:
    """Orthonormal columns that span those of a matrix of full rank, by its QR decomposition.

    Shapes:
      matrix: [..., dim, columns], columns <= dim -> the same.
    """
    flat = matrix.reshape(-1, *matrix.shape[-2:])
    return jax.vmap(qr)(flat)[0].reshape(matrix.shape).astype(matrix.dtype)


def sylvester_forward(z: Array, q: Array, r: Array, r_tilde: Array, bias: Array, slope: Array) -> tuple[Array, Array]:
    """x = z + Q R tanh(s), s = R~ Q^T z + b, and the terms of log|det dx/dz| = sum_i log(1 + r_ii r~_ii tanh'(s_i)).

    Source: van den Berg et al. 2018, arXiv:1803.05649.

    Args:
      z: any points.
      q: Q, with orthonormal columns.
      r: R, upper triangular.
      r_tilde: R~, upper triangular.
      bias: b.
      slope: 1 + r_ii r~_ii, positive.
    Shapes:
      z: [*batch, dim], q: [..., dim, units], r, r_tilde: [..., units, units], bias, slope: [..., units], all with
        batch axes or without -> x: [*batch, dim], terms: [*batch, units].
    """
    s = _apply(r_tilde, _apply(jnp.swapaxes(q, -1, -2), z)) + bias
    x = z + _apply(q, _apply(r, jnp.tanh(s)))
    return x, tanh_shear_log_slope(s, slope)


def sylvester_inverse(x: Array, q: Array, r: Array, r_tilde: Array, bias: Array, slope: Array) -> tuple[Array, Array]:
    """The inverse of `sylvester_forward`, with the terms of log|det dz/dx|.

    In the coordinates y = Q^T z the map is triangular: from the last coordinate to the first, each s_i solves
    s_i + r_ii r~_ii tanh(s_i) = r~_ii (Y_i - sum_{j>i} r_ij tanh(s_j)) + sum_{j>i} r~_ij y_j + b_i with Y = Q^T x.
    Derivatives are those of the scanned solutions, each implicit.

    Args:
      x: any points.
      q: Q, with orthonormal columns.
      r: R, upper triangular.
      r_tilde: R~, upper triangular, with a positive diagonal.
      bias: b.
      slope: 1 + r_ii r~_ii, positive.
    """
    projected = _apply(jnp.swapaxes(q, -1, -2), x)
    units = projected.shape[-1]

    def solve_one(carry: tuple[Array, Array], row: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
        y, s = carry  # known above i, zero at and below it: so are the terms of a row that are not known yet
        i, target, r_i, r_tilde_i, r_ii, r_tilde_ii, bias_i, slope_i = row
        rest = target - jnp.sum(r_i * jnp.tanh(s), axis=-1)
        constant = bias_i + jnp.sum(r_tilde_i * y, axis=-1)
        s_i = tanh_shear_inverse(r_tilde_ii * rest + constant, slope_i)
        y_i = rest - r_ii * jnp.tanh(s_i)
        put = lambda values, new: lax.dynamic_update_index_in_dim(values, new, i, values.ndim - 1)
        return (put(y, y_i), put(s, s_i)), None

    rows = (
        jnp.arange(units),
        jnp.moveaxis(projected, -1, 0),
        *(jnp.moveaxis(matrix, -2, 0) for matrix in (r, r_tilde)),
        *(jnp.moveaxis(jnp.diagonal(matrix, axis1=-2, axis2=-1), -1, 0) for matrix in (r, r_tilde)),
        *(jnp.moveaxis(vector, -1, 0) for vector in (bias, slope)),
    )
    start = (jnp.zeros_like(projected), jnp.zeros_like(projected))
    (_, s), _ = varying.scan(solve_one, start, rows, reverse=True)
    z = x - _apply(q, _apply(r, jnp.tanh(s)))
    return z, -tanh_shear_log_slope(s, slope)


def _apply(matrix: Array, vector: Array) -> Array:
    return jnp.einsum("...ij,...j->...i", matrix, vector, precision=EXACT)
