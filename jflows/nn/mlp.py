"""The multilayer perceptron: conditioner for vectors."""

from flax import linen as nn

from jflows.errors import InvalidValueError
from jflows.nn.activations import ACTIVATIONS, check_activation
from jflows.nn.embed import ContextTerm
from jflows.typing import Array


class MLP(nn.Module):
    """Dense layers with an activation between them; the last one starts at zero.

    A context vector is mapped linearly (from zero) and added before each activation.

    Args:
      hidden_sizes: at least one layer.
      activation: a name in `jflows.nn.ACTIVATIONS`.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for an unknown activation or no hidden layer.
    """

    hidden_sizes: tuple[int, ...] = (128, 128)
    activation: str = "relu"

    def __post_init__(self):
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            rule = "must hold at least one positive size"
            raise InvalidValueError("MLP", "hidden_sizes", rule, repr(self.hidden_sizes))
        check_activation("MLP", self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype = x.dtype
        for index, size in enumerate(self.hidden_sizes):
            x = nn.Dense(size, param_dtype=dtype, name=f"hidden_{index}")(x)
            if context is not None:
                x = x + ContextTerm(name=f"context_{index}")(context, x)
            x = ACTIVATIONS[self.activation](x)
        zeros = nn.initializers.zeros
        return nn.Dense(num_features, kernel_init=zeros, param_dtype=dtype, name="output")(x)
