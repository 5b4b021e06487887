"""What networks are made of: activation functions, and `Dense`, whose product can be computed in a narrower type."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
from flax import linen as nn

from jflows.ops.numerics import COMPUTE_DTYPES, narrow, product
from jflows.ops.primitives import relu
from jflows.options import Option
from jflows.typing import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # by name, since fields of modules are stored as JSON
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": relu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jax.numpy.tanh,
}

Activation = Annotated[str, Option(choices=tuple(ACTIVATIONS))]
"""The type of a field that names an activation function."""

ComputeDtype = Annotated[str, Option(choices=COMPUTE_DTYPES)]
"""The type of a field that says in which type a network computes, see `jflows.ops.numerics`."""


def activated(name: str, h: Array, compute_dtype: str) -> Array:
    """The activation function of this name in the type of computing, which what it stores for derivatives has too."""
    return ACTIVATIONS[name](narrow(h, compute_dtype))


class Dense(nn.Module):
    """y = x W + b, with the product in `compute_dtype` and the sum in the type of the parameters.

    Args:
      features: number of outputs.
      param_dtype: type of the parameters and of y.
      compute_dtype: type of the product: "full", that of x and the parameters; "bfloat16" or "float16", which take half
        the memory and round to 2 or 3 digits.
      use_bias: whether there is b.
      kernel_init, bias_init: initializers.
    Shapes:
      x: [*batch, in] -> [*batch, features]. `params`: kernel [in, features], bias [features].
    """

    features: int
    param_dtype: Any
    compute_dtype: str = "full"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype)
        y = product(x, kernel, self.compute_dtype)
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def zero_dense(features: int, dtype: Any, name: str | None = None, compute_dtype: str = "full") -> Dense:
    """A dense layer whose output starts at zero, so that a bijector starts at the map of zero parameters.

    Args:
      features: number of features of the output.
      dtype: dtype of the parameters.
      name: name of the submodule, if it is made within `nn.compact`.
      compute_dtype: type of the product: "full", that of x and the parameters; "bfloat16" or "float16", which take half
        the memory and round to 2 or 3 digits.
    """
    return Dense(features, dtype, compute_dtype, kernel_init=nn.initializers.zeros, name=name)
