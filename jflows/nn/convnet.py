"""The convolutional conditioner of Glow, and the zero-initialised convolution it ends with."""

from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import Activation, ComputeDtype, activated
from jflows.ops import affine
from jflows.ops.conv import convolution
from jflows.options import Count, OddCount, Option
from jflows.typing import Array

KERNEL_STD = 0.05  # of the published code
LOG_SCALE_FACTOR = 3.0  # exp(3 s): s learns three times faster than a plain log-scale would


class ZeroConv(Module):
    """A convolution that starts at zero, times a learned output scale.

        y = (conv(x) + bias) * exp(3 log_scale)

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.3 and published code.

    Args:
      kernel_size: side of the kernel, odd.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels] -> [*batch, height, width, num_features].
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    kernel_size: OddCount = 3
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None, dtype: Any = None) -> Array:
        """Maps images; `dtype` is the type of the parameters and of y, where that of x is narrower."""
        zeros, dtype = nn.initializers.zeros, jnp.result_type(x) if dtype is None else dtype
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], num_features)
        kernel = self.param("kernel", zeros, shape, dtype)
        bias = self.param("bias", zeros, (num_features,), dtype)
        log_scale = self.param("log_scale", zeros, (num_features,), dtype)
        # The scale goes into the weights: one product of parameters instead of one more pass over the activations.
        scale = jnp.exp(LOG_SCALE_FACTOR * log_scale)
        y = convolution(x, kernel * scale, self.compute_dtype) + bias * scale
        if context is not None:
            y = y + ContextTerm(compute_dtype=self.compute_dtype, name="context")(context, y)
        return y


class ConvNet(Module):
    """Glow's conditioner: 3x3 convolution, 1x1 convolution, zero-initialised 3x3 convolution.

        h_1 = act(norm(conv_3x3(x)))
        h_2 = act(norm(conv_1x1(h_1)))
        y   = (conv_3x3(h_2) + bias) * exp(3 log_scale)

    A context vector is mapped linearly (from zero) and added before each activation.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.3 and published code.

    Args:
      width: number of channels of h_1 and h_2.
      norm: "actnorm" whitens each layer's output on the first batch and learns shift and scale; "bias" is a plain bias.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      kernel_size: side of the outer convolutions' kernels, odd.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim] or None
        -> [*batch, height, width, num_features].
    Raises:
      InvalidValueError: for an unknown norm or activation, a width below 1 or an even kernel_size.
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    width: Count = 512
    norm: Annotated[str, Option(choices=("actnorm", "bias"))] = "actnorm"
    activation: Activation = "relu"
    kernel_size: OddCount = 3
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype = jnp.result_type(x)
        h = self._hidden("conv_in", x, dtype, self.kernel_size, context)
        h = self._hidden("conv_mid", h, dtype, 1, context)
        return ZeroConv(self.kernel_size, self.compute_dtype, name="conv_out")(h, num_features, dtype=dtype)

    def _hidden(self, name: str, x: Array, dtype: Any, kernel_size: int, context: Array | None) -> Array:
        normal = nn.initializers.normal(KERNEL_STD)
        shape = (kernel_size, kernel_size, x.shape[-1], self.width)
        kernel = self.param(f"{name}_kernel", normal, shape, dtype)
        if self.norm == "actnorm":
            if self.is_initializing():
                shift, log_scale = affine.whitening(convolution(x, kernel, self.compute_dtype))
            else:
                shift = log_scale = jnp.zeros((self.width,), dtype)  # shapes only, for Linen's check
            shift = self.param(f"{name}_shift", lambda _: shift)
            log_scale = self.param(f"{name}_log_scale", lambda _: log_scale)
            scale = jnp.exp(log_scale)  # folded into the weights, as in ZeroConv
            kernel, bias = kernel * scale, shift * scale
        else:
            bias = self.param(f"{name}_bias", nn.initializers.zeros, (self.width,), dtype)
        h = convolution(x, kernel, self.compute_dtype) + bias
        if context is not None:
            h = h + ContextTerm(compute_dtype=self.compute_dtype, name=f"{name}_context")(context, h)
        return activated(self.activation, h, self.compute_dtype)
