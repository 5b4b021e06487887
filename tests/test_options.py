"""Settings declared once: what an annotation allows, what it says, and what derives from it."""

import dataclasses
import inspect
import math
from pathlib import Path
from typing import Annotated, Any

import pytest

import jflows
from jflows import TrainConfig
from jflows.errors import InvalidTypeError, InvalidValueError, path_of
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
        ({"count": 2**31}, InvalidValueError, "Settings: `count` must be at most 2147483647; got 2147483648."),
        ({"either": -(2**31)}, InvalidValueError, "Settings: `either` must be at least -2147483647; got -2147483648."),
        (
            {"rate": 10**400},
            InvalidValueError,
            "Settings: `rate` must be finite; got 100000000000... of 401 characters.",
        ),
        ({"spam": 1}, InvalidTypeError, "Settings: `spam` is not a setting of Settings, which has count, rate, kind"),
        ({"count": 0}, InvalidValueError, "Settings: `count` must be at least 1; got 0."),
        ({"rate": 0}, InvalidValueError, "Settings: `rate` must lie in .0, 1.; got 0."),
        ({"rate": math.nan}, InvalidValueError, "Settings: `rate` must be finite; got nan."),
        ({"rate": False}, InvalidTypeError, "Settings: `rate` must be a number; got False."),
        ({"kind": "c"}, InvalidValueError, "Settings: `kind` must be one of 'a', 'b'; got 'c'."),
        ({"sizes": 3}, InvalidTypeError, "Settings: `sizes` must be a tuple of ints; got 3."),
        (
            {"sizes": (1, 0)},
            InvalidValueError,
            r"Settings: `sizes` must have entries that are at least 1; got \(1, 0\).",
        ),
        ({"sizes": (1, 2.5)}, InvalidTypeError, r"Settings: `sizes` must be a tuple of ints; got \(1, 2.5\)."),
        ({"either": "x"}, InvalidTypeError, "`either` must be an int or a tuple of ints or None; got 'x'."),
        ({"flag": 1}, InvalidTypeError, "Settings: `flag` must be a bool; got 1."),
        ({"count": 100, "flag": True}, InvalidValueError, "`count, flag` must not be large together; got 100."),
    ],
)
def test_values_that_an_annotation_does_not_allow(settings, error, message):
    with pytest.raises(error, match=message):
        Settings(**{"count": 1} | settings)


def test_settings_by_position_are_as_many_as_there_are():
    """The next field of a Linen module would be its parent, about which Flax has words of its own."""
    with pytest.raises(InvalidTypeError, match=r"Tanh: `arguments` takes 1 settings? by position at most; got 2"):
        jflows.bijectors.Tanh(1, 2)
    with pytest.raises(InvalidTypeError, match=r"Settings: `arguments` takes 8 settings by position at most; got 9"):
        Settings(*range(9))  # pyright: ignore[reportCallIssue]


def test_a_number_in_the_place_of_a_tuple_is_told_how_to_be_written():
    with pytest.raises(InvalidTypeError, match=r"Write \(2, 2, 2\)\."):
        jflows.flow_plus_plus((8, 8, 3), 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidTypeError, match=r"Write \(3,\)\."):
        Settings(1, sizes=3)  # pyright: ignore[reportArgumentType]


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


def test_help_shows_plain_types():
    shown = str(inspect.signature(TrainConfig))
    assert "learning_rate: float = 0.001" in shown and "Annotated" not in shown and len(shown) < 1200
    assert "num_layers: int = 8" in str(inspect.signature(jflows.realnvp))
    assert "Default: 1000, unless epochs are given." in " ".join((TrainConfig.__doc__ or "").split())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, InvalidTypeError, "load: `run` must be a str or a path; got None."),
        (b"a", InvalidTypeError, "load: `run` must be a str or a path; got bytes."),
        ("", InvalidValueError, "load: `run` must be a path; got ''. Write . for the working directory."),
        ("a\0b", InvalidValueError, "load: `run` must be a path"),
        (
            "~no-one/a",
            InvalidValueError,
            "load: `run` must name a home that exists; got '~no-one/a'.",
        ),
    ],
)
def test_paths_that_are_none(value, error, message):
    with pytest.raises(error, match=message):
        path_of("load", "run", value)


def test_a_home_in_a_path():
    assert path_of("load", "run", "~/a") == Path.home() / "a" == path_of("load", "run", Path("~/a"))


def test_types_in_words():
    assert in_words(int) == "an int"
    assert in_words(float | None) == "a number or None"
    assert in_words(tuple[str, ...]) == "a tuple of strs"
    assert Option(above=0).rule() == "must be positive"
    assert Option(low=1, high=8).rule() == "must be 1 to 8"


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        (Option(odd=True), "must be odd"),
        (Option(low=3, odd=True), "must be odd and at least 3"),
        (Option(high=4), "must be at most 4"),
        (Option(below=4), "must be below 4"),
        (Option(low=0, below=1), "must lie in [0, 1)"),
        (Option(above=0, high=1), "must lie in (0, 1]"),
        (Option(above=2), "must be above 2"),
        (Option(), ""),
    ],
)
def test_rules_in_words(option, rule):
    assert option.rule() == rule
    assert option.allows(3) == ("1" not in rule)


@dataclasses.dataclass(frozen=True)
class Fields(Checked):
    sizes: Annotated[tuple[int, ...], Option(low=1, fewest=2)] = (1, 2)
    maybe: Annotated[int, Option(low=1, odd=True)] | None = None
    reader: Annotated[bytes, Option(noun="a reader", fix="Write read().")] = b""


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sizes": (1,)}, InvalidValueError, r"Fields: `sizes` must hold at least 2 entries; got \(1,\)\."),
        ({"sizes": 3}, InvalidTypeError, r"Fields: `sizes` must be a tuple of ints; got 3\. Write \(3, 3\)\."),
        ({"maybe": 2}, InvalidValueError, "Fields: `maybe` must be odd and at least 1; got 2."),
        ({"maybe": 0.5}, InvalidTypeError, "Fields: `maybe` must be an int or None; got 0.5."),
        ({"reader": 3}, InvalidTypeError, r"Fields: `reader` must be a reader; got 3\. Write read\(\)\."),
        ({"reader": (3, b"a", Fields)}, InvalidTypeError, r"got \(3, bytes, the class Fields; write Fields\(...\)\)"),
    ],
)
def test_entries_optional_values_and_nouns(settings, error, message):
    with pytest.raises(error, match=message):
        Fields(**settings)
    assert Fields(sizes=[3, 4], maybe=5) == Fields((3, 4), 5)
