"""The dense layer that ends every conditioner of vectors; conditioners of images end with a `ZeroConv`."""

from typing import Any

from flax import linen as nn


def zero_dense(features: int, dtype: Any, name: str | None = None) -> nn.Dense:
    """A dense layer whose output starts at zero, so that a bijector starts at the map of zero parameters.

    Args:
      features: number of features of the output.
      dtype: dtype of the parameters.
      name: name of the submodule, if it is made within `nn.compact`.
    """
    return nn.Dense(features, param_dtype=dtype, kernel_init=nn.initializers.zeros, name=name)
