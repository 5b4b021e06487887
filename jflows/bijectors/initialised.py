"""Holds the inputs of a bijector to those of its `init`: sizes, and whether there is a context."""

import contextlib
from collections.abc import Iterator

import jax.numpy as jnp
from flax import errors
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jflows.errors import InvalidValueError
from jflows.typing import Array


@contextlib.contextmanager
def as_initialised(
    module: nn.Module, argument: str, value: Array, context: Array | None, batch_ndims: int
) -> Iterator[None]:
    """Raises `InvalidValueError`, in terms of the arguments, where Flax finds parameters of another shape or none.

    A context that is left out is told by parameters that only a context needs: all modules of jflows name those
    "context". A conditioner of your own is helped if it does so too.
    """
    where = type(module).__name__
    if context is not None and context.ndim <= batch_ndims and jnp.issubdtype(context.dtype, jnp.floating):
        rule = f"must have its features on axes of their own, after the {batch_ndims} batch axes of {argument}"
        raise InvalidValueError(where, "context", rule, _shape(context), "Write context[..., None] for one feature.")
    if context is None and module.scope is not None and not module.scope.path and not module.is_initializing():
        names = {part for path in flatten_dict(module.variables.get("params", {})) for part in path}
        if any("context" in name for name in names):
            raise InvalidValueError(where, "context", "must be given, as at `init`", None, "Pass context=...")
    try:
        yield
    except errors.ScopeParamShapeError as error:
        of_context = "context" in _parameter(error)
        argument, got = ("context", _shape(context)) if of_context else (argument, _shape(value))
        rule = f"must have the sizes that it had at `init`, by parameter {_parameter(error)}"
        raise InvalidValueError(where, argument, rule, got, "Or call `init` again with such data.") from error
    except errors.ScopeParamNotFoundError as error:
        if "context" in _parameter(error):
            rule, fix = "must be None, as at `init`", "Leave it out, or call `init` with a context."
            raise InvalidValueError(where, "context", rule, _shape(context), fix) from error
        rule = f"must hold parameter {_parameter(error)}"
        fix = "Pass what `init` of this bijector has returned."
        raise InvalidValueError(where, "variables", rule, None, fix) from error


def check_channels(module: nn.Module, channels: int, stored: Array) -> Array:
    """Returns a stored array [channels]; Flax compares the shapes of parameters only, not of other collections.

    Raises:
      InvalidValueError: if the data have another number of channels than at `init`.
    """
    if stored.shape != (channels,):
        rule = f"must have {stored.shape[0]} channels, as at `init`"
        fix = "Or call `init` again with such data."
        raise InvalidValueError(type(module).__name__, "last axis", rule, f"{channels}", fix)
    return stored


def _parameter(error: errors.FlaxError) -> str:
    """Path of the parameter that Flax's message names first, in quotes, and then its scope."""
    _, name, _, scope, _ = str(error).split('"', 4)
    return f"{scope.strip('/')}/{name}".lstrip("/")


def _shape(value: Array | None) -> str:
    return "None" if value is None else f"shape {value.shape}"
