"""Contexts brought to mean 0 and deviation 1."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.typing import Array


class StandardizeContext(nn.Module):
    """(context - mean) / deviation; temporary."""

    @nn.compact
    def use(self, mean, deviation, dtype) -> None:
        """Sets the statistics."""
        self.variable("constants", "mean", lambda: jnp.asarray(mean, dtype))
        self.variable("constants", "deviation", lambda: jnp.asarray(deviation, dtype))

    @nn.compact
    def __call__(self, context: Array) -> Array:
        """-> the same shape."""
        axes = tuple(range(context.ndim - 1))
        mean = self.variable("constants", "mean", lambda: jnp.mean(context, axes)).value
        deviation = self.variable(
            "constants", "deviation", lambda: jnp.std(context, axes) if context.ndim > 1 else jnp.ones(context.shape)
        ).value
        return (context - mean) / deviation
