"""Networks of time and state, which give the velocity of a `Continuous`."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import ACTIVATIONS, Activation
from jflows.options import Counts
from jflows.typing import Array


class TimeMLP(Module):
    """A velocity field v(t, x, context): dense layers that time gates and shifts; the last one starts at zero.

        h' = act((W h + b) * sigmoid(a t + c) + d t)

    A context vector is mapped linearly (from zero) and added before each activation.

    Source: Grathwohl et al. 2019, arXiv:1810.01367, published code ("concatsquash").

    Args:
      hidden_sizes: units of each hidden layer, at least one.
      activation: a name in `jflows.nn.ACTIVATIONS`. Smooth ones ("silu", "softplus", "tanh") let the solver take large
        steps.
    Shapes:
      t: scalar or [*batch], x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, dim].
    Raises:
      InvalidValueError: for an unknown activation or no hidden layer.
    """

    hidden_sizes: Counts = (64, 64)
    activation: Activation = "silu"

    @nn.compact
    def __call__(self, t: Array, x: Array, context: Array | None = None) -> Array:
        dim, dtype = x.shape[-1], jnp.result_type(x)
        t = jnp.asarray(t, dtype)[..., None]
        zeros = nn.initializers.zeros
        for index, size in enumerate(self.hidden_sizes):
            gate = nn.Dense(size, param_dtype=dtype, name=f"gate_{index}")(t)
            drift = nn.Dense(size, use_bias=False, param_dtype=dtype, name=f"drift_{index}")(t)
            x = nn.Dense(size, param_dtype=dtype, name=f"hidden_{index}")(x) * jax.nn.sigmoid(gate) + drift
            if context is not None:
                x = x + ContextTerm(name=f"context_{index}")(context, x)
            x = ACTIVATIONS[self.activation](x)
        return nn.Dense(dim, kernel_init=zeros, param_dtype=dtype, name="output")(x)
