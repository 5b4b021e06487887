"""Types of values on the command line that several commands share: paths, seeds, counts, checkpoints."""

from typing import Any

import click

from jflows.errors import InvalidValueError, did_you_mean, path_of
from jflows.options import LARGEST_INT, LARGEST_SEED

SEED = click.IntRange(0, LARGEST_SEED)
COUNT = click.IntRange(1, LARGEST_INT)


class PathType(click.ParamType):
    """A path, in which ~ is expanded; the empty text is none, where click would take the working directory.

    Args:
      suffixes: the suffixes that a file may have; any if there are none.
    """

    name = "path"

    def __init__(self, *suffixes: str):
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that a text stands for."""
        try:
            path = path_of("", "", value)
        except InvalidValueError as error:
            self.fail(f"{error.rule}; got {error.got}. {error.fix}".strip(), param, ctx)
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            self.fail(f"must end in {' or '.join(self.suffixes)}; got {str(path)!r}.", param, ctx)
        if self.suffixes and path.is_dir():
            self.fail(f"must be a file to write, not a folder; got {str(path)!r}.", param, ctx)
        return path


class ChoiceType(click.Choice):
    """One of several words; the error for another one suggests the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The message for a word that is none of them."""
        hint = did_you_mean(str(value), [str(choice) for choice in self.choices]).strip()
        return f"{super().get_invalid_choice_message(value, ctx).removesuffix('.')}. {hint}".strip()


class CheckpointType(click.ParamType):
    """auto, latest, best, or a step."""

    name = "auto|latest|best|STEP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The word, or the step as an int."""
        if value in ("auto", "latest", "best") or isinstance(value, int):
            return value
        if str(value).isdecimal() and len(str(value)) < 20:
            return int(value)
        self.fail(f"{value!r} must be auto, latest, best or a step.", param, ctx)


class NumberType(click.FloatRange):
    """A finite number of a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number that a text stands for."""
        number = super().convert(value, param, ctx)
        if number != number or number in (float("inf"), -float("inf")):
            self.fail(f"{value} must be finite.", param, ctx)
        return number

    def _describe_range(self) -> str:
        """For help; click writes a range without bounds as x<=None."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class NumbersType(NumberType):
    """Finite numbers of a range, separated by commas; a tuple."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers that a text stands for."""
        parts = value if isinstance(value, tuple) else str(value).split(",")
        return tuple(super(NumbersType, self).convert(part, param, ctx) for part in parts)
