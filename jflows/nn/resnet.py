"""Deeper convolutional conditioners: weight-normalised residual blocks (RealNVP), gates and attention (Flow++)."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.activations import Activation, ComputeDtype, activated
from jflows.nn.batch_norm import HiddenBatchNorm
from jflows.nn.convnet import KERNEL_STD, ZeroConv
from jflows.nn.dense import Dense
from jflows.nn.embed import ContextTerm
from jflows.nn.layer_norm import LayerNorm
from jflows.nn.transformer import POSITION_STD, check_heads
from jflows.ops import affine
from jflows.ops.attention import self_attention
from jflows.ops.narrow import convolution, narrow
from jflows.options import Count, OddCount, Option
from jflows.typing import Array

MIN_NORM = 1e-12  # of a kernel that is all zeros


class WeightNormConv(Module):
    """A convolution whose kernel is a direction times a learned length, per output channel.

        y = conv(x, g v / |v|) + bias

    On the first batch g and bias are set so that every output channel has mean 0 and deviation 1.

    Source: Salimans and Kingma 2016, arXiv:1602.07868, sections 2 and 3.

    Args:
      width: number of output channels.
      kernel_size: side of the kernel, odd.
      compute_dtype: type in which it computes, see `jflows.ops.narrow`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height, width, self.width].
      `params`: v [k, k, channels, self.width], g and bias [self.width].
    """

    width: Count
    kernel_size: OddCount = 3
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, x: Array, dtype: Any = None) -> Array:
        """Maps images; `dtype` is the type of the parameters and of y, where that of x is narrower."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.width)
        dtype = jnp.result_type(x) if dtype is None else dtype
        v = self.param("v", nn.initializers.normal(KERNEL_STD), shape, dtype)
        direction = v / jnp.maximum(jnp.sqrt(jnp.sum(v**2, axis=(0, 1, 2))), MIN_NORM)
        if self.is_initializing():
            shift, log_scale = affine.whitening(convolution(x, direction, self.compute_dtype))
        else:
            shift = log_scale = jnp.zeros((self.width,), dtype)  # shapes only, for Linen's check
        g = self.param("g", lambda _: jnp.exp(log_scale))
        bias = self.param("bias", lambda _: shift * jnp.exp(log_scale))
        return convolution(x, direction * g, self.compute_dtype) + bias


class ResidualConvNet(Module):
    """RealNVP's conditioner: residual blocks of weight-normalised convolutions, with the activation before each.

        h_0 = conv(x), 3x3 or 1x1
        h_k = h_{k-1} + conv_3x3(act(conv_3x3(act(h_{k-1}))))          k = 1..num_blocks
        y   = conv_1x1(act(h_last)), from zero

    A context vector is mapped linearly (from zero) and added before the activations of h_0 and inside each block. With
    norm="batch", batch normalisation stands before every activation; weight normalisation, which is initialised from
    data, stays.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4, with norm="batch". Differs: no further connections from the
    blocks to the output.

    Args:
      width: number of channels of every h_k.
      num_blocks: number of residual blocks, at least 1.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      norm: "weight" normalises weights alone; "batch" normalises activations by the statistics of the batch too, in
        training, so that the rows of a batch depend on each other, and otherwise by running averages.
      first_kernel_size: side of the kernel of the first convolution, odd.
      compute_dtype: type in which it computes, see `jflows.ops.narrow`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim] or None
        -> [*batch, height, width, num_features].
    Raises:
      InvalidValueError: for an unknown activation, or a width or number of blocks below 1.
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    width: Count = 64
    num_blocks: Count = 4
    activation: Activation = "relu"
    norm: Annotated[str, Option(choices=("weight", "batch"))] = "weight"
    first_kernel_size: OddCount = 3
    compute_dtype: ComputeDtype = "full"

    @property
    def allows_invertible_backprop(self) -> bool:
        """False with batch normalisation: in training, an output does not determine the statistics that made it."""
        return self.norm != "batch"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype, low = jnp.result_type(x), self.compute_dtype
        first = WeightNormConv(self.width, self.first_kernel_size, low, name="conv_in")(x)
        h = _add_context("context", first, context, low)
        for index in range(self.num_blocks):
            one, other = f"block_{index}_in", f"block_{index}_out"
            r = WeightNormConv(self.width, 3, low, name=one)(self._active(one, h), dtype)
            r = _add_context(f"block_{index}_context", r, context, low)
            h = h + WeightNormConv(self.width, 3, low, name=other)(self._active(other, r), dtype)
        return ZeroConv(1, low, name="conv_out")(self._active("conv_out", h), num_features, dtype=dtype)

    def _active(self, name: str, h: Array) -> Array:
        """The activation of h, normalised if `norm` says so."""
        normed = HiddenBatchNorm(name=f"{name}_norm")(h) if self.norm == "batch" else h
        return activated(self.activation, normed, self.compute_dtype)


class GatedConvNet(Module):
    """Flow++'s conditioner: gated convolutions and self-attention over pixels, with residual connections and norms.

        h = conv_3x3(x)
        h = norm(h + gate(act(conv_3x3(act(h)) + context)))            act(h) = elu([h, -h])
        h = norm(h + gate(attention(h + position)))                    [both, num_blocks times]
        y = conv_3x3(h), from zero

    where gate(h) = a * sigmoid(b) with [a, b] a linear map of h, and `norm` is layer norm over the channels. The
    positions are learned per pixel, so that a network is for one image size.

    Source: Ho et al. 2019, arXiv:1902.00275 (expressive conditioning architectures). Differs: no dropout.

    Args:
      width: number of channels of h, a multiple of num_heads.
      num_blocks: number of blocks, at least 1.
      num_heads: number of heads of the attention; 0 leaves the attention out.
      compute_dtype: type in which it computes, see `jflows.ops.narrow`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim] or None
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
        h = self._conv("conv_in", x, jnp.result_type(x))
        for index in range(self.num_blocks):
            r = self._conv(f"block_{index}_conv", self._active(h), h.dtype)
            r = _add_context(f"block_{index}_context", r, context, self.compute_dtype)
            h = self._join(f"block_{index}_gate", h, self._active(r))
            if self.num_heads:
                h = self._join(f"block_{index}_attention_gate", h, self._attend(f"block_{index}", h))
        return ZeroConv(3, self.compute_dtype, name="conv_out")(h, num_features)

    def _active(self, h: Array) -> Array:
        """elu([h, -h]): twice the channels, so that neither sign is lost."""
        return activated("elu", jnp.concatenate([h, -h], axis=-1), self.compute_dtype)

    def _conv(self, name: str, x: Array, dtype: Any) -> Array:
        init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        kernel = self.param(f"{name}_kernel", init, (3, 3, x.shape[-1], self.width), dtype)
        return convolution(x, kernel, self.compute_dtype) + self.param(f"{name}_bias", zeros, (self.width,), dtype)

    def _join(self, name: str, h: Array, branch: Array) -> Array:
        """The residual connection: h plus the gated branch, normalised."""
        both = Dense(2 * self.width, h.dtype, self.compute_dtype, name=name)(branch)
        return LayerNorm(name=f"{name}_norm")(h + jax.nn.glu(both))

    def _attend(self, name: str, h: Array) -> Array:
        *batch, height, width, channels = h.shape
        tokens = h.reshape(*batch, height * width, channels)
        normal = nn.initializers.normal(POSITION_STD)
        position = self.param(f"{name}_position", normal, (height * width, channels), h.dtype)
        own = (3 * channels, h.dtype, self.compute_dtype)
        qkv = Dense(*own, use_bias=False, name=f"{name}_qkv")(tokens + position)
        return self_attention(narrow(qkv, self.compute_dtype), self.num_heads).reshape(h.shape)


def _add_context(name: str, h: Array, context: Array | None, compute_dtype: str) -> Array:
    return h if context is None else h + ContextTerm(compute_dtype=compute_dtype, name=name)(context, h)
