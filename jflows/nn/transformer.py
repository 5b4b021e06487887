"""The transformer as a conditioner, for couplings over tokens, vectors and images, and if causal for autoregression."""

from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn

from jflows.errors import InvalidValueError
from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layer_norm import LayerNorm
from jflows.nn.layers import Activation, ComputeDtype, Dense, activated, zero_dense
from jflows.ops.attention import self_attention
from jflows.ops.numerics import narrow
from jflows.ops.reshape import squeeze, unsqueeze
from jflows.options import Count, Option
from jflows.typing import Array

POSITION_STD = 0.02  # of learned positions, as of the weights in most transformers


class Transformer(Module):
    """Pre-norm transformer blocks over tokens with learned positions; the last layer starts at zero.

        h = W x + position + context term
        h = h + V attention(norm(h));  h = h + MLP(norm(h))                    [depth times]
        y = W_out norm(h)

    `event_ndims` decides what a token is, and the shape of the output:

    | event_ndims | x | a token | output |
    |---|---|---|---|
    | 1 | [*batch, dim] | one number | [*batch, num_features] |
    | 2 | [*batch, tokens, features] | one row | [*batch, tokens, num_features] |
    | 3 | [*batch, height, width, channels] | a patch, in raster order | [*batch, height, width, num_features] |

    With `causal`, the output of token i depends only on tokens before i, as the sequence is shifted by one. For vectors
    num_features is then num_params * dim, in the layout of `MADE`; without `causal`, the output layer reads all tokens
    of a vector at once.

    Source: Vaswani et al. 2017, arXiv:1706.03762; as a coupling's conditioner, Kolesnikov et al. 2024,
    arXiv:2412.15129 (Jet); causal, Zhai et al. 2024, arXiv:2412.06329 (TarFlow).

    Args:
      width: number of features of a token inside the network, a multiple of num_heads.
      depth: number of blocks, at least 1.
      num_heads: number of heads of the attention.
      event_ndims: 1, 2 or 3.
      causal: whether the output of a token sees only the tokens before it.
      patch_size: side of the square patches of images; 1 for single pixels.
      mlp_ratio: number of hidden features of a block's MLP, as a multiple of width.
      activation: activation function of the blocks' MLPs, a name in `jflows.nn.ACTIVATIONS`.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x and output: as above; context: [*batch, context_dim] or None. The number of tokens is fixed at `init`.
    Raises:
      InvalidValueError: for an unknown activation or event_ndims, sizes below 1, heads that do not divide the width,
        patches that do not divide the image, or (causal, event_ndims=1) num_features that is not a multiple of dim.
    """

    width: Count = 128
    depth: Count = 2
    num_heads: Count = 4
    event_ndims: Annotated[int, Option(low=1, high=3)] = 2
    causal: bool = False
    patch_size: Count = 1
    mlp_ratio: Count = 4
    activation: Activation = "gelu"
    compute_dtype: ComputeDtype = "full"

    def _check(self) -> None:
        check_heads("Transformer", self.num_heads, self.width)

    @property
    def is_autoregressive(self) -> bool:
        """Whether `MaskedAutoregressive` may use it."""
        return self.causal

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        if self.event_ndims == 1:
            return self._vector(x, num_features, context)
        if self.event_ndims == 2:
            return zero_dense(num_features, jnp.result_type(x), "output", self.compute_dtype)(self._hidden(x, context))
        if any(side % self.patch_size for side in x.shape[-3:-1]):
            rule = f"must have a height and width that are multiples of patch_size={self.patch_size}"
            raise InvalidValueError("Transformer", "x", rule, f"shape {x.shape}")
        patches = squeeze(x, self.patch_size)
        h = self._hidden(patches.reshape(*patches.shape[:-3], -1, patches.shape[-1]), context)
        y = zero_dense(num_features * self.patch_size**2, jnp.result_type(x), "output", self.compute_dtype)(h)
        return unsqueeze(y.reshape(*patches.shape[:-1], -1), self.patch_size)

    def _vector(self, x: Array, num_features: int, context: Array | None) -> Array:
        dim = x.shape[-1]
        h = self._hidden(x[..., None], context)
        if not self.causal:
            return zero_dense(num_features, jnp.result_type(x), "output", self.compute_dtype)(
                h.reshape(*x.shape[:-1], -1)
            )
        if num_features % dim:
            rule = f"must be a multiple of the {dim} inputs"
            raise InvalidValueError("Transformer", "num_features", rule, repr(num_features))
        y = zero_dense(num_features // dim, jnp.result_type(x), "output", self.compute_dtype)(h)
        return y.swapaxes(-1, -2).reshape(*x.shape[:-1], num_features)

    def _hidden(self, tokens: Array, context: Array | None) -> Array:
        """[*batch, tokens, features] -> [*batch, tokens, width]."""
        dtype = jnp.result_type(tokens)
        h = Dense(self.width, dtype, self.compute_dtype, name="input")(tokens)
        if self.causal:  # shifted before the positions are added, which tell the first token where it stands
            h = jnp.concatenate([jnp.zeros_like(h[..., :1, :]), h[..., :-1, :]], axis=-2)
        h = h + self.param("position", nn.initializers.normal(POSITION_STD), h.shape[-2:], dtype)
        if context is not None:
            h = h + ContextTerm(compute_dtype=self.compute_dtype, name="context")(context, h)
        for index in range(self.depth):
            h = self._block(f"block_{index}", h)
        return LayerNorm(name="norm")(h)

    def _block(self, name: str, h: Array) -> Array:
        dtype = h.dtype

        def dense(features: int, part: str) -> Dense:
            return Dense(features, dtype, self.compute_dtype, name=f"{name}_{part}")

        qkv = dense(3 * self.width, "qkv")(LayerNorm(name=f"{name}_attention_norm")(h))
        seen = self_attention(narrow(qkv, self.compute_dtype), self.num_heads, self.causal)
        h = h + dense(self.width, "attention")(seen)
        r = dense(self.mlp_ratio * self.width, "mlp_in")(LayerNorm(name=f"{name}_mlp_norm")(h))
        return h + dense(self.width, "mlp_out")(activated(self.activation, r, self.compute_dtype))


def check_heads(where: str, num_heads: int, width: int) -> None:
    """Raises `InvalidValueError` unless `num_heads` divides `width`."""
    if width % num_heads:
        raise InvalidValueError(where, "num_heads", f"must divide width={width}", repr(num_heads))
