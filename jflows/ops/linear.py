"""Square matrices with a cheap determinant, built from free parameters."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu, solve_triangular

from jflows.typing import Array, Key


def random_rotation(key: Key, dim: int, dtype=jnp.float32) -> Array:
    """A rotation drawn uniformly (Haar measure), |det| = 1. Shapes: -> [dim, dim]."""
    factorised = jnp.promote_types(dtype, jnp.float32)  # LAPACK knows no narrower type
    q, r = jnp.linalg.qr(jax.random.normal(key, (dim, dim), factorised))
    return (q * jnp.sign(jnp.diagonal(r))).astype(dtype)


def plu_pack(matrix: Array) -> tuple[Array, Array, Array]:
    """Splits a matrix into W = P L U and packs L, log|s| and U into one array, as LAPACK does.

    Shapes:
      matrix: [dim, dim] -> packed [dim, dim], sign [dim] in {-1, 1}, permutation [dim] with W = (L U)[permutation].
    """
    p, lower, upper = lu(matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32)))
    diagonal = jnp.diagonal(upper)
    packed = jnp.tril(lower, -1) + jnp.triu(upper, 1) + jnp.diag(jnp.log(jnp.abs(diagonal)))
    return packed.astype(matrix.dtype), jnp.sign(diagonal).astype(matrix.dtype), jnp.argmax(p, axis=1)


def _plu_unpack(packed: Array, sign: Array) -> tuple[Array, Array]:
    lower = jnp.tril(packed, -1) + jnp.eye(packed.shape[0], dtype=packed.dtype)
    upper = jnp.triu(packed, 1) + jnp.diag(sign.astype(packed.dtype) * jnp.exp(jnp.diagonal(packed)))
    return lower, upper


def plu_matrix(packed: Array, sign: Array, permutation: Array) -> Array:
    """W = P L U, with log|det W| = sum(diagonal(packed)).

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, eqs. 10-11.
    """
    lower, upper = _plu_unpack(packed, sign)
    return jnp.matmul(lower, upper, precision="highest")[permutation]


def plu_inverse_matrix(packed: Array, sign: Array, permutation: Array) -> Array:
    """W^-1 = U^-1 L^-1 P^T, by two triangular solves on the [dim, dim] identity: the batch sees one product."""
    lower, upper = _plu_unpack(packed, sign)
    transposed_permutation = jnp.eye(packed.shape[0], dtype=packed.dtype)[:, permutation]
    solved = solve_triangular(lower, transposed_permutation, lower=True, unit_diagonal=True)
    return solve_triangular(upper, solved, lower=False)
