"""Square matrices with a cheap determinant, built from free parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jflows.ops import factorisations, varying
from jflows.ops.factorisations import cholesky, solve_triangular
from jflows.ops.numerics import EXACT
from jflows.typing import Array, Key

PADE = tuple(math.comb(7, k) / math.perm(14, k) for k in range(8))  # p(B) = sum_k PADE[k] B^k, by powers of B
MOST_SQUARINGS = 16


def random_rotation(key: Key, dim: int, dtype=jnp.float32) -> Array:
    """A rotation drawn uniformly (Haar measure), |det| = 1. Shapes: -> [dim, dim]."""
    q, r = factorisations.qr(jax.random.normal(key, (dim, dim), jnp.promote_types(dtype, jnp.float32)))
    return (q * jnp.sign(jnp.diagonal(r))).astype(dtype)


def plu_pack(matrix: Array) -> tuple[Array, Array, Array]:
    """Splits a matrix into W = P L U and packs L, log|s| and U into one array, as LAPACK does.

    Shapes:
      matrix: [dim, dim] -> packed [dim, dim], sign [dim] in {-1, 1}, permutation [dim] with W = (L U)[permutation].
    """
    p, lower, upper = factorisations.plu(_widened(matrix))
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
    return jnp.matmul(lower, upper, precision=EXACT)[permutation]


def plu_inverse_matrix(packed: Array, sign: Array, permutation: Array) -> Array:
    """W^-1 = U^-1 L^-1 P^T, by two triangular solves on the [dim, dim] identity: the batch sees one product."""
    lower, upper = _plu_unpack(packed, sign)
    transposed_permutation = jnp.eye(packed.shape[0], dtype=packed.dtype)[:, permutation]
    return _solve(upper, _solve(lower, transposed_permutation, lower=True), lower=False)


def matvec(matrix: Array, x: Array) -> Array:
    """W x at every position, in full precision: bf16 or TF32 products would spoil the third digit of a round trip.

    Shapes:
      matrix: [dim, dim]; x: [..., dim] -> [..., dim].
    """
    return jnp.matmul(x, matrix.T, precision=EXACT)


def fill_triangular(entries: Array, dim: int, lower: bool = True) -> Array:
    """A triangular matrix with positive diagonal: log|det| is the sum of `triangular_log_diagonal(entries, dim)`.

    Shapes:
      entries: [dim (dim + 1) / 2], the lower triangle row by row (the upper one column by column), the diagonal as
        its logarithm -> [dim, dim].
    """
    diagonal = _diagonal_places(dim)
    entries = entries.at[diagonal].set(jnp.exp(entries[diagonal]))
    matrix = jnp.zeros((dim, dim), entries.dtype).at[np.tril_indices(dim)].set(entries)
    return matrix if lower else matrix.T


def triangular_log_diagonal(entries: Array, dim: int) -> Array:
    """The logarithm of the diagonal of `fill_triangular(entries, dim)`. Shapes: -> [dim]."""
    return entries[_diagonal_places(dim)]


def _diagonal_places(dim: int) -> np.ndarray:
    """Where the diagonal lies in a triangle stored row by row."""
    row = np.arange(dim)
    return row * (row + 3) // 2


def triangular_inverse(matrix: Array, lower: bool = True) -> Array:
    """The inverse of a triangular matrix. Shapes: [dim, dim] -> [dim, dim]."""
    return _solve(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype), lower=lower)


def skew_matrix(entries: Array, dim: int) -> Array:
    """A = -A^T from its strictly lower triangle, row by row. Shapes: [dim (dim - 1) / 2] -> [dim, dim]."""
    lower = jnp.zeros((dim, dim), entries.dtype).at[np.tril_indices(dim, -1)].set(entries)
    return lower - lower.T


def cayley(skew: Array) -> Array:
    """(I + A)^-1 (I - A): a rotation without the eigenvalue -1.

    The eigenvalue i t of A becomes exp(-2 i atan t), so no entry of A, however large, turns by half a circle. I + A
    has no singular value below 1: the solve is always well posed.

    Source: Helfrich et al. 2018, arXiv:1707.09520, section 3.

    Shapes:
      skew: [dim, dim] with A^T = -A -> [dim, dim].
    """
    wide = _widened(skew)
    eye = jnp.eye(skew.shape[0], dtype=wide.dtype)
    return factorisations.solve(eye + wide, eye - wide).astype(skew.dtype)


def skew_exp(skew: Array) -> Array:
    """exp(A), by which every rotation is reached; NaN if a row of |A| adds up to 60,000 or more, far beyond a turn.

        exp(A) = r(A / 2^s)^(2^s),   r(B) = p(-B)^-1 p(B),   p the Padé polynomial of degree 7

    Source: Lezcano-Casado and Martinez-Rubio 2019, arXiv:1901.08428; Higham 2005, "The scaling and squaring method for
    the matrix exponential revisited", for p and s.

    Shapes:
      skew: [dim, dim] with A^T = -A -> [dim, dim].
    """
    wide = _widened(skew)
    bound = 3.92 if wide.dtype == jnp.float32 else 0.95  # on |B|, where r(B) is exp(B) but for rounding
    norm = jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(wide), axis=0)))
    num_squarings = jnp.ceil(jnp.log2(jnp.maximum(norm / bound, 1)))

    def square_if_due(power: Array, index: Array) -> tuple[Array, None]:
        twice = lambda power: jnp.matmul(power, power, precision=EXACT)
        return jax.lax.cond(index < num_squarings, twice, lambda power: power, power), None

    small = wide * jnp.exp2(-num_squarings)
    indices = jnp.arange(MOST_SQUARINGS, dtype=wide.dtype)
    found = varying.scan(square_if_due, _pade(small), indices)[0]
    return jnp.where(num_squarings <= MOST_SQUARINGS, found, jnp.nan).astype(skew.dtype)


def _pade(matrix: Array) -> Array:
    """r(B) = (even - odd)^-1 (even + odd): parts of p(B) of even and odd powers. Shapes: [dim, dim] -> the same."""
    eye = jnp.eye(len(matrix), dtype=matrix.dtype)
    times = lambda left, right: jnp.matmul(left, right, precision=EXACT)
    second = times(matrix, matrix)
    fourth = times(second, second)
    sixth = times(second, fourth)
    even, odd = (
        sum(weight * power for weight, power in zip(weights, (eye, second, fourth, sixth), strict=True))
        for weights in (PADE[::2], PADE[1::2])
    )
    odd = times(matrix, odd)
    return factorisations.solve(even - odd, even + odd)


def householder_factors(vectors: Array) -> tuple[Array, Array]:
    """The product of reflections as the identity minus a product of two thin matrices (compact WY form).

        H_1 H_2 ... H_k = I - U^T R,   H_i = I - 2 u_i u_i^T,   u_i = v_i / |v_i|,   (triu(U U^T, 1) + I / 2) R = U

    A zero vector counts as no reflection. Vectors are first divided by their largest entry, so that neither tiny nor
    huge ones lose their direction to rounding in |v|^2; their length has no effect at all.

    Source: Tomczak and Welling 2016, arXiv:1611.09630; the compact form from Joffrain et al. 2006, "Accumulating
    Householder transformations, revisited".

    Shapes:
      vectors: [count, dim] -> U: [count, dim], R: [count, dim].
    """
    wide = _widened(vectors)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis=-1, keepdims=True))
    wide = wide / jnp.where(largest > 0, largest, 1)
    squared = jnp.sum(wide**2, axis=-1, keepdims=True)
    unit = wide * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1))
    gram = jnp.matmul(unit, unit.T, precision=EXACT)
    middle = jnp.triu(gram, 1) + 0.5 * jnp.eye(len(vectors), dtype=unit.dtype)
    right = _solve(middle, unit, lower=False)
    return unit.astype(vectors.dtype), right.astype(vectors.dtype)


def householder_matvec(vectors: Array, x: Array, transpose: bool = False) -> Array:
    """Q x (or Q^T x) at every position, for the product Q of reflections; Q is built only where that is cheaper.

    Shapes:
      vectors: [count, dim]; x: [..., dim] -> [..., dim].
    """
    left, right = householder_factors(vectors)
    if transpose:
        left, right = right, left  # (I - U^T R)^T = I - R^T U
    count, dim = vectors.shape
    num_rows = x.size // dim
    is_open = export.is_symbolic_dim(num_rows)  # a written program serves large batches too
    if is_open or 2 * count * num_rows > dim * (count + num_rows):  # multiplications of either way, over dim
        return matvec(_identity_minus(left, right), x)
    return x - jnp.matmul(jnp.matmul(x, right.T, precision=EXACT), left, precision=EXACT)


def householder_matrix(vectors: Array) -> Array:
    """Q = H_1 H_2 ... H_k, orthogonal. Shapes: [count, dim] -> [dim, dim]."""
    return _identity_minus(*householder_factors(vectors))


def qr_matrix(vectors: Array, upper: Array) -> Array:
    """W = Q R. Shapes: vectors [count, dim], upper [dim, dim] -> [dim, dim].

    Source: Hoogeboom et al. 2019, arXiv:1901.11137.
    """
    return householder_matvec(vectors, upper.T).T


def qr_inverse_matrix(vectors: Array, upper: Array) -> Array:
    """W^-1 = R^-1 Q^T. Shapes: as `qr_matrix`."""
    return _solve(upper, householder_matrix(vectors).T, lower=False)


def svd_matrix(left: Array, log_scale: Array, right: Array) -> Array:
    """W = Q_left diag(exp(log_scale)) Q_right; its inverse is `svd_matrix(left, -log_scale, right).T`.

    Shapes:
      left: [count, dim], log_scale: [dim], right: [count, dim] -> [dim, dim].
    """
    scaled = jnp.exp(log_scale)[:, None] * householder_matrix(right)
    return householder_matvec(left, scaled.T).T


def low_rank_matvec(log_diagonal: Array, factor: Array, x: Array) -> Array:
    """(D + U U^T) x at every position, D = diag(exp(log_diagonal)).

    Shapes:
      log_diagonal: [dim]; factor U: [dim, rank]; x: [..., dim] -> [..., dim].
    """
    inner = jnp.matmul(x, factor, precision=EXACT)
    return x * jnp.exp(log_diagonal) + jnp.matmul(inner, factor.T, precision=EXACT)


def low_rank_solve(log_diagonal: Array, factor: Array, z: Array) -> Array:
    """(D + U U^T)^-1 z = D^-1 z - D^-1 U (I + U^T D^-1 U)^-1 U^T D^-1 z (Woodbury). Shapes: as `low_rank_matvec`."""
    scaled = jnp.exp(-log_diagonal)[:, None] * factor
    chol = _capacitance_cholesky(log_diagonal, factor)
    right = _solve(chol, scaled.T, lower=True)  # right^T right is what the update subtracts
    inner = jnp.matmul(z, right.T, precision=EXACT)
    return z * jnp.exp(-log_diagonal) - jnp.matmul(inner, right, precision=EXACT)


def low_rank_log_det(log_diagonal: Array, factor: Array) -> Array:
    """log det(D + U U^T) = sum(log_diagonal) + log det(I + U^T D^-1 U). Shapes: as `low_rank_matvec` -> []."""
    chol = _capacitance_cholesky(log_diagonal, factor)
    return jnp.sum(log_diagonal, dtype=chol.dtype) + 2 * jnp.sum(jnp.log(jnp.diagonal(chol)))


def _capacitance_cholesky(log_diagonal: Array, factor: Array) -> Array:
    """Cholesky factor of I + U^T D^-1 U, which has no eigenvalue below 1."""
    half = _widened(jnp.exp(-0.5 * log_diagonal)[:, None] * factor)
    gram = jnp.matmul(half.T, half, precision=EXACT)
    return cholesky(gram + jnp.eye(factor.shape[1], dtype=gram.dtype))


def _identity_minus(left: Array, right: Array) -> Array:
    return jnp.eye(left.shape[1], dtype=left.dtype) - jnp.matmul(left.T, right, precision=EXACT)


def _solve(triangle: Array, values: Array, *, lower: bool) -> Array:
    return solve_triangular(triangle, values, lower=lower).astype(values.dtype)


def _widened(values: Array) -> Array:
    """float32 or wider: LAPACK knows no narrower type."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
