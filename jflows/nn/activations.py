"""Activations by name, since module fields are plain values that can be stored as JSON."""

from collections.abc import Callable

import jax

from jflows.errors import check_choice
from jflows.ops.conv import relu
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


def check_activation(where: str, name: str) -> None:
    """Raises `InvalidValueError` unless `name` is a key of `ACTIVATIONS`."""
    check_choice(where, "activation", name, tuple(ACTIVATIONS))
