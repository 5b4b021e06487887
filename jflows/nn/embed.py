"""Embeddings of contexts: labels or vectors are embedded once for the whole flow, and then added to hidden layers."""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.core import Tracer

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.modules import Module
from jflows.nn.layers import ACTIVATIONS, Activation, ComputeDtype, Dense
from jflows.options import Count, Option
from jflows.typing import Array


class ClassEmbed(Module):
    """Turns class labels into one-hot vectors, so that a linear map of them learns one vector per class.

    Args:
      num_classes: number of classes, at least 2; labels are 0..num_classes - 1.
    Shapes:
      labels: integer [*batch] -> [*batch, num_classes].
    Raises:
      InvalidTypeError: if the labels are not integers.
      InvalidValueError: for a label out of range.
    Numerics: under a transformation, where labels are not known, one out of range gives a vector of NaN.
    """

    num_classes: Annotated[int, Option(low=2)]

    def __call__(self, labels: Array) -> Array:
        """Maps labels to one-hot vectors, float32."""
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise InvalidTypeError("ClassEmbed", "context", "must hold integer class labels", f"{labels.dtype}")
        known = (labels >= 0) & (labels < self.num_classes)
        if not isinstance(known, Tracer) and not jnp.all(known):
            rule = f"must hold class labels 0 to {self.num_classes - 1}"
            raise InvalidValueError("ClassEmbed", "context", rule, f"{labels[~known][0]}")
        one_hot = jnp.asarray(labels[..., None] == jnp.arange(self.num_classes), jnp.float32)
        return jnp.where(known[..., None], one_hot, jnp.nan)


class ContextEmbed(Module):
    """Maps a context vector by dense layers, once for the whole flow; for the field `embed` of a `Flow`.

    Its output does not start at zero, as the `ContextTerm`s that read it do, and two zeros in a row would never learn.

    Args:
      features: size of the embedding, at least 1.
      hidden_sizes: widths of the hidden layers; () for a linear map.
      activation: a name in `jflows.nn.ACTIVATIONS`.
    Shapes:
      context: [*batch, context_dim] -> [*batch, features].
    Raises:
      InvalidValueError: for an unknown activation or a size below 1.
      InvalidTypeError: if the context is not of a floating type.
    """

    features: Count
    hidden_sizes: Annotated[tuple[int, ...], Option(low=1)] = (64,)
    activation: Activation = "silu"

    @nn.compact
    def __call__(self, context: Array) -> Array:
        """Maps context vectors to embedded vectors of the same dtype."""
        dtype = jnp.result_type(context)
        if not jnp.issubdtype(dtype, jnp.floating):
            rule, fix = "must hold floating numbers", "Use ClassEmbed for class labels."
            raise InvalidTypeError("ContextEmbed", "context", rule, f"{dtype}", fix)
        for index, size in enumerate(self.hidden_sizes):
            context = Dense(size, dtype, name=f"hidden_{index}")(context)
            context = ACTIVATIONS[self.activation](context)
        return Dense(self.features, dtype, name="output")(context)


class ContextTerm(Module):
    """A linear map of the context, to be added to a hidden layer.

    A context that is an image itself is resized to the layer's height and width, so that one image conditions all
    levels of a multi-scale flow.

    Args:
      from_zero: whether the map starts at zero, so that a new network ignores the context. Units that see nothing but
        the context must not start at zero: a ReLU that gets 0 has no gradient, and never learns.
      compute_dtype: type of its product, see `jflows.ops.numerics`.
    Shapes:
      context: [*batch, context_dim], like: [*batch, *space, features] -> [*batch, 1.., features];
      context: [*batch, any height, any width, channels], like: [*batch, height, width, features] -> as `like`.
    """

    from_zero: bool = True
    compute_dtype: ComputeDtype = "full"

    @nn.compact
    def __call__(self, context: Array, like: Array) -> Array:
        if context.ndim == like.ndim and context.shape[:-1] != like.shape[:-1]:
            if like.ndim < 4 or context.shape[:-3] != like.shape[:-3]:
                rule = f"must have the batch shape of the values, which are {like.shape[:-1]} here"
                raise InvalidValueError("ContextTerm", "context", rule, f"shape {context.shape}", "Broadcast it first.")
            size = (*context.shape[:-3], *like.shape[-3:-1], context.shape[-1])
            context = jax.image.resize(context, size, "linear")
        init = nn.initializers.zeros if self.from_zero else nn.initializers.lecun_normal()
        own = (like.shape[-1], like.dtype, self.compute_dtype)
        dense = Dense(*own, use_bias=False, kernel_init=init, name="Dense_0")
        term = dense(context.astype(like.dtype))
        return term.reshape(*term.shape[:-1], *(1,) * (like.ndim - term.ndim), like.shape[-1])
