"""WaveNet as a conditioner of waveforms, and the upsampling of what it is conditioned on."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import ComputeDtype, Dense, zero_dense
from jflows.nn.standardize import StandardizeContext
from jflows.ops.dilated import dilated_conv
from jflows.ops.numerics import narrow
from jflows.options import Count, OddCount
from jflows.typing import Array

CONTEXT_TAPS = 3  # frames that each step of time sees: its own, and both neighbours


class WaveNet(Module):
    """Gated convolutions over time, whose dilation doubles from layer to layer, with residual and skip connections.

        h_0 = W x
        (a_i, b_i) = conv_2^i(h_i) + W_i context
        g_i = tanh(a_i) * sigmoid(b_i),   (r_i, s_i) = W_i' g_i
        h_i+1 = h_i + r_i,                y = W'' sum_i s_i,  which starts at zero

    Time is the width of an image; its rows, of which waveforms have one, do not see each other. The network is not
    causal: it sees `radius` steps to either side.

    Source: van den Oord et al. 2016, arXiv:1609.03499, section 2.3, eq. 2; Prenger et al. 2018, arXiv:1811.00002,
    section 2.1. Differs from the published code of the latter: no weight normalisation.

    Args:
      width: number of residual channels.
      num_layers: number of layers, with dilations 1, 2, 4, ...
      skip_width: number of channels of the sum s_i; None takes `width`.
      kernel_size: number of taps, odd.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, rows, time, channels], context: [*batch, rows, time, any], [*batch, any] or None
        -> [*batch, rows, time, num_features].
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    width: Count = 256
    num_layers: Count = 8
    skip_width: Count | None = None
    kernel_size: OddCount = 3
    compute_dtype: ComputeDtype = "full"

    @property
    def radius(self) -> int:
        """How many steps of time y depends on, to either side of its own."""
        return self.kernel_size // 2 * (2**self.num_layers - 1)

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype, kind = jnp.result_type(x), self.compute_dtype
        skip_width = self.width if self.skip_width is None else self.skip_width
        h, skips = Dense(self.width, dtype, kind, name="input")(x), jnp.zeros((), dtype)
        for layer in range(self.num_layers):
            shape = (self.kernel_size, self.width, 2 * self.width)
            kernel = self.param(f"kernel_{layer}", nn.initializers.lecun_normal(), shape, dtype)
            bias = self.param(f"bias_{layer}", nn.initializers.zeros, shape[-1:], dtype)
            y = dilated_conv(h, kernel, 2**layer, kind) + bias
            if context is not None:
                y = y + ContextTerm(from_zero=False, compute_dtype=kind, name=f"context_{layer}")(context, y)
            a, b = jnp.split(narrow(y, kind), 2, axis=-1)
            residual = self.width if layer < self.num_layers - 1 else 0  # nothing reads the last one
            both = Dense(residual + skip_width, dtype, kind, name=f"output_{layer}")(jnp.tanh(a) * jax.nn.sigmoid(b))
            skips = skips + both[..., residual:]
            h = h + both[..., :residual] if residual else h
        return zero_dense(num_features, dtype, name="zero", compute_dtype=kind)(skips)


class UpsampledContext(Module):
    """Turns frames of features, such as a mel spectrogram, into features of each step of time, as `WaveNet` reads them.

        u[f * factor + k] = sum_a W_a,k c[f + a],    a = -1, 0, 1;   c brought to mean 0 and deviation 1 per channel

    Every step within a frame has weights of its own, as in a transposed convolution whose stride is the frame and
    whose kernel is three frames long. For the field `embed` of a `Flow`, so that all layers share it.

    Source: Prenger et al. 2018, arXiv:1811.00002, section 2.1 and published code. Differs: the kernel has three frames
    around its own, not four, so that nothing must be cut off; channels are standardised by the first batch.

    Args:
      features: number of channels of u.
      factor: number of steps of time in a frame.
      compute_dtype: type of its product, see `jflows.ops.numerics`.
    Shapes:
      context: [*batch, frames, channels] -> [*batch, 1, frames * factor, features].
    Raises:
      InvalidTypeError: if the context is not of a floating type.
    """

    features: Count
    factor: Count
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, context: Array) -> Array:
        """Maps frames to steps of time."""
        frames = StandardizeContext(name="standardize")(context)
        shape = (CONTEXT_TAPS, frames.shape[-1], self.factor * self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, frames.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), frames.dtype)
        steps = dilated_conv(frames, kernel, compute_dtype=self.compute_dtype)
        return steps.reshape(*frames.shape[:-2], 1, frames.shape[-2] * self.factor, self.features) + bias
