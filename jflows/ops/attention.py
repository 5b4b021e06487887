"""Multi-head attention of a sequence on itself."""

import math

import jax
import jax.numpy as jnp

from jflows.typing import Array


def self_attention(qkv: Array, num_heads: int, causal: bool = False) -> Array:
    """Each token takes a mean of the values of all tokens, weighted by how well their keys match its query.

        y_i = sum_j softmax_j(q_i . k_j / sqrt(width / num_heads)) v_j         [per head; j <= i if causal]

    Weights are computed in float32 or wider.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.

    Args:
      qkv: queries, keys and values side by side.
      num_heads: divides width.
      causal: whether a token sees only itself and those before it.
    Shapes:
      qkv: [*batch, tokens, 3 * width] -> [*batch, tokens, width].
    """
    *batch, tokens, features = qkv.shape
    width = features // 3
    q, k, v = jnp.moveaxis(qkv.reshape(*batch, tokens, 3, num_heads, width // num_heads), -3, 0)
    wide = jnp.promote_types(qkv.dtype, jnp.float32)
    logits = jnp.einsum("...ihc,...jhc->...hij", q, k, preferred_element_type=wide)
    logits = logits / math.sqrt(width // num_heads)
    if causal:
        logits = jnp.where(jnp.tri(tokens, dtype=bool), logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("...hij,...jhc->...ihc", weights, v).reshape(*batch, tokens, width)
