"""`Elementwise`: an inner map whose own parameters are learned, one set per channel."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.bijectors.inner import Inner
from jflows.ops.numerics import sum_event
from jflows.options import Ndims
from jflows.typing import Array


class Elementwise(SameShape):
    """Maps every element by an inner map with parameters that are learned per channel, and depend on the context.

        z = g(x; params + W context)
        log_det = sum_i log|dg/dx_i|                         [nats per event]

    `Elementwise(Affine())` is a learned diagonal scale and shift, `Elementwise(PReLU())` a learned slope,
    `Elementwise(RationalQuadraticSpline())` a learned marginal. With a context it makes one-dimensional data
    conditional, where a `Coupling` has nothing to condition on. As the last prior of Glow it is the learned,
    class-conditional top prior that leaves the base at N(0, I) (Kingma and Dhariwal 2018, arXiv:1807.03039, published
    code).

    Args:
      inner: the elementwise map g. Its parameters start at zero, and so does W.
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]; context: [*batch, context_dim], an image of
      the event's height and width, or None.
      `params`: raw [num_params * channels].
    """

    inner: Inner
    event_ndims: Ndims = 1

    @nn.compact
    def _params(self, values: Array, context: Array | None) -> Array:
        """-> [*batch or nothing, 1.., num_params, channels], to be broadcast over the positions of an image."""
        zeros, size = nn.initializers.zeros, self.inner.num_params * values.shape[-1]
        raw = self.param("raw", zeros, (size,), values.dtype)
        if context is not None:
            dense = nn.Dense(size, use_bias=False, kernel_init=zeros, param_dtype=values.dtype)
            raw = raw + dense(context.astype(values.dtype))
            raw = raw.reshape(*raw.shape[:-1], *(1,) * (values.ndim - raw.ndim), size)
        return raw.reshape(*raw.shape[:-1], self.inner.num_params, values.shape[-1])

    def _log_det(self, values: Array, log_slope: Array) -> Array:
        return sum_event(jnp.broadcast_to(log_slope, values.shape), self.event_ndims)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_slope = self.inner.forward_and_log_det(z, self._params(z, context))
        return x, self._log_det(z, log_slope)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_slope = self.inner.inverse_and_log_det(x, self._params(x, context))
        return z, self._log_det(x, log_slope)
