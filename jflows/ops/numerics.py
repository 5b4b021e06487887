"""Small numerical rules shared by all bijectors: where a log-det is summed, and in which precision products are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import log_softmax, logsumexp

from jflows.typing import Array

EXACT = "highest"
"""The precision of every product that is not a conditioner's, the one place where it is set.

On GPUs and TPUs a product of float32 numbers rounds them to 10 or 7 bits of TF32 or bfloat16 first, unless `precision`
says otherwise. Products must not be rounded so where

- a map multiplies data, as linear maps and their triangular factors do: x -> z and z -> x round differently, and the
  third digit of a round trip would be lost; log-dets are those of the unrounded matrix;
- an inverse is iterated, or solved coordinate by coordinate (`Residual`, MADE): a sum in another order must give the
  same digits, or the iteration does not settle;
- statistics are compared with a bound: bases, covariances and tests of the latent.

A conditioner runs alike in both directions, so that rounding changes which map it is, and not whether it is inverted.
Its products have JAX's default precision, `jax.default_matmul_precision` changes that, and `compute_dtype` of a preset
says which type they have.
"""


def sum_event(values: Array, event_ndims: int) -> Array:
    """Sums the trailing `event_ndims` axes, accumulating in float32 or wider.

    A bfloat16 sum over the 3,072 terms of a 32x32x3 image would lose about one nat.

    Shapes:
      values: [*batch, *event] -> [*batch].
    """
    accumulate = jnp.result_type(values, jnp.float32)
    return jnp.sum(values, axis=tuple(range(values.ndim - event_ndims, values.ndim)), dtype=accumulate)


def zero_log_det(x: Array, event_ndims: int) -> Array:
    """The log-det of a map that preserves volume: zeros of the batch shape, float32 or wider."""
    dtype = jnp.result_type(x, jnp.float32)
    return jnp.zeros(x.shape[: x.ndim - event_ndims], dtype)


def constant_log_det(x: Array, event_ndims: int, value: Array | float) -> Array:
    """A log-det that is the same for every example, broadcast to the batch shape."""
    dtype = jnp.promote_types(jnp.result_type(x, value), jnp.float32)
    return jnp.broadcast_to(jnp.asarray(value, dtype), x.shape[: x.ndim - event_ndims])


def log_mixture(log_joint: Array) -> Array:
    """log sum_k exp(log_joint_k) over the last axis: [..., K] -> [...]; -inf with gradient 0 where every term is -inf.

    `logsumexp` alone gives the value, but NaN for the gradient there.
    """
    impossible, log_joint = _possible(log_joint)
    return jnp.where(impossible[..., 0], -jnp.inf, logsumexp(log_joint, axis=-1))


def log_shares(log_joint: Array) -> Array:
    """log of each term's share of the sum over the last axis: [..., K]; NaN with gradient 0 where every term is -inf.

    `log_softmax` alone gives the values, but NaN for the gradient there.
    """
    impossible, log_joint = _possible(log_joint)
    return jnp.where(impossible, jnp.nan, log_softmax(log_joint, axis=-1))


def _possible(log_joint: Array) -> tuple[Array, Array]:
    """Whether every term is -inf: [..., 1]; and the terms with 0 in their place there, so that gradients are finite."""
    impossible = jnp.all(jnp.isneginf(log_joint), axis=-1, keepdims=True)
    return impossible, jnp.where(impossible, 0, log_joint)


def value_and_gradient(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """The values of a function of events and their gradients, in one pass forwards and one backwards.

    Each value must depend on its own event alone.

    Shapes:
      x: [*batch, *event_shape] -> [*batch], [*batch, *event_shape].
    """
    values, pull = jax.vjp(function, x)
    return values, pull(jnp.ones_like(values))[0]
