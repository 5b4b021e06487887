"""Log-determinants and traces of the Jacobian J of a map: exact for small events, estimated for large ones.

For z = x + g(x) with Lip(g) < 1, log|det(I + J)| = sum_k (-1)^(k+1) tr(J^k) / k, and tr(A) = E v^T A v for noise v of
mean 0 and covariance I (Hutchinson): products with vectors are all that is needed. Maps act on a batch, example by
example. Read next: `jflows/bijectors/residual.py`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jflows.ops import varying
from jflows.ops.factorisations import log_abs_det
from jflows.ops.numerics import sum_event
from jflows.typing import Array, Key, PyTree

NOISE_KINDS = ("rademacher", "normal")

Map = Callable[[Array], Array]


def hutchinson_noise(key: Key, shape: tuple[int, ...], dtype, kind: str) -> Array:
    """Noise of mean 0 and covariance I: signs ("rademacher", the least variance) or "normal". Shapes: -> shape.

    It is drawn in float32, so that a key gives the same noise in every type, whether float64 is allowed or not.
    """
    if kind == "rademacher":
        return 2 * jax.random.bernoulli(key, jnp.float32(0.5), shape).astype(dtype) - 1
    return jax.random.normal(key, shape, jnp.float32).astype(dtype)


def jacobian(f: Map, x: Array, event_ndims: int) -> Array:
    """dy_i/dx_j of each example, one product with J per column. Shapes: [*batch, *event] -> [*batch, size, size]."""
    batch_shape, event_shape = x.shape[: x.ndim - event_ndims], x.shape[x.ndim - event_ndims :]
    size = math.prod(event_shape)
    basis = jnp.eye(size, dtype=x.dtype).reshape(size, *(1,) * len(batch_shape), *event_shape)
    basis, _ = varying.vary_alike(jnp.broadcast_to(basis, (size, *x.shape)), x)
    _, times_jacobian = jax.linearize(f, x)
    columns = jax.vmap(times_jacobian)(basis)
    return jnp.moveaxis(columns.reshape(size, *batch_shape, size), 0, -1)


def exact_log_det(g: Map, x: Array, event_ndims: int) -> Array:
    """log|det(I + dg/dx)| by factorising the Jacobian: D products with J and D^3 operations per example.

    Shapes:
      x: [*batch, *event] -> [*batch], float32 or wider.
    """
    matrix = jacobian(g, x, event_ndims)
    *batch, size, _ = matrix.shape
    wide = jnp.promote_types(matrix.dtype, jnp.float32)  # 1 + J is not rounded to a narrow type
    flat = matrix.reshape(-1, size, size).astype(wide) + jnp.eye(size, dtype=wide)
    return jax.vmap(log_abs_det)(flat).reshape(batch)


def series_log_det(
    g: Callable[[PyTree, Array], Array],
    params: PyTree,
    x: Array,
    noise: Array,
    num_terms: Array | int,
    event_ndims: int,
    num_exact: int = 0,
    stop_probability: float = 0.0,
) -> Array:
    """Estimates log|det(I + dg/dx)| from the first terms of its power series, with one noise vector per example.

        value       sum_k (-1)^(k+1) c_k / k v^T J^k v                       k = 1 .. num_terms
        derivative  w^T (dJ) v,   w^T = sum_k (-1)^(k+1) c_k v^T J^(k-1)

    c_k = 1 as a rule: the series is cut, and biased by at most `truncation_bound`. With num_terms from
    `roulette_terms` and its other two arguments, c_k = 1 / P(num_terms >= k), and the estimate is unbiased.

    The derivative is an estimate of its own, of the derivative of the same expectation; it is not the derivative of
    the value at fixed noise. It needs memory for two evaluations of g whatever num_terms is, and since no derivative
    enters the loop, its length may be random under `jit`.

    Source: Chen et al. 2019, arXiv:1906.02735, eqs. 6 (value) and 8 (derivative).

    Args:
      g: (params, x) -> g(x), with Lip(g) < 1.
      params: everything that g depends on and that has derivatives.
      noise: from `hutchinson_noise`, like x.
      num_terms: number of terms, at least 1.
      num_exact: c_k = 1 up to this term.
      stop_probability: p of the roulette; c_k = (1 - p)^(num_exact - k) beyond.
    Shapes:
      x, noise: [*batch, *event] -> [*batch], float32 or wider.
    """
    x = varying.as_carried(lambda x: g(params, x), x)
    noise, _ = varying.vary_alike(noise, x)
    fixed_params, fixed_x = lax.stop_gradient((params, x))
    _, times_transposed_jacobian = jax.vjp(lambda x: g(fixed_params, x), fixed_x)
    log_keep = math.log1p(-stop_probability)

    def add_term(k: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        row, value, neumann = state
        weight = jnp.exp(-log_keep * jnp.maximum(k - num_exact, 0)) if stop_probability else jnp.ones(())
        coefficient = jnp.where(k % 2 == 1, weight, -weight)
        neumann = neumann + coefficient.astype(x.dtype) * row
        (row,) = times_transposed_jacobian(row)
        value = value + (coefficient / k).astype(value.dtype) * sum_event(row * noise, event_ndims)
        return row, value, neumann

    start = (noise, jnp.zeros_like(sum_event(noise, event_ndims)), jnp.zeros_like(noise))
    _, value, neumann = varying.fori_loop(1, num_terms + 1, add_term, start)
    _, tangent = jax.jvp(lambda x: g(params, x), (x,), (noise,))
    surrogate = sum_event(neumann * tangent, event_ndims)
    return value + (surrogate - lax.stop_gradient(surrogate))  # the value, with the derivative of the surrogate


def roulette_terms(key: Key, num_exact: int, stop_probability: float) -> Array:
    """How many terms to take: `num_exact`, then each next one with probability 1 - stop_probability.

    Weighted by 1 / P(num_terms >= k) the sum is unbiased. Its variance is finite if Lip(g)^2 < 1 - stop_probability.

    Source: Chen et al. 2019, arXiv:1906.02735, section 3.1.
    """
    return num_exact + jax.random.geometric(key, jnp.float32(stop_probability)) - 1


def truncation_bound(lipschitz: float, dim: int, num_terms: int) -> float:
    """Largest |bias| of the series cut after `num_terms`, in nats: D sum_{k > n} c^k / k.

    Source: Behrmann et al. 2019, arXiv:1811.00995, theorem 4.

    Args:
      lipschitz: c < 1.
      dim: D, of an event.
    """
    return dim * (-math.log1p(-lipschitz) - math.fsum(lipschitz**k / k for k in range(1, num_terms + 1)))


def exact_trace(f: Map, x: Array, event_ndims: int) -> tuple[Array, Array]:
    """f(x) and tr(df/dx) by one product with J per dimension. Shapes: [*batch, *event] -> the same, [*batch]."""
    diagonal = jnp.diagonal(jacobian(f, x, event_ndims), axis1=-2, axis2=-1)
    return f(x), sum_event(diagonal, 1)


def hutchinson_trace(f: Map, x: Array, noise: Array, event_ndims: int) -> tuple[Array, Array]:
    """f(x) and v^T (df/dx) v, an unbiased estimate of the trace, by one product with J. Shapes: as `exact_trace`."""
    noise, _ = varying.vary_alike(noise, x)
    y, tangent = jax.jvp(f, (x,), (noise,))
    return y, sum_event(tangent * noise, event_ndims)
