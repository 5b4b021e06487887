"""Conditioners for vectors: the multilayer perceptron and its residual form."""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import Activation, ComputeDtype, Dense, activated, zero_dense
from jflows.ops.angles import with_periodic
from jflows.options import Count, Counts, Option
from jflows.typing import Array

Circles = Annotated[tuple[int, ...], Option(low=0)]
"""The type of a field that says which inputs are angles."""
BLOCK_STD = 1e-3  # a block starts near zero, so that depth does not change the scale of h


class MLP(Module):
    """Dense layers with an activation between them; the last one starts at zero.

    A context vector is mapped linearly (from zero) and added before each activation.

    Args:
      hidden_sizes: units of each hidden layer, at least one.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      circles: which inputs are angles of period 2 pi, of which the network sees cosine and sine.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for an unknown activation or no hidden layer.
    """

    is_autoregressive = False  # `MaskedAutoregressive` refuses it

    hidden_sizes: Counts = (128, 128)
    activation: Activation = "relu"
    circles: Circles = ()
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype, x = jnp.result_type(x), with_periodic(x, self.circles) if self.circles else x
        for index, size in enumerate(self.hidden_sizes):
            own = {"bias_init": spread(x.shape[-1]), "name": f"hidden_{index}"}
            x = Dense(size, dtype, self.compute_dtype, **own)(x)
            if context is not None:
                x = x + ContextTerm(compute_dtype=self.compute_dtype, name=f"context_{index}")(context, x)
            x = activated(self.activation, x, self.compute_dtype)
        return zero_dense(num_features, dtype, "output", self.compute_dtype)(x)


class ResidualMLP(Module):
    """Dense residual blocks with the activation before each product; the last layer starts at zero.

        h_0 = W_0 x + b_0
        h_k = h_{k-1} + W_2k act(W_1k act(h_{k-1}))             k = 1..num_blocks
        y   = W_out act(h_last) + b_out                          [biases of the blocks left out]

    A context vector is mapped linearly (from zero) and added to h_0 and inside each block; with `gated`, it multiplies
    each block instead, by sigmoid(V_k context + v_k).

    Source: He et al. 2016, arXiv:1603.05027 (the blocks), as Durkan et al. 2019, arXiv:1906.04032, use them; the gate
    is of their published code. Differs: the output starts at zero, and there is no batch norm or dropout.

    Args:
      width: number of features of every h_k.
      num_blocks: number of residual blocks, at least 1.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      gated: whether the context enters the blocks as a gate (GLU) instead of a term.
      circles: which inputs are angles of period 2 pi, of which the network sees cosine and sine.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features].
    Raises:
      InvalidValueError: for an unknown activation, or a width or number of blocks below 1.
    """

    is_autoregressive = False  # `MaskedAutoregressive` refuses it

    width: Count = 128
    num_blocks: Count = 2
    activation: Activation = "relu"
    gated: bool = False
    circles: Circles = ()
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        dtype, low, x = jnp.result_type(x), self.compute_dtype, with_periodic(x, self.circles)
        act = functools.partial(activated, self.activation, compute_dtype=low)
        h = Dense(self.width, dtype, low, bias_init=spread(x.shape[-1]), name="input")(x)
        if context is not None:
            h = h + ContextTerm(compute_dtype=low, name="context")(context, h)
        for index in range(self.num_blocks):
            r = Dense(self.width, dtype, low, name=f"block_{index}_in")(act(h))
            if context is not None and not self.gated:
                r = r + ContextTerm(compute_dtype=low, name=f"block_{index}_context")(context, r)
            small = nn.initializers.normal(BLOCK_STD)
            r = Dense(self.width, dtype, low, kernel_init=small, name=f"block_{index}_out")(act(r))
            if context is not None and self.gated:
                gate = zero_dense(self.width, dtype, f"block_{index}_context_gate", low)(context.astype(dtype))
                r = r * jax.nn.sigmoid(gate)
            h = h + r
        return zero_dense(num_features, dtype, "output", low)(act(h))


def spread(num_inputs: int) -> nn.initializers.Initializer:
    """Initial biases: uniform in +-1 / sqrt(num_inputs), as in PyTorch.

    With biases of zero all units bend at x = 0. Where x is one coordinate, as in couplings of the plane, nothing else
    tells them apart but the sign of a weight.
    """
    bound = num_inputs**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
