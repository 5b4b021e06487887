"""`preset`: what makes a function a preset, whose signature is the one declaration of its options.

Read next: `jflows/flows/presets/coupling.py`, three presets.
"""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jflows.errors import InvalidTypeError, InvalidValueError, did_you_mean
from jflows.flows.density import Density
from jflows.options import check_call, documented

P = ParamSpec("P")
DensityT = TypeVar("DensityT", bound=Density)

PRESETS: dict[str, Callable[..., Density]] = {}
"""All presets by their name, yours included."""


def preset(function: Callable[P, DensityT]) -> Callable[P, DensityT]:
    """Declares a preset, a function `(event_shape, **options) -> Density`; a decorator.

    Every parameter is written `name: Annotated[type, Option("A sentence.", range)] = default`, or by an alias of
    `jflows/flows/presets/shared.py`. From this derive the check of values before the function runs, its docstring's
    arguments, the options of the command line, the JSON of a run and the table in docs/presets.md. Lists are taken as
    tuples.

    A preset of your own takes part in recipes and on the command line once the module that declares it is imported.

    Raises:
      InvalidValueError: if another preset has that name.
    Example:
      >>> import jflows
      >>> jflows.realnvp((2,), num_layers=2.5)
      Traceback (most recent call last):
      jflows.errors.InvalidTypeError: realnvp: `num_layers` must be an int; got 2.5.
    """
    signature, name = inspect.signature(function), getattr(function, "__name__", "preset")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> DensityT:
        unknown = [key for key in kwargs if key not in signature.parameters]
        if unknown:
            rule = f"is not an option of {name}, which has {', '.join(signature.parameters)}"
            raise InvalidTypeError(name, unknown[0], rule, None, did_you_mean(unknown[0], signature.parameters).strip())
        bound = signature.bind(*args, **kwargs)
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in bound.arguments.items()}
        if isinstance(given["event_shape"], int):
            got, fix = repr(given["event_shape"]), f"Write ({given['event_shape']},)."
            raise InvalidTypeError(name, "event_shape", "must be a tuple", got, fix)
        check_call(name, function, given)
        bound.arguments.update(given)
        return function(*bound.args, **bound.kwargs)

    known = PRESETS.setdefault(name, checked)
    if known.__module__ != checked.__module__:
        rule = f"must have a free name; {name} is a preset of {known.__module__}"
        raise InvalidValueError("preset", "function", rule, checked.__module__, "Rename it.")
    PRESETS[name] = documented(checked)
    return checked
