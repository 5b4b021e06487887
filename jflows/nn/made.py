"""MADE: dense layers masked so that the parameters of an input depend only on earlier inputs."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.errors import InvalidValueError, check_choice
from jflows.nn.activations import ACTIVATIONS, check_activation
from jflows.nn.embed import ContextTerm
from jflows.nn.mlp import BLOCK_STD, check_hidden_sizes
from jflows.ops.autoregressive import ORDERS, made_degrees, made_masks
from jflows.typing import Array

LECUN = nn.initializers.lecun_normal()


class MaskedDense(nn.Module):
    """y = x (kernel * mask) + bias, with a fixed mask: a bool array, so this layer is built inside other modules."""

    @nn.compact
    def __call__(self, x: Array, mask: np.ndarray, kernel_init: Any = LECUN) -> Array:
        kernel = self.param("kernel", kernel_init, mask.shape, x.dtype)
        bias = self.param("bias", nn.initializers.zeros, mask.shape[1:], x.dtype)
        return jnp.matmul(x, jnp.where(mask, kernel, jnp.zeros_like(kernel))) + bias


class MADE(nn.Module):
    """Autoregressive network: the parameters of input i depend only on inputs that come before i in the order.

        h_1 = act(M_1 x),  h_k = act(M_k h_{k-1}),  y = M_out h_last       [biases left out; M_k masked]

    or, with `residual`, which needs equal hidden sizes: h_1 = M_1 x, then blocks of two masked layers

        h_k = h_{k-1} + M_2k act(M_1k act(h_{k-1})),  y = M_out act(h_last)

    A context vector is mapped linearly (from zero) and added, unmasked, before each activation. The last layer starts
    at zero. Hidden units are sorted by degree: see `jflows.ops.autoregressive`, and `degrees`, which an incremental
    inverse needs. With one input the parameters depend on the context and the biases alone.

    Source: Germain et al. 2015, arXiv:1502.03509, section 4; `residual`: Nash and Durkan 2019, arXiv:1904.05626
    (ResMADE).

    Args:
      hidden_sizes: at least one layer; with `residual`, one input layer and a block for each further entry.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      order: "natural", "reversed" or "random": the order of the inputs.
      seed: of "random"; stored with the model, so the order is the same wherever it is loaded.
      residual: whether to add the residual connections.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features], with num_features =
      num_params * dim: reshaped to [*batch, num_params, dim], column i holds the parameters of input i.
    Raises:
      InvalidValueError: for an unknown activation or order, no hidden layer, unequal sizes with `residual`, or
        num_features that is not a multiple of dim.
    """

    hidden_sizes: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    order: str = "natural"
    seed: int = 0
    residual: bool = False

    def __post_init__(self):
        object.__setattr__(self, "hidden_sizes", check_hidden_sizes("MADE", self.hidden_sizes))
        check_activation("MADE", self.activation)
        check_choice("MADE", "order", self.order, ORDERS)
        if self.residual and len(set(self.hidden_sizes)) > 1:
            raise InvalidValueError("MADE", "hidden_sizes", "must be equal with residual=True", repr(self.hidden_sizes))
        super().__post_init__()

    def degrees(self, dim: int, conditional: bool = False) -> tuple[np.ndarray, ...]:
        """Degrees of the inputs and of each entry of `hidden_sizes`; `conditional` says whether there is a context."""
        return made_degrees(dim, self.hidden_sizes, self.order, self.seed, conditional)

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dim = x.shape[-1]
        if num_features % dim:
            rule = f"must be a multiple of the {dim} inputs"
            raise InvalidValueError("MADE", "num_features", rule, repr(num_features))
        degrees = self.degrees(dim, context is not None)
        masks = made_masks(degrees, num_features // dim)
        act = ACTIVATIONS[self.activation]
        h = self._hidden("hidden_0", x, masks[0], context)
        for index, mask in enumerate(masks[1:-1], 1):
            r = self._hidden(f"hidden_{index}", act(h), mask, context)
            if self.residual:
                small = nn.initializers.normal(BLOCK_STD)
                # Equal sizes have equal degrees, so the sum keeps the degree of each unit.
                h = h + MaskedDense(name=f"block_{index}")(act(r), mask, small)
            else:
                h = r
        return MaskedDense(name="output")(act(h), masks[-1], nn.initializers.zeros)

    def _hidden(self, name: str, x: Array, mask: np.ndarray, context: Array | None) -> Array:
        h = MaskedDense(name=name)(x, mask)
        if context is not None:
            h = h + ContextTerm(name=f"{name}_context")(context, h)
        return h
