"""How a context reaches a network: class labels become vectors, vectors become an added term."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.typing import Array


class ClassEmbed(nn.Module):
    """Class labels as one-hot vectors: a linear map of them is a learned vector per class.

    Args:
      num_classes: at least 2; labels are 0..num_classes - 1.
    Shapes:
      labels: integer [*batch] -> [*batch, num_classes].
    Raises:
      InvalidTypeError: if the labels are not integers.
    Numerics: a label out of range gives a vector of zeros, that is, no class. `jflows.data` checks the range.
    """

    num_classes: int

    def __post_init__(self):
        if self.num_classes < 2:
            raise InvalidValueError("ClassEmbed", "num_classes", "must be at least 2", repr(self.num_classes))
        super().__post_init__()

    def __call__(self, labels: Array) -> Array:
        """Labels -> one-hot vectors, float32."""
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise InvalidTypeError("ClassEmbed", "context", "must hold integer class labels", f"{labels.dtype}")
        return jnp.asarray(labels[..., None] == jnp.arange(self.num_classes), jnp.float32)


class ContextTerm(nn.Module):
    """A linear map of the context, from zero, to be added to a hidden layer.

    Shapes:
      context: [*batch, context_dim], like: [*batch, *space, features] -> [*batch, 1.., features].
    """

    @nn.compact
    def __call__(self, context: Array, like: Array) -> Array:
        dense = nn.Dense(like.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, param_dtype=like.dtype)
        term = dense(context.astype(like.dtype))
        return term.reshape(*term.shape[:-1], *(1,) * (like.ndim - term.ndim), like.shape[-1])
