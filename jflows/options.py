"""Settings declared once: a type, a range and a sentence in the annotation, from which everything else derives.

    def realnvp(event_shape: Shape, num_layers: Annotated[int, Option("Couplings.", low=1)] = 8) -> Flow: ...

The annotation serves the type checker, the check of values (`check_call`, `Checked`), the options of the command line,
the JSON of a run and the table in the docs. Fields of dataclasses and Linen modules are declared in the same way.
Types that many classes share have names here, such as `Count` and `EventShape`. Read next:
`jflows/flows/presets/coupling.py`, which declares three presets.
"""

import dataclasses
import functools
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin

from jflows.errors import InvalidTypeError, InvalidValueError, did_you_mean, kind_of

REQUIRED = inspect.Parameter.empty
DOC_WIDTH = 112
LONGEST_VALUE = 60  # characters of a number in an error
LARGEST_INT = 2**31 - 1  # of a setting that declares no other bound: counts, sizes and steps are int32 on devices
SUM_TOLERANCE = 1e-3  # by which parts of a whole, such as columns of a simplex, may miss 1: files round
LARGEST_SEED = 2**63 - 1  # of jax.random.key
LEAST_WIDTH, MOST_WIDTH = 1e-6, 1e6  # of half an interval of a spline, whose slopes far beyond overflow float32
LINEN_FIELDS = ("parent", "name")  # fields of every Linen module that are no settings

Owner = TypeVar("Owner", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Option:
    """The meaning of one setting, and the values that it allows; for a tuple, every entry must be in the range.

    Args:
      help: a sentence that says what the setting does and what a choice costs.
      low, high: the smallest and the largest value allowed. An int without a bound is at most `LARGEST_INT` in size.
      above, below: bounds that are not allowed themselves.
      choices: the words allowed; a value that is not a word, such as a number or an object, may be anything.
      odd: whether an int must be odd.
      fewest: the smallest number of entries of a tuple.
      infinite: whether a float may be infinite.
      noun: what errors call a value of the type, such as "a network"; "" takes the name of the type.
      fix: what to do about a value of another type, or out of range.
      axes: the number of entries of a tuple; 0 allows any number.
      stands_for: what a default such as 0 stands for, which help shows in its place.
      from_data: whether the value follows from the data, such as a number of classes, and is not set by hand.
      repeatable: whether the command line takes an option of a tuple several times, and adds up the entries.
    """

    help: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    odd: bool = False
    fewest: int = 0
    infinite: bool = False
    noun: str = ""
    fix: str = ""
    axes: int = 0
    stands_for: str = ""
    from_data: bool = False
    repeatable: bool = False

    def rule(self) -> str:
        """The rule for values in words, such as "must be at least 1"; "" if every value of the type is allowed."""
        if self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}"
        odd = "odd" if self.odd else ""
        lowest, highest = (self.low, self.above), (self.high, self.below)
        if lowest == highest == (None, None):
            return f"must be {odd}" if odd else ""
        if highest == (None, None):
            one_sided = "positive" if self.above == 0 else _bound("at least", "above", *lowest)
            return "must be " + " and ".join(filter(None, (odd, one_sided)))
        if lowest == (None, None):
            return "must be " + " and ".join(filter(None, (odd, _bound("at most", "below", *highest))))
        if self.low is not None and self.high is not None:
            return f"must be {_number(self.low)} to {_number(self.high)}"
        start = f"({_number(self.above)}" if self.low is None else f"[{_number(self.low)}"
        end = f"{_number(self.below)})" if self.high is None else f"{_number(self.high)}]"
        return f"must lie in {start}, {end}"

    def allows(self, value: Any) -> bool:
        """Whether one value, or one entry of a tuple, keeps the rule."""
        if self.choices:
            return not isinstance(value, str) or value in self.choices
        return (
            (not self.odd or value % 2 == 1)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


@dataclasses.dataclass(frozen=True)
class Setting:
    """One declared setting of a function or a dataclass.

    Attributes:
      name: name of the argument or field.
      type: the annotation without its `Option`.
      option: the `Option`, an empty one if none was declared.
      default: the default value; `REQUIRED` if there is none.
    """

    name: str
    type: Any
    option: Option
    default: Any

    def check(self, where: str, value: Any) -> None:
        """Raises `InvalidTypeError` or `InvalidValueError` unless the setting allows the value."""
        if not _is_of(value, self.type):
            rule = f"must be {self.option.noun or in_words(self.type)}"
            raise InvalidTypeError(where, self.name, rule, _received(value), self.option.fix or _instead(value, self))
        if value is None or isinstance(value, bool):
            return
        entries = value if isinstance(value, tuple) else (value,)
        if len(entries) < self.option.fewest:
            fewest = f"{self.option.fewest} {'entry' if self.option.fewest == 1 else 'entries'}"
            raise InvalidValueError(where, self.name, f"must hold at least {fewest}", repr(value), self.option.fix)
        if self.option.axes and len(entries) != self.option.axes:
            rule = f"must be {self.option.noun}" if self.option.noun else f"must hold {self.option.axes} entries"
            raise InvalidValueError(where, self.name, rule, repr(value), self.option.fix)
        for entry in entries:
            if isinstance(entry, int | float) and not self.option.infinite and not self._is_finite(entry):
                raise InvalidValueError(where, self.name, "must be finite", _shortened(repr(value)), self.option.fix)
            if isinstance(entry, int) and self.option.high is None and not self._is_in_reach(entry):
                rule = f"must be at {'most ' if entry > 0 else 'least -'}{LARGEST_INT}"
                raise InvalidValueError(where, self.name, rule, _shortened(repr(value)), self.option.fix)
            if isinstance(entry, int | float | str) and not self.option.allows(entry):
                near = did_you_mean(entry, self.option.choices).strip() if isinstance(entry, str) else ""
                fix = near or self.option.fix
                raise InvalidValueError(where, self.name, self._range(value), _shortened(repr(value)), fix)

    def _is_finite(self, number: float) -> bool:
        """Whether a number is finite, as a float if the setting takes floats."""
        try:
            return (not isinstance(number, float) and not _may_be_float(self.type)) or math.isfinite(number)
        except OverflowError:  # an int that no float reaches
            return False

    def _is_in_reach(self, number: int) -> bool:
        return abs(number) <= LARGEST_INT or _may_be_float(self.type)

    def _range(self, value: Any) -> str:
        rule = self.option.rule()
        return rule.replace("must be", "must have entries that are", 1) if isinstance(value, tuple) else rule


@functools.cache
def settings_of(owner: Callable[..., Any]) -> tuple[Setting, ...]:
    """The settings that a function, a dataclass or a Linen module declares, in order."""
    hints = _hints(owner)
    if isinstance(owner, type):
        fields = [field for field in dataclasses.fields(owner) if field.init]
        if set(LINEN_FIELDS) <= {field.name for field in fields}:  # a Linen module; others may have a `name` of theirs
            fields = [field for field in fields if field.name not in LINEN_FIELDS]
        pairs = [(field.name, _field_default(field)) for field in fields]
    else:
        parameters = inspect.signature(owner).parameters.values()
        pairs = [(p.name, p.default) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return tuple(Setting(name, *_unpacked(hints.get(name, Any)), default) for name, default in pairs)


def check_call(where: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raises unless the declared settings of a function allow the given arguments."""
    for setting in settings_of(function):
        if setting.name in arguments:
            setting.check(where, arguments[setting.name])


def checked(function: Owner) -> Owner:
    """Checks the arguments that are declared with an `Option` whenever the function is called; a decorator.

    Other arguments, such as arrays, are left to the function. An integer of NumPy counts as an int.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for setting in settings_of(function):
            if setting.name in given and setting.option != Option():
                value = given[setting.name]
                setting.check(function.__name__, value.item() if _is_numpy_integer(value) else value)
        return function(*args, **kwargs)

    return typing.cast(Owner, run)


def _is_numpy_integer(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and value.dtype.kind in "iu"


class Checked:
    """Base of dataclasses and Linen modules whose fields are checked by their annotations when they are made.

    Lists become tuples first. A subclass checks relations between fields, which an annotation cannot express, in
    `_check`, after types and ranges; it sets nothing there, as copies are not checked, and keeps `__post_init__` as is.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuses names of settings that there are not, which a dataclass would in the words of its `__init__`."""
        fields = getattr(cls, "__dataclass_fields__", kwargs)
        if args and len(args) > len(settings_of(cls)):  # the next field of a Linen module would be its parent
            rule, got = f"takes {len(settings_of(cls))} settings by position at most", f"{len(args)}"
            raise InvalidTypeError(cls.__name__, "arguments", rule, got, "Name them, or leave them out.")
        for name in kwargs:
            if name not in fields or not getattr(fields[name], "init", True):
                known = [setting.name for setting in settings_of(cls)]
                rule = f"is not a setting of {cls.__name__}, which has {', '.join(known) or 'none'}"
                raise InvalidTypeError(cls.__name__, name, rule, None, did_you_mean(name, known).strip())
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs: Any):
        if "_check" in cls.__dict__:
            cls._check.nowrap = True  # Linen would make it a method of bound modules, and a named scope
        super().__init_subclass__(**kwargs)

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
        """Hook of subclasses, which raises if the fields do not fit together."""


Count = Annotated[int, Option(low=1)]
Counts = Annotated[tuple[int, ...], Option(low=1, fewest=1)]
OddCount = Annotated[int, Option(low=1, odd=True)]
Ndims = Annotated[int, Option(low=1)]
EventShape = Annotated[tuple[int, ...], Option(low=1)]
NumBits = Annotated[int, Option(low=1, high=16)]
Seed = Annotated[int, Option(low=0, high=LARGEST_SEED)]
AtLeastTwo = Annotated[int, Option(low=2)]
NotNegative = Annotated[int, Option(low=0)]
Positive = Annotated[float, Option(above=0)]
Fraction = Annotated[float, Option(above=0, below=1)]
Temperature = Annotated[float, Option(low=0)]
HalfWidth = Annotated[float, Option(low=LEAST_WIDTH, high=MOST_WIDTH)]


def in_words(hint: Any) -> str:
    """A type in words, such as "an int" or "a tuple of ints or None"."""
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
    if origin is Callable:
        return "a preset"
    name = {float: "number", str: "str"}.get(hint, getattr(hint, "__name__", str(hint)))
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


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
    if get_origin(hint) in (Union, types.UnionType):  # such as Count | None
        options = [_unpacked(arg)[1] for arg in get_args(hint)]
        return hint, next((option for option in options if option != Option()), Option())
    if get_origin(hint) is not Annotated:
        return hint, Option()
    base, *extra = get_args(hint)
    return base, next((item for item in extra if isinstance(item, Option)), Option())


def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError:  # a class of the user's that names a type which exists inside a function only
        found = [inspect.get_annotations(each) for each in reversed(getattr(owner, "__mro__", (owner,)))]
        return {name: hint for each in found for name, hint in each.items() if not isinstance(hint, str)}


def _field_default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return REQUIRED if field.default_factory is dataclasses.MISSING else field.default_factory()


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list) else value


def _bound(inclusive: str, exclusive: str, closed: float | None, open_: float | None) -> str:
    return f"{exclusive} {_number(open_)}" if closed is None else f"{inclusive} {_number(closed)}"


def _number(value: float | None) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _may_be_float(hint: Any) -> bool:
    """Whether a number of this type may be a float."""
    return hint is float or any(map(_may_be_float, get_args(hint)))


def _instead(value: Any, setting: Setting) -> str:
    """What to write instead of a value of the wrong type, where that can be told."""
    if get_origin(setting.type) is tuple and type(value) in (int, str):
        entries = get_args(setting.type)
        num = max(1, setting.option.axes, setting.option.fewest) if Ellipsis in entries else len(entries)
        return f"Write {(value,) * num}." if _is_of((value,) * num, setting.type) else ""
    for entry in value if isinstance(value, tuple) else (value,):
        if not isinstance(entry, type) and getattr(type(entry), "belongs", ""):
            return type(entry).belongs
    return ""


def _shortened(text: str) -> str:
    """A number of hundreds of digits, so that an error remains one line that a person can read."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:12]}... of {len(text)} characters"


def _received(value: Any) -> str:
    if isinstance(value, tuple | list) and value and not all(isinstance(entry, int | float | str) for entry in value):
        return f"({', '.join(map(_received, value))})"
    plain = value is None or isinstance(value, int | float | str | tuple | list)
    return repr(value) if plain else kind_of(value)


def documented(owner: Owner) -> Owner:
    """Adds the help of all declared settings to the docstring of a function or dataclass; a decorator.

    The signature that `help` shows then has the plain types.
    """
    lines = []
    for setting in settings_of(owner):
        default = "" if setting.default is REQUIRED else f" Default: {default_in_words(setting)}."
        rule = setting.option.rule()
        text = f"{setting.name}: {setting.option.help}{f' It {rule}.' if rule else ''}{default}"
        lines += textwrap.wrap(text, DOC_WIDTH, initial_indent="  ", subsequent_indent="    ")
    owner.__signature__ = _plain_signature(owner)  # pyright: ignore[reportFunctionMemberAccess]
    section = "\n".join(["Args:", *lines])
    owner.__doc__ = f"{inspect.cleandoc(owner.__doc__ or '')}\n\n{section}\n"
    return owner


def shown(value: Any) -> str:
    """A default value as documentation shows it: a preset by its name, any other value as Python writes it."""
    return getattr(value, "__name__", repr(value))


def default_in_words(setting: Setting) -> str:
    """The default of a setting as documentation shows it, or what it stands for."""
    return setting.option.stands_for or shown(setting.default)


def _plain_signature(owner: Callable[..., Any]) -> inspect.Signature:
    """The signature with types and defaults, without the sentences of the options."""
    signature, types_of = inspect.signature(owner), {setting.name: setting.type for setting in settings_of(owner)}
    parameters = [p.replace(annotation=types_of.get(p.name, p.annotation)) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters)
