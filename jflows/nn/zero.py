"""The dense layer that every conditioner of vectors ends with; `ZeroConv` in `convnet.py` is that of images."""

from typing import Any

from flax import linen as nn


def zero_dense(features: int, dtype: Any, name: str | None = None) -> nn.Dense:
    """A dense layer whose output starts at zero, so that a new flow starts at a harmless map.

    Args:
      features: of the output.
      dtype: of its parameters.
      name: of the submodule, called within `nn.compact`.
    """
    return nn.Dense(features, param_dtype=dtype, kernel_init=nn.initializers.zeros, name=name)
