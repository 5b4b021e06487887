"""Checks that the inputs of a module are like those of its `init`: their sizes, and whether there is a context.

The input that differs is found by abstractly computing what `init` would create for the present inputs, so that nothing
depends on the names of layers or parameters.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jflows.errors import InvalidValueError
from jflows.modules import variables_known
from jflows.typing import Array, Shape, Variables

MISFITS = (
    errors.ScopeCollectionNotFound,
    errors.ScopeParamNotFoundError,
    errors.ScopeParamShapeError,
    errors.ScopeVariableNotFoundError,
)
_RECORDS = ("intermediates",)  # collections that `apply` writes and `init` need not
PARAMETER = "parameter"  # how a leaf of "params" is called

Init = Callable[[Any, Any], Variables]
"""A function from a value and a context (or None) to the variables that `init` creates; it is traced, never run."""


def refuse_misfit(
    error: Exception, where: str, init: Init, variables: Variables, argument: str, value: Any, context: Any
) -> NoReturn:
    """Raises one of Flax's errors about missing or misshapen variables anew, as an error about the arguments.

    Args:
      error: one of `MISFITS`.
      where: the class or function that raises the error.
      init: gives the variables that `init` creates for a value and a context of given shapes.
      variables: the variables that were passed.
      argument: name of the value.
      value: the value, or its shape and dtype.
      context: the context, or its shape and dtype, or None.
    Raises:
      InvalidValueError: naming `argument`, `context` or `variables`, whichever is not as it was at `init`.
    """
    received = {argument: _shape(value), "context": _shape(context)}
    _refuse(error, where, _Difference(init, variables, value, context), received)


def refuse_misfit_of(
    error: Exception, module: nn.Module, argument: str, value: Array, context: Array | None, x_event_shape: Shape
) -> NoReturn:
    """`refuse_misfit` for one direction of a running bijector, given its value [*batch, *event]: z or x."""
    received = {argument: _shape(value), "context": _shape(context)}
    batch_ndims = value.ndim - (module.x_event_ndims if argument == "x" else module.z_event_ndims)
    _refuse(error, type(module).__name__, _of_events(module, value, context, x_event_shape, batch_ndims), received)


def check_context(
    module: nn.Module, argument: str, value: Array, context: Array | None, x_event_shape: Shape, batch_ndims: int
) -> None:
    """Raises `InvalidValueError` for a context without axes of its own, and for none where `init` had one."""
    where = type(module).__name__
    if context is not None and context.ndim <= batch_ndims and jnp.issubdtype(context.dtype, jnp.floating):
        rule = f"must have its features on axes of their own, after the {batch_ndims} batch axes of {argument}"
        raise InvalidValueError(where, "context", rule, _shape(context), "Write context[..., None] for one feature.")
    if context is None:
        difference = _of_events(module, value, None, x_event_shape, batch_ndims)
        unread = difference.unread()
        if unread and not difference.missing():  # else they are the variables of another bijector
            rule, fix = "must be given, as at `init`", "Pass context=..."
            raise InvalidValueError(where, "context", rule, f"None, which leaves {unread[0]} without use", fix)


def _of_events(
    module: nn.Module, value: Array, context: Array | None, x_event_shape: Shape, batch_ndims: int
) -> "_Difference":
    """The variables of a running bijector, beside those that `init` creates for one event."""
    unbound, variables = module.unbind()
    given = None if context is None else _Example(context.shape[batch_ndims:], context.dtype)
    return _Difference(_Init(unbound), variables, _Example(tuple(x_event_shape), value.dtype), given)


def _refuse(error: Exception, where: str, difference: "_Difference", received: Mapping[str, str]) -> NoReturn:
    """Raises in terms of the arguments; the error itself if it has another cause."""
    argument = next(iter(received))
    missing, misshapen = difference.missing(), difference.misshapen()
    again = "Pass this size again, or the variables that `init` returned for the new one, by the same options."
    if missing and difference.fits_without_context():
        fix = "Leave it out, or call `init` with a context."
        raise InvalidValueError(where, "context", "must be None, as at `init`", received["context"], fix) from error
    if missing:
        fix = "Pass what `init` has returned."
        raise InvalidValueError(where, "variables", f"must hold {missing[0]}", None, fix) from error
    if misshapen:
        blamed = "context" if difference.is_of_context(misshapen) else argument
        rule = f"must have the sizes that it had at `init`, by {misshapen[0]}"
        raise InvalidValueError(where, blamed, rule, received[blamed], again) from error
    raise error


@dataclasses.dataclass(frozen=True)
class _Example:
    """One event. What `init` creates depends on its shape, hardly on its dtype: results are shared between dtypes."""

    event_shape: Shape
    dtype: Any = dataclasses.field(compare=False)

    @property
    def struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *self.event_shape), self.dtype)


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of an unbound bijector."""

    module: nn.Module

    def __call__(self, x: Any, context: Any) -> Variables:
        return self.module.init(jax.random.key(0), x, context, method="inverse_and_log_det")


@dataclasses.dataclass(frozen=True)
class _Difference:
    """Variables that were passed, beside those that `init` creates for the inputs."""

    init: Init
    variables: Variables
    value: Any
    context: Any

    def _wanted(self, context: Any) -> dict[str, Shape] | None:
        return _created(self.init, self.value, context)

    def missing(self) -> list[str]:
        """What `init` creates and was not passed."""
        wanted, given = self._wanted(self.context) or {}, _shapes(self.variables)
        return sorted((name for name in wanted if name not in given), key=lambda name: not name.startswith(PARAMETER))

    def misshapen(self) -> list[str]:
        """What was passed in another shape."""
        wanted, given = self._wanted(self.context) or {}, _shapes(self.variables)
        return [name for name in wanted if given.get(name, wanted[name]) != wanted[name]]

    def unread(self) -> list[str]:
        """What was passed and `init` does not create."""
        given = _shapes(self.variables)
        wanted = self._wanted(self.context) if given else None
        return [] if wanted is None else [name for name in given if name not in wanted]

    def fits_without_context(self) -> bool:
        """Whether the variables are exactly those of the value alone."""
        return self.context is not None and self._wanted(None) == _shapes(self.variables)

    def is_of_context(self, names: list[str]) -> bool:
        """Whether the shapes of all these follow from that of the context."""
        if self.context is None:
            return False
        wanted, wider = self._wanted(self.context), self._wanted(_wider(self.context))
        return wanted is not None and wider is not None and all(wanted[name] != wider.get(name) for name in names)


def _wider(context: Any) -> Any:
    """A context with one feature more."""
    if isinstance(context, _Example):
        return _Example((*context.event_shape[:-1], (*context.event_shape, 0)[-1] + 1), context.dtype)
    shape = jnp.shape(context)
    return jax.ShapeDtypeStruct((*shape[:-1], (*shape, 0)[-1] + 1), jnp.result_type(context))


def _created(init: Init, value: Any, context: Any) -> dict[str, Shape] | None:
    """Names and shapes of what `init` creates; None if it refuses such inputs."""
    try:
        hash((init, value, context))
    except TypeError:  # arrays, or a bijector of the user's with such fields
        return _traced(init, value, context)
    return _remembered(init, value, context)


def _traced(init: Init, value: Any, context: Any) -> dict[str, Shape] | None:
    structs = [given.struct if isinstance(given, _Example) else given for given in (value, context)]
    try:
        with variables_known():
            return _shapes(jax.eval_shape(init, *structs))
    except Exception:  # a guess at inputs need not be one that the code of a user takes
        return None


_remembered = functools.lru_cache(maxsize=1024)(_traced)


def _shapes(variables: Variables) -> dict[str, Shape]:
    """By the names of the leaves, such as "parameter layers_0/raw"."""
    named = {}
    leaves: Any = flatten_dict(dict(variables))
    for path, leaf in leaves.items():
        if path[0] not in _RECORDS:
            kind = PARAMETER if path[0] == "params" else path[0]
            named[f"{kind} {'/'.join(map(str, path[1:]))}"] = jnp.shape(leaf)
    return named


def _shape(value: Any) -> str:
    return "None" if value is None else f"shape {jnp.shape(value)}"
