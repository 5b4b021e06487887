"""Networks whose Lipschitz constant is below one for all parameters, as `Residual` needs them."""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.activations import ACTIVATIONS
from jflows.nn.embed import ContextTerm
from jflows.ops.conv import conv2d
from jflows.ops.lipschitz import bounded_kernel
from jflows.ops.numerics import EXACT
from jflows.options import Count, Counts, Fraction, OddCount, Option
from jflows.typing import Array

# |slope| <= 1 everywhere; that of gelu and silu reaches 1.13 and 1.10.
LIPSCHITZ_ACTIVATIONS = ("lipswish", "elu", "leaky_relu", "relu", "softplus", "tanh")
LipschitzActivation = Annotated[str, Option(choices=LIPSCHITZ_ACTIVATIONS)]
SWISH_SLOPE = 1.1  # largest slope of u sigmoid(u) is 1.0998
SWISH_START = 0.5  # of the published code: softplus(0.5) = 0.97


class LipSwish(nn.Module):
    """y = x sigmoid(softplus(b) x) / 1.1, with one learned b: smooth, and of Lipschitz constant 1 at most.

    Source: Chen et al. 2019, arXiv:1906.02735, section 3.3.

    Shapes:
      x: any -> the same. `params`: sharpness [].
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        sharpness = self.param("sharpness", nn.initializers.constant(SWISH_START), (), jnp.result_type(x))
        return x * jax.nn.sigmoid(jax.nn.softplus(sharpness) * x) / SWISH_SLOPE


class _BoundedLinear(nn.Module):
    """A dense layer, or a convolution if kernel_size > 0, of spectral norm <= bound.

    Full float32 precision: with bf16 or TF32 products, the default on accelerators, the inverse would not settle.
    """

    bound: float
    kernel_size: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array, num_features: int) -> Array:
        shape = (
            (*(self.kernel_size,) * 2, x.shape[-1], num_features) if self.kernel_size else (x.shape[-1], num_features)
        )
        kernel = bounded_kernel(self.param("kernel", self.kernel_init, shape, jnp.result_type(x)), self.bound)
        bias = self.param("bias", nn.initializers.zeros, (num_features,), jnp.result_type(x))
        if self.kernel_size:
            return conv2d(x, kernel, precision=EXACT) + bias
        return jnp.matmul(x, kernel, precision=EXACT) + bias


class LipschitzMLP(Module):
    """Dense layers of spectral norm <= coefficient^(1 / layers) with activations between them; the last starts at zero.

        Lip(network) <= coefficient < 1                       (in x, for every context)

    A context vector is mapped linearly (from zero) and added before each activation.

    Source: Behrmann et al. 2019, arXiv:1811.00995, section 2.1. Differs: norms are exact, not by power iteration.

    Args:
      hidden_sizes: units of each hidden layer, at least one.
      coefficient: bound of the Lipschitz constant, in (0, 1). Near 1 the network expresses more, but takes more steps
        to invert and needs more terms of the log-det.
      activation: one of `LIPSCHITZ_ACTIVATIONS`; the log-det has no useful gradient through "relu".
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for no hidden layer, a coefficient out of range or another activation.
    """

    hidden_sizes: Counts = (128, 128)
    coefficient: Fraction = 0.97
    activation: LipschitzActivation = "lipswish"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        widths = (*self.hidden_sizes, num_features)
        return _stack(x, context, widths, (0,) * len(widths), self.coefficient, self.activation)


class LipschitzConvNet(Module):
    """3x3, 1x1 and 3x3 convolutions of spectral norm <= coefficient^(1/3); the last starts at zero.

        Lip(network) <= coefficient < 1                       (in x, for every context and every image size)

    Norms are bounded from above by at most 4 % (`jflows.ops.lipschitz`). Their cost is that of eigenvalue problems of
    the size of the image's channels, 144 for each outer convolution, and one of size `width`.

    Source: Behrmann et al. 2019, arXiv:1811.00995, section 2.1, with the layers of its experiments. Differs: norms are
    bounded, where power iteration only estimates them.

    Args:
      width: number of channels of the hidden layers.
      coefficient: bound of the Lipschitz constant, see `LipschitzMLP`.
      activation: one of `LIPSCHITZ_ACTIVATIONS`; the log-det has no useful gradient through "relu".
      kernel_size: side of the outer convolutions' kernels, odd.
    Shapes:
      x: [*batch, height, width, channels], context: [*batch, context_dim] or None
        -> [*batch, height, width, num_features].
    Raises:
      InvalidValueError: for a coefficient out of range, another activation or an even kernel_size.
    """

    event_ndims: ClassVar[int] = 3  # of what it takes: `Coupling` checks it

    width: Count = 128
    coefficient: Fraction = 0.97
    activation: LipschitzActivation = "lipswish"
    kernel_size: OddCount = 3

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        widths, kernel_sizes = (self.width, self.width, num_features), (self.kernel_size, 1, self.kernel_size)
        return _stack(x, context, widths, kernel_sizes, self.coefficient, self.activation)


def _stack(
    x: Array,
    context: Array | None,
    widths: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    coefficient: float,
    activation: str,
) -> Array:
    """Bounded layers with the context and an activation after all but the last; called in a compact method."""
    bound = coefficient ** (1 / len(widths))
    for index, (width, kernel_size) in enumerate(zip(widths[:-1], kernel_sizes, strict=False)):
        x = _BoundedLinear(bound, kernel_size, name=f"hidden_{index}")(x, width)
        if context is not None:
            x = x + ContextTerm(name=f"context_{index}")(context, x)
        swish = activation == "lipswish"
        x = LipSwish(name=f"activation_{index}")(x) if swish else ACTIVATIONS[activation](x)
    return _BoundedLinear(bound, kernel_sizes[-1], nn.initializers.zeros, name="output")(x, widths[-1])
