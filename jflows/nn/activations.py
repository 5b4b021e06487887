"""Activation functions by name, since module fields are plain values that can be stored as JSON."""

from collections.abc import Callable
from typing import Annotated

import jax

from jflows.ops.conv import relu
from jflows.ops.narrow import COMPUTE_DTYPES, narrow
from jflows.options import Option
from jflows.typing import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": relu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jax.numpy.tanh,
}

Activation = Annotated[str, Option(choices=tuple(ACTIVATIONS))]
"""The type of a field that names an activation function."""

ComputeDtype = Annotated[str, Option(choices=COMPUTE_DTYPES)]
"""The type of a field that says in which type a network computes, see `jflows.ops.narrow`."""


def activated(name: str, h: Array, compute_dtype: str) -> Array:
    """The activation function of this name in the type of computing, which what it stores for derivatives has too."""
    return ACTIVATIONS[name](narrow(h, compute_dtype))
