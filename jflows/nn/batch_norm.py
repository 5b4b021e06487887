"""`HiddenBatchNorm`: batch normalisation of hidden units, which is part of a network and not a bijector."""

from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jflows.modules import Module
from jflows.ops.varying import batch_moments
from jflows.options import Option, Positive
from jflows.typing import Array


class HiddenBatchNorm(Module):
    """Brings every channel to mean 0 and variance 1 over the batch, and then scales and shifts it as learned.

        y = scale (x - mean) / sqrt(variance + epsilon) + shift

    While "batch_stats" is mutable (in training, by `Flow.apply_loss`), mean and variance are those of the batch, over
    all devices, and their running averages are updated. Otherwise they are the running averages, which start at the
    statistics of the batch that `init` sees.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.

    Args:
      momentum: decay of the running averages, in [0, 1): new = momentum * old + (1 - momentum) * batch.
      epsilon: positive number that is added to the variance.
    Shapes:
      x: [..., channels] -> the same. `params`: scale, shift [channels]; `batch_stats`: mean, variance [channels].
    """

    momentum: Annotated[float, Option(low=0, below=1)] = 0.9
    epsilon: Positive = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape, dtype = x.shape[-1:], jnp.result_type(x)
        scale = self.param("scale", nn.initializers.ones, shape, dtype)
        shift = self.param("shift", nn.initializers.zeros, shape, dtype)
        mean = self.variable("batch_stats", "mean", lambda: batch_moments(x)[0])
        variance = self.variable("batch_stats", "variance", lambda: batch_moments(x)[1])
        used = mean.value, variance.value
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            used = batch_moments(x)
            for kept, new in zip((mean, variance), used, strict=True):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * lax.stop_gradient(new)
        return (x - used[0]) * (scale * lax.rsqrt(used[1] + self.epsilon)) + shift
