"""RealNVP's conditioner of images: residual blocks of weight-normalised convolutions."""

from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.batch_norm import HiddenBatchNorm
from jflows.nn.convnet import KERNEL_STD, ZeroConv
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import Activation, ComputeDtype, activated
from jflows.ops import affine
from jflows.ops.conv import convolution
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
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
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
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
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


def _add_context(name: str, h: Array, context: Array | None, compute_dtype: str) -> Array:
    return h if context is None else h + ContextTerm(compute_dtype=compute_dtype, name=name)(context, h)
