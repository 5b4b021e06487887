"""Settings declared once: what an annotation allows, what it says, and what derives from it."""

import dataclasses
import math
from typing import Annotated, Any

import pytest

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.options import REQUIRED, Checked, Option, check_call, documented, in_words, settings_of


@dataclasses.dataclass(frozen=True)
class Settings(Checked):
    """Some settings."""

    count: Annotated[int, Option("How many there are.", low=1)]
    rate: Annotated[float, Option("A rate that is never 0.", above=0, below=1)] = 0.5
    kind: Annotated[str, Option("Which kind.", choices=("a", "b"))] = "a"
    sizes: Annotated[tuple[int, ...], Option("Sizes of the layers.", low=1)] = (1,)
    limit: Annotated[float, Option("A limit that may be infinite.", infinite=True)] = math.inf
    either: int | tuple[int, ...] | None = None
    anything: Any = None
    flag: bool = False

    def _check(self) -> None:
        if self.count > 99 and self.flag:
            raise InvalidValueError("Settings", ("count", "flag"), "must not be large together", self.count)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"count": 2.5}, InvalidTypeError, "Settings: `count` must be an int; got 2.5."),
        ({"count": True}, InvalidTypeError, "Settings: `count` must be an int; got True."),
        ({"count": "3"}, InvalidTypeError, "Settings: `count` must be an int; got '3'."),
        ({"count": 0}, InvalidValueError, "Settings: `count` must be at least 1; got 0."),
        ({"rate": 0}, InvalidValueError, "Settings: `rate` must be above 0 and below 1; got 0."),
        ({"rate": math.nan}, InvalidValueError, "Settings: `rate` must be finite; got nan."),
        ({"rate": False}, InvalidTypeError, "Settings: `rate` must be a number; got False."),
        ({"kind": "c"}, InvalidValueError, "Settings: `kind` must be one of 'a', 'b'; got 'c'."),
        ({"sizes": 3}, InvalidTypeError, "Settings: `sizes` must be a tuple of ints; got 3."),
        ({"sizes": (1, 0)}, InvalidValueError, r"Settings: `sizes` must be at least 1; got \(1, 0\)."),
        ({"sizes": (1, 2.5)}, InvalidTypeError, r"Settings: `sizes` must be a tuple of ints; got \(1, 2.5\)."),
        ({"either": "x"}, InvalidTypeError, "`either` must be an int or a tuple of ints or None; got 'x'."),
        ({"flag": 1}, InvalidTypeError, "Settings: `flag` must be a bool; got 1."),
        ({"count": 100, "flag": True}, InvalidValueError, "`count, flag` must not be large together; got 100."),
    ],
)
def test_values_that_an_annotation_does_not_allow(settings, error, message):
    with pytest.raises(error, match=message):
        Settings(**{"count": 1} | settings)


def test_values_that_an_annotation_allows():
    found = Settings(2, rate=0.25, sizes=[3, 4], limit=math.inf, either=[1], anything=object)
    assert (found.sizes, found.either) == ((3, 4), (1,))  # lists become tuples
    assert Settings(1, limit=3).limit == 3  # an int is a number


def test_a_function_is_checked_like_a_dataclass():
    def build(shape: tuple[int, ...], width: Annotated[int, Option(low=1)] = 3) -> None: ...

    check_call("build", build, {"shape": (1,), "width": 4})
    with pytest.raises(InvalidValueError, match="build: `width` must be at least 1; got 0."):
        check_call("build", build, {"width": 0})
    found = {setting.name: setting for setting in settings_of(build)}
    assert found["shape"].default is REQUIRED
    assert (found["width"].default, found["width"].type, found["width"].option.low) == (3, int, 1)


def test_the_docstring_gets_the_sentences():
    @documented
    def build(width: Annotated[int, Option("How wide it is.", low=1)] = 3) -> None:
        """Builds."""

    assert build.__doc__ == "Builds.\n\nArgs:\n  width: How wide it is. It must be at least 1. Default: 3.\n"


def test_types_in_words():
    assert in_words(int) == "an int"
    assert in_words(float | None) == "a number or None"
    assert in_words(tuple[str, ...]) == "a tuple of strs"
    assert Option(above=0).rule() == "must be positive"
    assert Option(low=1, high=8).rule() == "must be at least 1 and at most 8"
