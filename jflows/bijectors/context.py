"""`moved_by_context`: makes parameters of a bijector depend on the context, as amortised flows need."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from jflows.typing import Array


def moved_by_context(params: Mapping[str, Array], context: Array | None) -> dict[str, Array]:
    """Adds to every parameter a linear map of the context that starts at zero; without a context, changes nothing.

    Call it inside an `nn.compact` method: the linear map is one `Dense` of that module, named "context".

    Shapes:
      params: any shapes [...], context: [*batch, context_dim] -> [*batch, ...].
    """
    if context is None:
        return dict(params)
    sizes = [value.size for value in params.values()]
    dtype = next(iter(params.values())).dtype
    dense = nn.Dense(sum(sizes), use_bias=False, kernel_init=nn.initializers.zeros, param_dtype=dtype, name="context")
    terms = jnp.split(dense(context.astype(dtype)), [sum(sizes[:k]) for k in range(1, len(sizes))], axis=-1)
    return {
        name: value + term.reshape(*term.shape[:-1], *value.shape)
        for (name, value), term in zip(params.items(), terms, strict=True)
    }
