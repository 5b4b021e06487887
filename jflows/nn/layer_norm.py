"""Layer normalisation that holds for inputs of any size."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jflows.typing import Array

EPSILON = 1e-6
HEADROOM = 1e-3  # of the square root of the largest number: squares of more numbers than a layer has stay finite


class LayerNorm(nn.Module):
    """Brings the last axis to mean 0 and variance 1, then scales and shifts it.

        y = scale * (x - mean) / sqrt(variance + 1e-6) + bias

    Source: Ba et al. 2016, arXiv:1607.06450. Differs from Flax's: the variance is that of x - mean, as E[x^2] - E[x]^2
    cancels for a mean far from 0; and features whose squares would overflow, which would all become 0, are scaled.

    Shapes:
      x: [..., features] -> the same. `params`: scale and bias, both [features].
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size, axes = x.shape[-1:], (*range(x.ndim - 1),)
        scale = self.param("scale", nn.initializers.ones, size, x.dtype)
        bias = self.param("bias", nn.initializers.zeros, size, x.dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
        x = x / jnp.where(largest > HEADROOM * float(jnp.finfo(x.dtype).max) ** 0.5, largest, 1)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        y = centred * lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + EPSILON)
        return y.astype(scale.dtype) * jnp.expand_dims(scale, axes) + jnp.expand_dims(bias, axes)
