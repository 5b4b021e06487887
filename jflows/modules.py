"""Shared by all Linen modules of jflows: checks of fields, a walk through modules, and checks of networks.

A network of your own may be any Linen module. Read next: `jflows/options.py`, where fields are declared.
"""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Self

from flax import linen as nn

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.options import LINEN_FIELDS, Checked, Option
from jflows.typing import Array

Network = Annotated[nn.Module, Option(noun="a network, a Flax Linen module such as jflows.nn.MLP()")]
"""The type of a field that holds a network."""
_IS_COPY = contextvars.ContextVar("is_copy", default=False)  # while Linen copies a module that was checked
_CHECKED = "_is_checked"  # an attribute, no field: of a module that was checked
_OF_LINEN = {*LINEN_FIELDS, "_deep_clone", "_reset_names"}  # arguments of `clone` that are no settings
_KNOWN = contextvars.ContextVar("known", default=False)  # inside a module whose variables have been looked at


class Module(Checked, nn.Module):
    """A Linen module whose fields are checked by their annotations when it is made: see `jflows.options.Checked`.

    Linen copies a module for every run, and prepares it once more in each place that takes it in: neither is checked,
    unless a field has been set anew.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """As `Checked`, but for copies."""
        return object.__new__(cls) if _IS_COPY.get() else super().__new__(cls, *args, **kwargs)

    def __post_init__(self):
        if _IS_COPY.get() or _CHECKED in self.__dict__:
            nn.Module.__post_init__(self)
        else:
            super().__post_init__()
        object.__setattr__(self, _CHECKED, True)

    @nn.nowrap
    def __setattr__(self, name: str, value: Any):
        super().__setattr__(name, value)
        if _CHECKED in self.__dict__ and name in self.__dataclass_fields__ and name not in LINEN_FIELDS:
            object.__delattr__(self, _CHECKED)

    @nn.nowrap
    def clone(self, **changes: Any) -> Self:
        """A copy, which is checked if it has other settings than were checked; see `flax.linen.Module.clone`."""
        token = _IS_COPY.set(_CHECKED in self.__dict__ and not changes.keys() - _OF_LINEN)
        try:
            return super().clone(**changes)
        finally:
            _IS_COPY.reset(token)


@contextlib.contextmanager
def variables_known() -> Iterator[None]:
    """Inside the block, bijectors do not look for a missing context, as the variables of a larger module are known."""
    token = _KNOWN.set(True)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def is_outermost(module: nn.Module) -> bool:
    """Whether the variables of a running module are all that its caller has passed to `apply`."""
    return module.scope is not None and not module.scope.path and not _KNOWN.get() and not module.is_initializing()


def held_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules in the fields of a module, in order, each under the name that Linen gives its variables."""
    for name in module.__dataclass_fields__:
        if name not in LINEN_FIELDS:
            yield from _held(name, getattr(module, name))


def _held(name: str, value: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module):
        yield name, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _held(f"{name}_{index}", item)


def stated(module: nn.Module, name: str, default: Any) -> Any:
    """What a module states about itself by an attribute; `default` for one that is silent, as your networks may be.

    | attribute | of a module that | if it is silent |
    |---|---|---|
    | `event_ndims` | reads events of so many axes | any |
    | `is_autoregressive` | is, or is not, autoregressive, for bijectors that need it | it is trusted to be |
    | `is_restricted` | is not defined for all real numbers | False |
    | `needs_key` | draws noise, from the Linen stream "noise" | False |
    | `allows_invertible_backprop` | can be replayed: no mutable state, no numerical inverse | True |
    """
    return getattr(module, name, default)


def check_takes(where: str, argument: str, network: nn.Module, *parameters: str) -> None:
    """Raises `InvalidTypeError` unless a network can be called with these parameters, by position."""
    while isinstance(network, nn.Sequential) and network.layers and isinstance(network.layers[0], nn.Module):
        network = network.layers[0]  # it gets what the whole is called with
    call = inspect.getattr_static(type(network), "__call__", None)
    if inspect.isfunction(call) and _takes(call, len(parameters)):
        return
    written = f"__call__{_parameters(call)}" if inspect.isfunction(call) else "no __call__"
    rule, got = f"must be called as {argument}({', '.join(parameters)})", f"{type(network).__name__} with {written}"
    own = ", ".join(("self", *parameters)) + ("=None" if parameters[-1] == "context" else "")
    raise InvalidTypeError(where, argument, rule, got, f"Write __call__({own}).")


def check_conditioner(where: str, argument: str, network: nn.Module, event_ndims: int) -> None:
    """Raises unless a network can be called as a conditioner, and is for events of `event_ndims` axes if it says so."""
    check_takes(where, argument, network, "x", "num_features", "context")
    wanted = stated(network, "event_ndims", event_ndims)
    if wanted != event_ndims:
        got = f"{type(network).__name__} with event_ndims={wanted} where events have {event_ndims}"
        fix = "Set both to one number, or take another network: other axes would be taken for the batch."
        raise InvalidValueError(where, argument, "must be for events of the same axes", got, fix)


def check_channels(module: nn.Module, channels: int, stored: Array) -> Array:
    """Returns a stored array [channels]; Flax compares the shapes of parameters only, not of other collections.

    Raises:
      InvalidValueError: if the data have another number of channels than at `init`.
    """
    if stored.shape != (channels,):
        rule = f"must have {stored.shape[0]} channels, as at `init`"
        fix = "Pass data of this size, or call `init` again with these."
        raise InvalidValueError(type(module).__name__, "last axis", rule, f"{channels}", fix)
    return stored


@functools.cache
def _takes(call: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(call).bind(None, *range(count))
    except TypeError:
        return False
    return True


def _parameters(call: Callable[..., Any]) -> str:
    """The parameters without `self`, annotations and defaults."""
    names = [f"{'*' * (p.kind is p.VAR_POSITIONAL)}{p.name}" for p in inspect.signature(call).parameters.values()]
    return f"({', '.join(names[1:])})"
