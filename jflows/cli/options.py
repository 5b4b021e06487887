"""Makes the options of the command line from those that the parts of a recipe declare; none is declared here."""

import types
from typing import Any, Union, get_args, get_origin

import click

from jflows.cli.words import flag
from jflows.options import REQUIRED, Setting
from jflows.runs.recipe import Recipe, RecipeOption

NONE = "none"
"""The word for None on the command line."""
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "words"}
_METAVARS = {int: "INTEGER", float: "NUMBER", bool: "BOOLEAN", str: "TEXT"}
_HEADINGS = {"flow": "The flow", "data": "The data", "loss": "The loss", "train": "Training"}


class RecipeParameter(click.Option):
    """An option of `jflows train` that sets an option of the recipe; `group` is the part that declares it."""

    group: str = ""


class Value(click.ParamType):
    """A value of a declared type. Text of another type is refused here; the library refuses values out of range."""

    def __init__(self, setting: Setting, choices: tuple[str, ...] = ()):
        self.setting, self.choices = setting, choices or setting.option.choices
        self.name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that a text stands for."""
        if not isinstance(value, str):
            return value
        try:
            return parse(value, self.setting.type)
        except ValueError:
            self.fail(f"{value!r} must be {in_words(self.setting.type)}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The choices, or the type, as help shows them."""
        return "|".join(map(str, self.choices)) if self.choices else "|".join(_metavars(self.setting.type))


def options_of(recipe: Recipe) -> list[click.Option]:
    """One command-line option for each option of a recipe; None means that the user has not given it."""
    return [option_of(option) for option in recipe.options().values()]


def destination(name: str) -> str:
    """The name of a recipe's option as a Python argument, such as component__num_layers."""
    return name.replace(".", "__")


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Writes the help of a command's options, in one section for each part of the recipe."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            rows.setdefault(getattr(param, "group", ""), []).append(record)
    for group, records in sorted(rows.items(), key=lambda item: ["", *_HEADINGS].index(item[0])):
        with formatter.section(_HEADINGS.get(group, "Options")):
            formatter.write_dl(records)


def parse(text: str, hint: Any) -> Any:
    """The value of a given type that a text such as "none", "8", "8,16" or "0.5" stands for.

    Raises:
      ValueError: if the text cannot be read as this type.
    """
    for kind in sorted(_alternatives(hint), key=_order):
        try:
            return _parsed(text, kind)
        except ValueError:
            continue
    raise ValueError(text)


def parse_values(text: str, option: RecipeOption) -> tuple[Any, ...]:
    """The values of a sweep, separated by commas, or by semicolons if the values hold commas themselves.

    Raises:
      ValueError: if a value is of another type than the option.
    """
    tuples = any(get_origin(kind) is tuple for kind in _alternatives(option.setting.type))
    parts = text.split(";" if ";" in text or (tuples and not _scalar(option.setting.type)) else ",")
    return tuple(part.strip() if option.choices else parse(part.strip(), option.setting.type) for part in parts)


def in_words(hint: Any) -> str:
    """A type in words, such as "a whole number or none"."""
    found = []
    for kind in sorted(_alternatives(hint), key=_order):
        if kind is type(None):
            found.append("none")
        elif get_origin(kind) is tuple:
            found.append(_several(_entry(kind))[0])
        else:
            found.append(_WORDS[kind])
    return " or ".join(found)


def show(value: Any) -> str:
    """A value in the form in which it is written on the command line."""
    if value is None:
        return NONE
    if isinstance(value, tuple):
        if len(value) > 1 and isinstance(value[0], str) and not any(isinstance(entry, str) for entry in value[1:]):
            return f"{value[0]}={','.join(f'{entry:g}' for entry in value[1:])}"  # a column with numbers
        nested = any(isinstance(entry, tuple) for entry in value)
        return (";" if nested else ",").join(map(show, value)) or "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else "empty"


def option_of(option: RecipeOption) -> click.Option:
    """The command-line option of a declared setting; None means that the user has not given it."""
    name, declared = flag(option.name), option.setting.option
    rule = "" if declared.choices else declared.rule().removeprefix("must be ")
    missing = option.value is REQUIRED or (option.name == "data" and not option.value)
    as_declared = declared.stands_for and option.value == option.setting.default
    default = "must be given" if missing else f"default: {declared.stands_for if as_declared else show(option.value)}"
    help = f"{declared.help} [{default}{'; ' if rule else ''}{rule}]"
    where = destination(option.name)
    if bool in _alternatives(option.setting.type):
        made = RecipeParameter([f"{name}/--no-{name[2:]}", where], default=None, help=help)
    elif declared.repeatable:
        settings: Any = {"multiple": True, "callback": _added_up}
        made = RecipeParameter([name, where], type=Value(option.setting), default=None, help=help, **settings)
    else:
        made = RecipeParameter([name, where], type=Value(option.setting, option.choices), default=None, help=help)
    made.group = option.group
    return made


def _added_up(ctx: click.Context, param: click.Parameter, values: Any) -> Any:
    """The entries of all times that an option was given; None if it was not."""
    del ctx, param
    return tuple(entry for value in values for entry in value) if values else None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union that can be written: None, bool, int, float, str, and tuples of these."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    known = tuple(kind for kind in kinds if kind in _WORDS or kind is type(None) or get_origin(kind) is tuple)
    return known or (str,)


def _order(kind: Any) -> int:
    """Text last, as anything can be text."""
    kinds = (type(None), bool, int, float)
    return kinds.index(kind) if kind in kinds else len(kinds) + (kind is str)


def _parsed(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() != NONE:
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in ("true", "false", "on", "off"):
            raise ValueError(text)
        return text.lower() in ("true", "on")
    if get_origin(kind) is tuple:
        entry = _entry(kind)
        parts = [part.strip() for part in text.split(";" if _is_range(entry) or _is_group(entry) else ",")]
        return tuple(_parsed_entry(part, entry) for part in parts if text.strip())
    return kind(text)


def _entry(kind: Any) -> Any:
    """The type of the entries of a tuple; of a column, which may be given by name or position, its name."""
    entry = get_args(kind)[0]
    kinds = set(_alternatives(entry))
    return str if kinds == {str, int} else entry


def _is_range(entry: Any) -> bool:
    """Whether an entry is a column with numbers, written share=0,1."""
    return get_origin(entry) is tuple and float in _alternatives(get_args(entry)[0])


def _is_group(entry: Any) -> bool:
    """Whether an entry is several columns, written a,b,c."""
    return get_origin(entry) is tuple and not _is_range(entry)


def _parsed_entry(text: str, entry: Any) -> Any:
    if _is_range(entry):
        column, equals, numbers = text.rpartition("=")
        if not equals or not column.strip():
            raise ValueError(text)
        return (column.strip(), *(float(number) for number in numbers.split(",")))
    return _parsed(text, entry)


def _several(entry: Any) -> tuple[str, str]:
    """Several entries of a type in words, and in capitals."""
    if _is_range(entry):
        return "a column with numbers, such as share=0,1", "COLUMN=NUMBER[,NUMBER]"
    if _is_group(entry):
        return "columns separated by commas, such as a,b,c", "COLUMN,COLUMN[,COLUMN...]"
    words = f"{_SEVERAL[entry]} separated by commas, such as {_sample(entry)}"
    return words, f"{_METAVARS[entry]}[,{_METAVARS[entry]}...]"


def _scalar(hint: Any) -> bool:
    """Whether a single value may be given instead of a tuple."""
    return any(kind in (int, float, str) for kind in _alternatives(hint))


def _metavars(hint: Any) -> list[str]:
    found = []
    for kind in sorted(_alternatives(hint), key=_order):
        if kind is type(None):
            continue
        if get_origin(kind) is tuple:
            found.append(_several(_entry(kind))[1])
        else:
            found.append(_METAVARS[kind])
    return found


def _sample(kind: Any) -> str:
    return {int: "8,16", float: "0.5,0.5"}.get(kind, "a,b")
