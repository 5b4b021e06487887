"""The encoder of mixtures of images: convolutions that give one vector of logits for a whole image."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import ACTIVATIONS, Activation, zero_dense
from jflows.ops.conv import conv2d
from jflows.options import Counts
from jflows.typing import Array

KERNEL_SIZE = 3


class ConvClassifier(Module):
    """3x3 convolutions, each followed by an activation and by means of 2x2 pixels, then a dense layer from zero.

        h_k = mean_2x2(act(conv_3x3(h_{k-1})))           k = 1..len(channels),   h_0 = x
        y   = W flatten(h_last) + b

    It is no conditioner of couplings, as it gives one vector for an image, not one for each pixel. A context vector is
    mapped linearly (from zero) and added before each activation. An odd side is rounded up; pixels beyond the border do
    not count in a mean.

    Args:
      channels: channels of each convolution, at least one.
      activation: a name in `jflows.nn.ACTIVATIONS`.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for an unknown activation or no convolution.
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Encoder` reads it

    channels: Counts = (32, 32)
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype = jnp.result_type(x)
        for index, width in enumerate(self.channels):
            shape = (KERNEL_SIZE, KERNEL_SIZE, x.shape[-1], width)
            kernel = self.param(f"kernel_{index}", nn.initializers.lecun_normal(), shape, dtype)
            bias = self.param(f"bias_{index}", nn.initializers.zeros, (width,), dtype)
            h = conv2d(x, kernel) + bias
            if context is not None:
                h = h + ContextTerm(name=f"context_{index}")(context, h)
            x = halved(ACTIVATIONS[self.activation](h))
        return zero_dense(num_features, dtype, "output")(x.reshape(*x.shape[:-3], -1))


def halved(x: Array) -> Array:
    """Means of 2x2 pixels, of those that there are: [*batch, h, w, c] -> [*batch, ceil(h / 2), ceil(w / 2), c]."""
    *batch, height, width, channels = x.shape
    odd = (height % 2, width % 2)
    padded = jnp.pad(x, [*([(0, 0)] * len(batch)), (0, odd[0]), (0, odd[1]), (0, 0)])
    blocks = padded.reshape(*batch, (height + odd[0]) // 2, 2, (width + odd[1]) // 2, 2, channels)
    counts = [np.minimum(2, side - np.arange(0, side, 2)) for side in (height, width)]
    return jnp.sum(blocks, axis=(-4, -2)) / np.outer(*counts)[..., None].astype(x.dtype)
