"""The networks of Flow++: gated convolutions with self-attention over pixels, and features of an image as a context."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.errors import InvalidValueError
from jflows.modules import Module
from jflows.nn.convnet import ZeroConv
from jflows.nn.embed import ContextTerm
from jflows.nn.layer_norm import LayerNorm
from jflows.nn.layers import ComputeDtype, Dense, activated
from jflows.nn.transformer import POSITION_STD, check_heads
from jflows.ops.attention import self_attention
from jflows.ops.conv import convolution
from jflows.ops.numerics import narrow
from jflows.options import Count, Option
from jflows.typing import Array


class GatedConvNet(Module):
    """Flow++'s conditioner: gated convolutions and self-attention over pixels, with residual connections and norms.

        h = conv_3x3(x)
        h = norm(h + gate(act(conv_3x3(act(h)) + context)))            act(h) = elu([h, -h])
        h = norm(h + gate(attention(h + position)))                    [both, num_blocks times]
        y = conv_3x3(h), from zero

    where gate(h) = a * sigmoid(b) with [a, b] a linear map of h, and `norm` is layer norm over the channels. The
    positions are learned per pixel and serve all blocks, so that a network is for one image size. A context is a
    vector, or an image of features, which is added pixel by pixel.

    Source: Ho et al. 2019, arXiv:1902.00275, section 3.3 and published code. Differs: no dropout; queries, keys and
    values have no bias.

    Args:
      width: number of channels of h, a multiple of num_heads.
      num_blocks: number of blocks, at least 1.
      num_heads: number of heads of the attention; 0 leaves the attention out.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim], an image of features or None
        -> [*batch, height, width, num_features]. Attention takes (height * width)^2 numbers per head.
    Raises:
      InvalidValueError: for a width or number of blocks below 1, or heads that do not divide the width.
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    width: Count = 96
    num_blocks: Count = 10
    num_heads: Annotated[int, Option(low=0)] = 4
    compute_dtype: ComputeDtype = "full"

    def _check(self) -> None:
        if self.num_heads:
            check_heads("GatedConvNet", self.num_heads, self.width)

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        low = self.compute_dtype
        h = _Conv(self.width, jnp.result_type(x), low, name="conv_in")(x)
        position = None
        if self.num_heads:
            normal = nn.initializers.normal(POSITION_STD)
            position = self.param("position", normal, h.shape[-3:], h.dtype)
        for index in range(self.num_blocks):
            r = _Conv(self.width, h.dtype, low, name=f"block_{index}_conv")(_both_signs(h, low))
            if context is not None:
                r = r + ContextTerm(compute_dtype=low, name=f"block_{index}_context")(context, r)
            h = self._join(f"block_{index}_gate", h, _both_signs(r, low))
            if position is not None:
                seen = self._attend(f"block_{index}_qkv", h + position)
                h = self._join(f"block_{index}_attention_gate", h, seen)
        return ZeroConv(3, low, name="conv_out")(h, num_features)

    def _join(self, name: str, h: Array, branch: Array) -> Array:
        """The residual connection: h plus the gated branch, normalised."""
        both = Dense(2 * self.width, h.dtype, self.compute_dtype, name=name)(branch)
        return LayerNorm(name=f"{name}_norm")(h + jax.nn.glu(both))

    def _attend(self, name: str, h: Array) -> Array:
        *batch, height, width, channels = h.shape
        tokens = h.reshape(*batch, height * width, channels)
        qkv = Dense(3 * channels, h.dtype, self.compute_dtype, use_bias=False, name=name)(tokens)
        return self_attention(narrow(qkv, self.compute_dtype), self.num_heads).reshape(h.shape)


class ColumnPairFeatures(Module):
    """Features of an image at half of its width, by gated convolutions: the context of the noise of Flow++.

        h = conv_3x3(two columns side by side as channels)
        h = h + gate(act(conv_3x3(act(h))))                            [num_blocks times; act(h) = elu([h, -h])]
        y = act(h)

    where gate(h) = a * sigmoid(b) with [a, b] a 3x3 convolution of h.

    Source: Ho et al. 2019, arXiv:1902.00275, published code. Differs: no dropout.

    Args:
      width: number of channels of h, at least 1.
      num_blocks: number of blocks, at least 1.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      image: [*batch, height, columns, channels] -> [*batch, height, columns / 2, 2 * self.width].
    Raises:
      InvalidValueError: for a width or number of blocks below 1, or an image whose number of columns is odd.
    """

    width: Count = 32
    num_blocks: Count = 3
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps images to features."""
        *leading, columns, channels = image.shape
        if columns % 2:
            rule = "must have an even number of columns"
            raise InvalidValueError("ColumnPairFeatures", "image", rule, f"shape {image.shape}")
        own = (jnp.result_type(image), self.compute_dtype)
        h = _Conv(self.width, *own, name="conv_in")(image.reshape(*leading, columns // 2, 2 * channels))
        for index in range(self.num_blocks):
            r = _Conv(self.width, *own, name=f"block_{index}_conv")(_both_signs(h, self.compute_dtype))
            r = _Conv(2 * self.width, *own, name=f"block_{index}_gate")(_both_signs(r, self.compute_dtype))
            h = h + jax.nn.glu(r)
        return _both_signs(h, self.compute_dtype).astype(own[0])


class _Conv(nn.Module):
    """A 3x3 convolution with a bias; see `jflows.nn.layers.Dense`, whose fields it has.

    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height, width, features].
    """

    features: int
    param_dtype: Any
    compute_dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return convolution(x, kernel, self.compute_dtype) + bias


def _both_signs(h: Array, compute_dtype: str) -> Array:
    """elu([h, -h]): twice the channels, so that neither sign is lost."""
    return activated("elu", jnp.concatenate([h, -h], axis=-1), compute_dtype)
