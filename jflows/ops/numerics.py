"""Small numerical rules shared by all bijectors: where a log-det is summed, and in which precision."""

import jax.numpy as jnp
from jax.nn import log_softmax, logsumexp

from jflows.typing import Array


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
