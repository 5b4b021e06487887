"""`StandardizeContext`: brings contexts in any units to mean 0 and deviation 1."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.ops import affine
from jflows.typing import Array


class StandardizeContext(nn.Module):
    """Subtracts the mean of each feature of the context and divides by its deviation; for `embed` of a `Flow`.

        y = (context - mean) * exp(log_scale),   log_scale = -log(deviation)

    Mean and scale are `constants`, never trained. They are those of the contexts that `init` sees, or better those of
    all data, which a module that knows them passes to `use` in its `init`. A constant feature keeps scale 1. Initial
    weights of networks are made for inputs of about 1; without this map, a context of mean 5000 would drown all else.

    Shapes:
      context: [*batch, context_dim] -> the same. `constants`: mean [context_dim], log_scale [context_dim].
    Raises:
      InvalidTypeError: if the context is not of a floating type.
      InvalidValueError: if the context has another number of features than at `init`.
    """

    def __call__(self, context: Array) -> Array:
        """Maps context vectors to standardised vectors of the same dtype."""
        context = jnp.asarray(context)
        if not jnp.issubdtype(context.dtype, jnp.floating):
            rule, fix = "must hold floating numbers", "Use ClassEmbed for class labels."
            raise InvalidTypeError("StandardizeContext", "context", rule, f"{context.dtype}", fix)
        mean, log_scale = self._mean_and_log_scale(functools.partial(affine.whitening, context))
        if mean.shape != context.shape[-1:]:
            rule, got = f"must have {mean.shape[0]} features, as at `init`", f"shape {context.shape}"
            raise InvalidValueError("StandardizeContext", "context", rule, got)
        return affine.scaled(context - mean, log_scale)

    def use(self, mean: Array | np.ndarray, deviation: Array | np.ndarray, dtype) -> None:
        """Sets the statistics instead of taking those of the first batch; called in `init` before any context.

        Args:
          mean: mean of each feature.
          deviation: standard deviation of each feature; where it is 0 up to rounding, the scale stays 1.
          dtype: dtype of the stored constants, which is that of the contexts.
        Shapes:
          mean, deviation: [context_dim].
        Raises:
          InvalidValueError: if the two differ in shape, or are not finite, or a deviation is negative.
        """
        affine.check_statistics("StandardizeContext.use", mean, deviation)
        self._mean_and_log_scale(functools.partial(affine.whitening_by, mean, deviation, dtype))

    @nn.compact
    def _mean_and_log_scale(self, whitening: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
        first = functools.cache(whitening)
        mean = self.variable("constants", "mean", lambda: -first()[0]).value
        return mean, self.variable("constants", "log_scale", lambda: first()[1]).value
