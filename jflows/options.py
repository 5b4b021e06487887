"""Settings declared once: a type, a range and a sentence in the annotation, from which everything else derives.

    def realnvp(event_shape: Shape, num_layers: Annotated[int, Option("Couplings.", low=1)] = 8) -> Flow: ...

The annotation serves the type checker, the check of values (`check_call`, `Checked`), the options of the command line,
the JSON of a run and the table in the docs. Fields of dataclasses and Linen modules are declared in the same way.
Read next: `jflows/flows/presets/vectors.py`, which shows it at work.
"""

import dataclasses
import functools
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of

REQUIRED = inspect.Parameter.empty
_LINEN_FIELDS = ("parent", "name")
_LATER_SECTIONS = re.compile(r"^(Shapes|Returns|Raises|Numerics|Examples?):$", re.MULTILINE)
_WIDTH = 116  # of a docstring's lines

Owner = TypeVar("Owner", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Option:
    """What one setting means, and which values it takes; of a tuple, the range holds for every entry.

    Args:
      help: a sentence that says what the setting does and what a choice costs.
      low, high: smallest and largest value allowed.
      above, below: bounds that are not allowed themselves.
      choices: the values of a word.
      infinite: whether a float may be infinite.
      from_data: the value follows from the data, such as a number of classes, so that nobody sets it by hand.
    """

    help: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    infinite: bool = False
    from_data: bool = False

    def rule(self) -> str:
        """What must hold, in words; "" if every value of the type will do."""
        if self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}"
        bounds = (self.low, self.above, self.high, self.below)
        if bounds == (None, 0, None, None):
            return "must be positive"
        parts = [
            f"{word} {value:g}"
            for word, value in zip(("at least", "above", "at most", "below"), bounds, strict=True)
            if value is not None
        ]
        return f"must be {' and '.join(parts)}" if parts else ""

    def allows(self, value: Any) -> bool:
        """Whether one value (an entry, of a tuple) keeps the rule."""
        if self.choices:
            return value in self.choices
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


@dataclasses.dataclass(frozen=True)
class Setting:
    """One declared setting of a function or a dataclass.

    Attributes:
      name: of the argument or field.
      type: the annotation without its `Option`.
      option: the `Option`, an empty one if none was declared.
      default: `REQUIRED` if there is none.
    """

    name: str
    type: Any
    option: Option
    default: Any

    def check(self, where: str, value: Any) -> None:
        """Raises `InvalidTypeError` or `InvalidValueError` unless the value may be given."""
        if not _is_of(value, self.type):
            raise InvalidTypeError(where, self.name, f"must be {in_words(self.type)}", _received(value))
        if value is None or isinstance(value, bool):
            return
        entries = value if isinstance(value, tuple) else (value,)
        for entry in entries:
            if isinstance(entry, float) and not self.option.infinite and not math.isfinite(entry):
                raise InvalidValueError(where, self.name, "must be finite", repr(value))
            if isinstance(entry, int | float | str) and not self.option.allows(entry):
                raise InvalidValueError(where, self.name, self.option.rule(), repr(value))


@functools.cache
def settings_of(owner: Callable[..., Any]) -> tuple[Setting, ...]:
    """The settings that a function or a dataclass declares, in order; of a Linen module, its fields."""
    hints = _hints(owner)
    if isinstance(owner, type):
        fields = [f for f in dataclasses.fields(owner) if f.init and f.name not in _LINEN_FIELDS]
        pairs = [(field.name, _field_default(field)) for field in fields]
    else:
        parameters = inspect.signature(owner).parameters.values()
        pairs = [(p.name, p.default) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return tuple(Setting(name, *_unpacked(hints.get(name, Any)), default) for name, default in pairs)


def check_call(where: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Checks the arguments given to a function against its declarations."""
    for setting in settings_of(function):
        if setting.name in arguments:
            setting.check(where, arguments[setting.name])


def documented(owner: Owner) -> Owner:
    """Decorator: writes the declared settings into the docstring of a function or a dataclass, as its "Args" section.

    The section holds every setting that has a sentence, with its rule and its default. It stands before "Shapes",
    "Returns", "Raises", "Numerics" and "Example"; a docstring that has an "Args" section gets the settings at its end.
    Of a dataclass, it goes above `@dataclass`.

    Example:
      >>> @documented
      ... def blur(width: Annotated[int, Option("Pixels that are averaged; more cost time.", low=1)] = 3):
      ...     "Blurs an image."
      >>> print(blur.__doc__)
      Blurs an image.
      <BLANKLINE>
      Args:
        width: Pixels that are averaged; more cost time. It must be at least 1. The default is 3.
      <BLANKLINE>
    """
    text = inspect.cleandoc(owner.__doc__ or "")
    # Not from the cache: a name that the module defines later would be missing in it for good.
    entries = "\n".join(_entry(setting) for setting in settings_of.__wrapped__(owner) if setting.option.help)
    later = _LATER_SECTIONS.search(text)
    head, tail = (text[: later.start()], text[later.start() :]) if later else (text, "")
    title = "" if re.search(r"^Args:$", head, re.MULTILINE) else "\nArgs:\n"
    owner.__doc__ = f"{head.rstrip()}\n{title}{entries}\n{tail}"
    return owner


class Checked:
    """A dataclass, or Linen module, whose fields are checked by their annotations when it is made.

    Lists become tuples first. A subclass checks what a single annotation cannot say, relations between fields, in
    `_check`, which may rely on every type and range; it never overrides `__post_init__`.
    """

    def __post_init__(self):
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            if isinstance(value, list):
                value = _as_tuple(value)
                object.__setattr__(self, setting.name, value)
            setting.check(type(self).__name__, value)
        after = getattr(super(), "__post_init__", None)  # that of Linen
        if after is not None:
            after()
        self._check()

    def _check(self) -> None:
        """Hook: raises if the fields do not fit together."""


def in_words(hint: Any) -> str:
    """A type in words: "an int", "a tuple of ints or None"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return in_words(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(arg) for arg in args)
    if origin is tuple:
        inner = in_words(args[0]).split(" ", 1)[-1] if args and args[0] is not Any else "value"
        return f"a tuple of {inner}s" if len(args) != 2 or args[1] is Ellipsis else f"a tuple ({inner}, ...)"
    if hint is type(None):
        return "None"
    name = {float: "number", str: "str"}.get(hint, getattr(hint, "__name__", str(hint)))
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _entry(setting: Setting) -> str:
    """One setting as a paragraph of a docstring."""
    rule = setting.option.rule()
    parts = [f"{setting.name}: {setting.option.help}", f"It {rule}." if rule else ""]
    parts.append("" if setting.default is REQUIRED else f"The default is {setting.default!r}.")
    sentence = " ".join(part for part in parts if part)
    return textwrap.fill(sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; annotations that say nothing about values allow all."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_of(value, args[0])
    if origin in (Union, types.UnionType):
        return any(_is_of(value, arg) for arg in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_is_of(entry, args[0]) for entry in value)
        return len(value) == len(args) and all(_is_of(entry, arg) for entry, arg in zip(value, args, strict=True))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (Any, object):
        return True
    if hint is None:
        return value is None
    if origin is not None or not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return True  # callables, protocols, mappings: what they hold is checked where it is used
    return isinstance(value, hint)


def _unpacked(hint: Any) -> tuple[Any, Option]:
    if get_origin(hint) is not Annotated:
        return hint, Option()
    base, *extra = get_args(hint)
    return base, next((item for item in extra if isinstance(item, Option)), Option())


def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError:  # a class of the user's that names a type which exists inside a function only
        return {name: hint for name, hint in inspect.get_annotations(owner).items() if not isinstance(hint, str)}


def _field_default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return REQUIRED if field.default_factory is dataclasses.MISSING else field.default_factory()


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list) else value


def _received(value: Any) -> str:
    plain = value is None or isinstance(value, int | float | str | tuple | list)
    return repr(value) if plain else kind_of(value)
