"""Networks whose Lipschitz constant is below one for all parameters, as `Residual` needs them.

Their kernels are divided by a spectral norm, which is found in one of two ways:

| norms | in training | elsewhere |
|---|---|---|
| "exact" | by eigenvalue problems: the bound holds | the same |
| "power" | by `POWER_STEPS` steps of power iteration: the bound holds up to what the estimate lacks | as "exact" |

With "power", the vectors of the iteration are variables of the collection "singular_vectors", which only training
writes (`Flow.apply_loss`), and which checkpoints hold. Scores and samples never use them: the bound always holds there.
Eigenvalue problems cost time in proportion to the cube of `width`. On accelerators, which are made for products and
not for them, those of wide networks may take more time than all else.
"""

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import ACTIVATIONS
from jflows.ops.conv import conv2d
from jflows.ops.lipschitz import bounded_kernel, power_iteration, singular_vectors
from jflows.ops.numerics import EXACT
from jflows.options import Count, Counts, Fraction, OddCount, Option
from jflows.typing import SINGULAR_VECTORS, Array

# |slope| <= 1 everywhere; that of gelu and silu reaches 1.13 and 1.10.
LIPSCHITZ_ACTIVATIONS = ("lipswish", "elu", "leaky_relu", "relu", "softplus", "tanh")
LipschitzActivation = Annotated[str, Option(choices=LIPSCHITZ_ACTIVATIONS)]
NORM_METHODS = ("exact", "power")
NormMethod = Annotated[str, Option(choices=NORM_METHODS)]
POWER_STEPS = 20  # of each training step, from where the last one ended
FIRST_POWER_STEPS = 50  # of the initialisation, from random vectors
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
    norms: str
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array, num_features: int) -> Array:
        shape = (
            (*(self.kernel_size,) * 2, x.shape[-1], num_features) if self.kernel_size else (x.shape[-1], num_features)
        )
        kernel = self.param("kernel", self.kernel_init, shape, jnp.result_type(x))
        kernel = bounded_kernel(kernel, self.bound, self._estimated_norm(kernel) if self.norms == "power" else None)
        bias = self.param("bias", nn.initializers.zeros, (num_features,), jnp.result_type(x))
        if self.kernel_size:
            return conv2d(x, kernel, precision=EXACT) + bias
        return jnp.matmul(x, kernel, precision=EXACT) + bias

    def _estimated_norm(self, kernel: Array) -> Array | None:
        """The squared norm by power iteration in training, when it also moves the vectors; None elsewhere."""
        start = lambda: singular_vectors(self.make_rng("params"), kernel, FIRST_POWER_STEPS)
        vectors = self.variable(SINGULAR_VECTORS, "vectors", start)
        if self.is_initializing() or not self.is_mutable_collection(SINGULAR_VECTORS):
            return None
        squared_norm, vectors.value = power_iteration(kernel, vectors.value, POWER_STEPS)
        return squared_norm


class LipschitzMLP(Module):
    """Dense layers of spectral norm <= coefficient^(1 / layers) with activations between them; the last starts at zero.

        Lip(network) <= coefficient < 1                       (in x, for every context)

    A context vector is mapped linearly (from zero) and added before each activation.

    Source: Behrmann et al. 2019, arXiv:1811.00995, section 2.1; `preactivation`: Chen et al. 2019, arXiv:1906.02735,
    appendix. Differs: norms are exact where the map may be inverted, and not by power iteration.

    Args:
      hidden_sizes: units of each hidden layer, at least one.
      coefficient: bound of the Lipschitz constant, in (0, 1). Near 1 the network expresses more, but takes more steps
        to invert and needs more terms of the log-det.
      activation: one of `LIPSCHITZ_ACTIVATIONS`; the log-det has no useful gradient through "relu".
      preactivation: whether the input passes through an activation of its own first.
      norms: "exact" or "power", see the table at the head of this module.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for no hidden layer, a coefficient out of range or another activation.
    """

    hidden_sizes: Counts = (128, 128)
    coefficient: Fraction = 0.97
    activation: LipschitzActivation = "lipswish"
    preactivation: bool = False
    norms: NormMethod = "exact"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        widths = (*self.hidden_sizes, num_features)
        return _stack(self, x, context, widths, (0,) * len(widths))


class LipschitzConvNet(Module):
    """3x3, 1x1 and 3x3 convolutions of spectral norm <= coefficient^(1/3); the last starts at zero.

        Lip(network) <= coefficient < 1                       (in x, for every context and every image size)

    Norms are bounded from above by at most 4 % (`jflows.ops.lipschitz`). Their cost is that of eigenvalue problems of
    the size of the image's channels, 144 for each outer convolution, and one of size `width`.

    Source: Behrmann et al. 2019, arXiv:1811.00995, section 2.1, with the layers of its experiments; `preactivation`:
    Chen et al. 2019, arXiv:1906.02735, appendix. Differs: norms are bounded where the map may be inverted, where power
    iteration only estimates them.

    Args:
      width: number of channels of the hidden layers.
      coefficient: bound of the Lipschitz constant, see `LipschitzMLP`.
      activation: one of `LIPSCHITZ_ACTIVATIONS`; the log-det has no useful gradient through "relu".
      kernel_size: side of the outer convolutions' kernels, odd.
      preactivation: whether the input passes through an activation of its own first.
      norms: "exact" or "power", see the table at the head of this module.
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
    preactivation: bool = False
    norms: NormMethod = "exact"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        widths, kernel_sizes = (self.width, self.width, num_features), (self.kernel_size, 1, self.kernel_size)
        return _stack(self, x, context, widths, kernel_sizes)


def _stack(
    network: LipschitzMLP | LipschitzConvNet,
    x: Array,
    context: Array | None,
    widths: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
) -> Array:
    """Bounded layers with the context and an activation after all but the last; called in a compact method."""
    bound = network.coefficient ** (1 / len(widths))
    x = _activated(network, x, "preactivation") if network.preactivation else x
    for index, (width, kernel_size) in enumerate(zip(widths[:-1], kernel_sizes, strict=False)):
        x = _BoundedLinear(bound, kernel_size, network.norms, name=f"hidden_{index}")(x, width)
        if context is not None:
            x = x + ContextTerm(name=f"context_{index}")(context, x)
        x = _activated(network, x, f"activation_{index}")
    output = _BoundedLinear(bound, kernel_sizes[-1], network.norms, nn.initializers.zeros, name="output")
    return output(x, widths[-1])


def _activated(network: LipschitzMLP | LipschitzConvNet, x: Array, name: str) -> Array:
    return LipSwish(name=name)(x) if network.activation == "lipswish" else ACTIVATIONS[network.activation](x)
