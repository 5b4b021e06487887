"""All errors of jflows: five types with one form of message.

A message names the place, the settings concerned, the rule, the value received and the fix:

    AffineCoupling: `context` must have 5 features (context_dim=5); got shape (32, 3). Set context_dim=3.

An error also carries these five, and a `code`, as attributes, so that no program needs to read the sentence. Rule and
fix are templates in which a setting of the user is written {width} or {width=4}. `JflowsError.render` spells it as in
Python by default; the command line spells it as an option.

All types derive from `JflowsError`, by which the command line tells a mistake of the user (one line, exit code 2) from
a defect of jflows (a traceback). Read next: `jflows/options.py`, where most values are checked.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

_SETTING = re.compile(r"\{([a-z_][\w.]*)(?:=([^{}]*))?\}")  # {width} or {width=4} in a template

Spell = Callable[[str, str | None], str]
"""A function that writes a setting, given its name, and its value or None."""


def as_in_python(name: str, value: str | None) -> str:
    """A setting as Python writes it: "width", or "width=4"."""
    return name if value is None else f"{name}={value}"


class JflowsError(Exception):
    """Base of all errors that jflows raises on purpose; the message is one line that ends with the fix.

    Args:
      where: the function or class that raises the error.
      settings: name of the argument or setting that breaks the rule; a tuple if several break it together.
      rule: what must hold, as a template.
      got: what was received instead.
      fix: what to do, as a template.
      code: the kind of mistake, for programs; None takes the code of the class.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        where: str,
        settings: str | tuple[str, ...],
        rule: str,
        got: object = None,
        fix: str = "",
        *,
        code: str = "",
    ):
        self.where, self.rule, self.got, self.fix = where, rule, got, fix
        self.settings: tuple[str, ...] = (settings,) if isinstance(settings, str) else tuple(settings)
        self.code = code or self.default_code
        super().__init__(self.render())

    def render(self, spell: Spell = as_in_python, where: str | None = None) -> str:
        """The message, with settings spelt by `spell`, and with `where` as the place if it is given."""
        fill = lambda text: _SETTING.sub(lambda found: spell(found[1], found[2]), text)
        names = ", ".join(name if spell is as_in_python else spell(name, None) for name in self.settings)
        received = "" if self.got is None else f"; got {self.got}"
        sentence = f"{self.where if where is None else where}: `{names}` {fill(self.rule)}{received}."
        return sentence + (f" {fill(self.fix)}" if self.fix else "")

    def at(self, where: str) -> Self:
        """A copy of the error that names another place."""
        return type(self)(where, self.settings, self.rule, self.got, self.fix, code=self.code)

    def renamed(self, **names: str) -> Self:
        """The same error about settings of other names, such as `renamed(run="start_from")`."""
        settings = tuple(names.get(name, name) for name in self.settings)
        return type(self)(self.where, settings, self.rule, self.got, self.fix, code=self.code)

    def inside(self, owner: str) -> Self:
        """The same error about the settings of a part: "component" makes `component.num_layers` of `num_layers`."""
        reach = lambda text: _SETTING.sub(lambda found: found[0].replace("{", f"{{{owner}.", 1), text)
        settings = tuple(f"{owner}.{name}" for name in self.settings)
        return type(self)(self.where, settings, reach(self.rule), self.got, reach(self.fix), code=self.code)

    def __reduce__(self):
        return _rebuilt, (type(self), (self.where, self.settings, self.rule, self.got, self.fix), self.code)


class DegenerateDataWarning(UserWarning):
    """Training rows lie on a plane, or repeat their values, so that the likelihood of a flow can grow without bound."""


def _rebuilt(cls: type[JflowsError], args: tuple, code: str) -> JflowsError:
    return cls(*args, code=code)


class InvalidValueError(JflowsError, ValueError):
    """A value or a shape breaks a rule."""

    default_code = "value"


class InvalidTypeError(JflowsError, TypeError):
    """An argument is of the wrong type."""

    default_code = "type"


class DataError(JflowsError, ValueError):
    """Data or an archive is missing, damaged, of the wrong shape or out of range."""

    default_code = "data"


class RunError(JflowsError, RuntimeError):
    """A run directory is missing, in use or damaged, or a training run cannot go on."""

    default_code = "run"


class MissingPackageError(JflowsError, ImportError):
    """An optional package is missing, or cannot be imported."""

    default_code = "package"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint such as "Did you mean glow_mnist? ", or the empty string; `prefix` is shown before each name."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.55)
    return f"Did you mean {' or '.join(prefix + name for name in close)}? " if close else ""


def check_choice(where: str, argument: str, value: object, choices: Sequence[object]) -> None:
    """Raises `InvalidValueError` unless `value` is one of `choices`; the fix names those that are spelt like it."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        fix = did_you_mean(value, [name for name in choices if isinstance(name, str)]) if isinstance(value, str) else ""
        raise InvalidValueError(where, argument, f"must be one of {listed}", repr(value), fix.strip())


def check_positive(where: str, argument: str, value: float) -> None:
    """Raises `InvalidValueError` unless `value` > 0."""
    if not value > 0:
        raise InvalidValueError(where, argument, "must be positive", repr(value))


def check_key(where: str, key: Any) -> None:
    """Raises `InvalidTypeError` unless `key` is a typed key, or an array of them."""
    import jax  # here, so that `import jflows` is fast

    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        got = type(key).__name__ if dtype is None else f"{dtype} of shape {key.shape}"
        raise InvalidTypeError(where, "key", "must be a typed key", got, "Use jax.random.key(seed).")


def check_event_shape(where: str, argument: str, shape: tuple[int, ...], event_shape: tuple[int, ...], fix: str = ""):
    """Raises `InvalidValueError` unless `shape` ends with `event_shape`."""
    if len(event_shape) > len(shape) or tuple(shape[len(shape) - len(event_shape) :]) != tuple(event_shape):
        raise InvalidValueError(where, argument, f"must have event shape {tuple(event_shape)}", f"shape {shape}", fix)


def kind_of(value: object) -> str:
    """The kind of a value, for errors: "MLP" for an instance, "the class MLP; write MLP(...)" for a class."""
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}(...)"
    return type(value).__name__


def path_of(where: str, argument: str, value: Any) -> Path:
    """The path that a user has given, with ~ expanded.

    Raises:
      InvalidTypeError: if it is neither a str nor a path.
      InvalidValueError: if it is empty, or no path of this system.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidTypeError(where, argument, "must be a str or a path", "None" if value is None else kind_of(value))
    text = os.fspath(value)
    if not text.strip() or "\0" in text:
        raise InvalidValueError(where, argument, "must be a path", repr(text), "Write . for the working directory.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # of ~user, for a user who does not exist
        raise InvalidValueError(where, argument, "must name a home that exists", repr(text)) from error
