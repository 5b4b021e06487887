"""Factorisations and solves by LAPACK, through which a batch of matrices passes in small parts on a CPU.

jaxlib 0.10 divides a batch among the threads of the program, and waits for them inside one of these threads: as
many batches at once as there are threads, two on a machine of two cores, wait for each other for ever. Under
`jax.vmap`, as in a mixture or an ensemble, everything here is batched on other devices, and on a CPU in parts that are
too small to be divided, one part after the other. All but `plu` have derivatives of any order in both modes.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.scipy import linalg

from jflows.ops.numerics import EXACT, promoting
from jflows.ops.varying import vary_alike
from jflows.typing import Array, Shape

UNDIVIDED = 200_000
"""The operations of the largest batch that jaxlib leaves to one thread."""


def in_parts(cost: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to which `jax.vmap` hands a few matrices at once on a CPU; it is not to be differentiated.

    Args:
      cost: no fewer operations than jaxlib counts for n x n numbers, over n^3; of complex numbers it counts thrice.
      function: takes arrays and returns arrays.
    """
    one = custom_vmap(function)

    @one.def_vmap
    def rule(axis_size: int, in_batched: list[bool], *args: Array) -> tuple[Any, Any]:
        axes = [0 if is_batched else None for is_batched in in_batched]
        at_once = jax.vmap(function, axes)
        most = _most_at_once(cost, [arg.shape[axis == 0 :] for arg, axis in zip(args, axes, strict=True)])
        is_known = isinstance(axis_size, int)  # an open batch cannot be cut into equal parts

        def on_a_cpu(*args: Array) -> Any:
            if is_known and axis_size <= most:
                return in_parts(cost, at_once)(*args)
            batched = [arg for arg, axis in zip(args, axes, strict=True) if axis is not None]
            step = most if is_known and most > 1 else None
            return lax.map(lambda own: one(*_merged(axes, args, own)), batched, batch_size=step)

        found = lax.platform_dependent(*args, cpu=on_a_cpu, default=at_once)
        return found, jax.tree.map(lambda _: True, found)

    return one


def _most_at_once(cost: int, shapes: list[Shape]) -> int:
    """How many examples stay undivided, by the shapes of what one has: its matrix, and what is divided by it."""
    if not all(isinstance(length, int) for shape in shapes for length in shape):
        return 1
    operations = cost * max(map(math.prod, shapes)) * min(shapes[0][-2:])
    return max(1, UNDIVIDED // max(1, operations))


def _merged(axes: list[int | None], args: tuple[Array, ...], own: list[Array]) -> list[Array]:
    """The arguments of one example: its own, and those that all share."""
    rest = iter(own)
    return [arg if axis is None else next(rest) for arg, axis in zip(args, axes, strict=True)]


_lower_solve = in_parts(1, lambda triangle, values: linalg.solve_triangular(triangle, values, lower=True))
_upper_solve = in_parts(1, lambda triangle, values: linalg.solve_triangular(triangle, values, lower=False))
_full_solve = in_parts(1, lambda matrix, values: jnp.linalg.solve(matrix, values))
_cholesky = in_parts(1, lambda matrix: jnp.linalg.cholesky(matrix))
_qr = in_parts(4, lambda matrix: tuple(jnp.linalg.qr(matrix)))
_log_abs_det = in_parts(1, lambda matrix: jnp.linalg.slogdet(matrix)[1])
_eigh = in_parts(12, lambda matrix: tuple(jnp.linalg.eigh(matrix)))
plu = in_parts(1, lambda matrix: linalg.lu(matrix))
"""P, L and U of a matrix, P L U: [n, n] -> three times the same. Without derivatives."""


def solve_triangular(triangle: Array, values: Array, *, lower: bool) -> Array:
    """T^-1 B. Shapes: triangle T [n, n], of which the other half counts as 0; values B [n, m] -> [n, m]."""
    triangle = jnp.tril(triangle) if lower else jnp.triu(triangle)
    forth, back = (_lower_solve, _upper_solve) if lower else (_upper_solve, _lower_solve)
    return _solved(triangle, values, forth, back)


def solve(matrix: Array, values: Array) -> Array:
    """W^-1 B. Shapes: matrix W [n, n], values B [n, m] -> [n, m]."""
    return _solved(matrix, values, _full_solve, _full_solve)


def _solved(matrix: Array, values: Array, forth: Callable[..., Array], back: Callable[..., Array]) -> Array:
    """W^-1 B, of which JAX knows the derivatives: those of a linear map that is given by its inverse."""
    matrix, values = vary_alike(*_widened(matrix, values))
    return lax.custom_linear_solve(
        lambda x: jnp.matmul(matrix, x, precision=EXACT),
        values,
        lambda _, values: forth(matrix, values),
        lambda _, values: back(matrix.T, values),
    )


@jax.custom_jvp
def cholesky(matrix: Array) -> Array:
    """L with L L^T = S. Shapes: symmetric positive S [n, n] -> lower triangular [n, n]."""
    return _cholesky(*_widened(matrix))


@cholesky.defjvp
@promoting
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """dL = L tril(L^-1 dS L^-T), the diagonal halved. Source: Murray 2016, arXiv:1602.07527, eq. 8."""
    lower, (tangent,) = cholesky(*primals), _widened(*tangents)
    symmetric = 0.5 * (tangent + tangent.T)
    middle = solve_triangular(lower, solve_triangular(lower, symmetric, lower=True).T, lower=True)
    half = jnp.tril(middle) - 0.5 * jnp.diag(jnp.diagonal(middle))
    return lower, jnp.matmul(lower, half, precision=EXACT)


@jax.custom_jvp
def qr(matrix: Array) -> tuple[Array, Array]:
    """Q with orthonormal columns and upper triangular R, W = Q R.

    Shapes:
      matrix: W of full rank [n, m], m <= n -> Q: [n, m], R: [m, m].
    """
    return _qr(*_widened(matrix))


@qr.defjvp
@promoting
def _qr_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    """dQ = dW R^-1 - Q (M - S) and dR = (M - S) R, for M = Q^T dW R^-1 and its part S below the diagonal minus S^T.

    Source: Walter and Lehmann 2010, arXiv:1009.6112, section 3.2.
    """
    (q, r), (tangent,) = qr(*primals), _widened(*tangents)
    moved = solve_triangular(r.T, tangent.T, lower=True).T
    middle = jnp.matmul(q.T, moved, precision=EXACT)
    below = jnp.tril(middle, -1)
    upper = middle - (below - below.T)
    return (q, r), (moved - jnp.matmul(q, upper, precision=EXACT), jnp.matmul(upper, r, precision=EXACT))


@jax.custom_jvp
def eigh(matrix: Array) -> tuple[Array, Array]:
    """The eigenvalues of a Hermitian matrix, ascending, and its eigenvectors as columns.

    Shapes:
      matrix: [n, n] -> [n], [n, n].
    """
    return _eigh(*_widened(matrix))


@eigh.defjvp
@promoting
def _eigh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    """d lambda_i = M_ii and dV = V (M_ij / (lambda_j - lambda_i)), 0 for i = j, where M = V^H dS V.

    Source: Giles 2008, "An extended collection of matrix derivative results", section 3.1.
    """
    (values, vectors), (tangent,) = eigh(*primals), _widened(*tangents)
    conjugate = vectors.conj().T
    symmetric = 0.5 * (tangent + tangent.conj().T)
    middle = jnp.matmul(conjugate, jnp.matmul(symmetric, vectors, precision=EXACT), precision=EXACT)
    gaps = values - values[:, None] + jnp.eye(len(values), dtype=values.dtype)
    turn = middle * (1 - jnp.eye(len(values), dtype=values.dtype)) / gaps
    return (values, vectors), (jnp.diagonal(middle).real, jnp.matmul(vectors, turn, precision=EXACT))


@jax.custom_jvp
def log_abs_det(matrix: Array) -> Array:
    """log|det W|. Shapes: [n, n] -> []."""
    return _log_abs_det(*_widened(matrix))


@log_abs_det.defjvp
@promoting
def _log_abs_det_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """d log|det W| = tr(W^-1 dW)."""
    return log_abs_det(*primals), jnp.trace(solve(primals[0], tangents[0]))


def _widened(*values: Array) -> tuple[Array, ...]:
    """float32 or wider, and all of one type: LAPACK knows no narrower one."""
    dtype = jnp.promote_types(jnp.result_type(*values), jnp.float32)
    return tuple(value.astype(dtype) for value in values)
