"""`Domains`: what values the columns of a table can have, declared once; and the check that rows keep to it.

Read next: `jflows/flows/columns.py`, which makes the maps of a flow from it. docs/tables.md explains each domain.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from jflows.errors import DataError, InvalidValueError, did_you_mean
from jflows.options import SUM_TOLERANCE, Checked, Option, documented

SMALLEST = float(np.finfo(np.float32).smallest_normal)  # smaller numbers are 0 in compiled programs
MOST_WHOLE = 2**22  # from here on, float32 has less than two bits for the noise between two whole numbers
ROUNDING = 1e-6  # of a period, by which values in one branch of a circle may exceed it

Column = str | int
PositiveColumns = Annotated[
    tuple[Column, ...],
    Option(
        "Columns of positive numbers, such as incomes or concentrations, by name or position: the flow models their "
        "logarithm, so that their unit does not matter. Whole numbers (integer) may be 0 too.",
        noun="a tuple of names or positions of columns",
        repeatable=True,
    ),
]
IntervalColumns = Annotated[
    tuple[tuple[str | int | float, ...], ...],
    Option(
        "Columns of numbers between two ends, such as share=0,1: the flow models the logit of their place between the "
        "ends, which must not occur themselves. Of whole numbers (integer), both ends may occur.",
        noun='a tuple of entries such as ("share", 0.0, 1.0)',
        repeatable=True,
    ),
]
CircleColumns = Annotated[
    tuple[tuple[str | int | float, ...], ...],
    Option(
        "Columns of angles, hours or other numbers that begin anew after a period, such as phase=6.2832, or "
        "degrees=-180,180 to have samples in [-180, 180). The data may lie in any one period.",
        noun='a tuple of entries such as ("phase", 6.2832) or ("degrees", -180.0, 180.0)',
        repeatable=True,
    ),
]
IntegerColumns = Annotated[
    tuple[Column, ...],
    Option(
        "Columns of whole numbers, such as counts: noise in [0, 1) is added, so that the score is a lower bound on the "
        "log-probability, and samples are rounded down. They may be positive, on a circle or in an interval as well.",
        noun="a tuple of names or positions of columns",
        repeatable=True,
    ),
]
SimplexColumns = Annotated[
    tuple[tuple[Column, ...], ...],
    Option(
        "Columns that are positive and sum to 1, such as shares a,b,c of a whole: the flow models their log-ratios, "
        "and its density is over all of them but the last, which follows from the others.",
        noun='a tuple of entries such as ("a", "b", "c")',
        repeatable=True,
    ),
]


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Domains(Checked):
    """What values the columns of a table can have; all other columns hold any real numbers.

    Columns are named, or counted from 0. A flow takes positions, which `Domains(positive=("income",)).of(names)` has.

    Raises:
      InvalidTypeError, InvalidValueError: if an entry is not of its form, or a column is in two domains that exclude
        each other.
    Example:
      >>> domains = Domains(positive=("income",), interval=(("share", 0, 1),)).of(("age", "income", "share"))
      >>> domains.positive, domains.interval
      ((1,), ((2, 0.0, 1.0),))
    """

    positive: PositiveColumns = ()
    interval: IntervalColumns = ()
    circle: CircleColumns = ()
    integer: IntegerColumns = ()
    simplex: SimplexColumns = ()

    def _check(self) -> None:
        object.__setattr__(self, "interval", tuple(_interval(entry) for entry in self.interval))
        object.__setattr__(self, "circle", tuple(_circle(entry) for entry in self.circle))
        for entry in self.simplex:
            if len(entry) < 2:
                raise InvalidValueError("Domains", "simplex", "must hold at least 2 columns that sum to 1", repr(entry))
        self._check_exclusive()

    def __bool__(self) -> bool:
        """Whether any column has a domain."""
        return any(True for _ in self._mentions())

    def of(self, columns: Sequence[str]) -> "Domains":
        """The same domains with positions in place of names.

        Args:
          columns: the names of all columns.
        Raises:
          InvalidValueError: if there is no such column, or one is named and counted in two domains.
        """
        names = list(columns)
        by_name = self._with_columns(lambda argument, column: names[_position(argument, column, names)])
        return by_name._with_columns(lambda _, column: names.index(column))

    def _with_columns(self, of: Callable[[str, Any], Any]) -> "Domains":
        """The same domains with other names of columns."""
        return Domains(
            positive=tuple(of("positive", column) for column in self.positive),
            interval=tuple((of("interval", column), *ends) for column, *ends in self.interval),
            circle=tuple((of("circle", column), *ends) for column, *ends in self.circle),
            integer=tuple(of("integer", column) for column in self.integer),
            simplex=tuple(tuple(of("simplex", column) for column in entry) for entry in self.simplex),
        )

    def check_positions(self, where: str, dim: int) -> None:
        """Raises `InvalidValueError` unless all columns are given by positions below `dim`."""
        for argument, column in self._mentions():
            if not isinstance(column, int):
                fix = "Write domains.of(table.columns)."
                raise InvalidValueError(where, "domains", "must hold positions of columns", repr(column), fix)
            if not 0 <= column < dim:
                rule = f"must hold positions from 0 to {dim - 1} in {argument}"
                raise InvalidValueError(where, "domains", rule, repr(column))

    def check(self, x: np.ndarray, where: str, names: Sequence[str] = (), rows: np.ndarray | None = None) -> None:
        """Raises `DataError` naming the first row and column whose value lies outside of its domain.

        Args:
          x: rows [num, dim].
          where: name of the function that was given the rows, for the message.
          names: names of the columns.
          rows: numbers of the rows; None counts them from 0.
        """
        report, own = _Report(x, where, names, rows), self._as_positions
        for column in own.integer:
            report.need(column, x[:, column] == np.floor(x[:, column]), "must be whole", "Leave it out of {integer}.")
            rule = f"must be less than {MOST_WHOLE:,} in size, to leave float32 room for noise"
            report.need(column, np.abs(x[:, column]) < MOST_WHOLE, rule, "Leave it out of {integer}.")
        for column in own.positive:
            whole = column in own.integer
            rule, holds = "must be at least 0" if whole else "must be positive", x[:, column] >= SMALLEST
            report.need(column, holds | (x[:, column] == 0) if whole else holds, rule, report.about_zeros(column))
        for column, low, high in own.interval:
            value, whole = x[:, column], column in own.integer
            low, high = x.dtype.type(low), x.dtype.type(high)
            inside = (low <= value) & (value <= high) if whole else (low < value) & (value < high)
            rule = (
                f"must be {low:g} to {high:g}"
                if whole
                else f"must lie between {low:g} and {high:g}, without these ends"
            )
            report.need(column, inside, rule, "Remove these rows, or widen its {interval}.")
        for column, low, high in own.circle:
            period, start = high - low, np.min(x[:, column], initial=np.inf)
            rule = f"must lie in one period of {period:g}, whose start may be anywhere; the smallest is {start:g}"
            fix = "Correct its {circle}, or take the values modulo the period first."
            report.need(column, x[:, column] - start <= period * (1 + ROUNDING), rule, fix)
        for entry in own.simplex:
            for column in entry:
                rule = f"must be positive, as one of columns that sum to 1, {report.listed(entry)}"
                report.need(column, x[:, column] > 0, rule, report.about_zeros(column))
            total: Any = np.sum(x[:, list(entry)], axis=1, dtype=np.float64)
            rule = f"must sum to 1 within {SUM_TOLERANCE:g}, together with {report.listed(entry[1:])}"
            near = np.abs(total - 1) <= SUM_TOLERANCE
            report.need(entry[0], near, rule, "Divide them by their sum.", total, "a sum of ")

    def replace_zeros(self, x: np.ndarray, amount: float) -> np.ndarray:
        """Rows with a small number in the place of each 0 of a positive column, or of columns that sum to 1.

            x_j = amount where x_j = 0,   x_j (1 - amount * number of zeros) elsewhere       [of columns that sum to 1]

        It leaves the ratios of the other columns as they are. Whole columns may be 0, and stay.

        Source: Martin-Fernandez et al. 2003, Mathematical Geology 35(3), eq. 4 (multiplicative replacement).

        Args:
          x: rows [num, dim], of which the positions of these domains are columns.
          amount: what takes the place of a zero.
        """
        own, x = self._as_positions, np.array(x)
        for column in own.positive:
            if column not in own.integer:
                x[:, column] = np.where(x[:, column] == 0, amount, x[:, column])
        for entry in own.simplex:
            part = x[:, list(entry)]
            zero = part == 0
            left = 1 - amount * np.sum(zero, axis=1, keepdims=True)
            x[:, list(entry)] = np.where(zero, amount, part * left)
        return x

    @property
    def _as_positions(self) -> Any:
        """The domains themselves, whose columns are positions by now."""
        return self

    def _mentions(self) -> Iterator[tuple[str, Column]]:
        """Every column that is mentioned, with the domain."""
        alone: Any = (("positive", self.positive), ("integer", self.integer))
        yield from ((argument, column) for argument, columns in alone for column in columns)
        bounded: Any = (("interval", self.interval), ("circle", self.circle))
        yield from ((argument, entry[0]) for argument, entries in bounded for entry in entries)
        yield from (("simplex", column) for entry in self.simplex for column in entry)

    def _check_exclusive(self) -> None:
        seen: dict[Column, str] = {}
        for argument, column in self._mentions():
            if argument == "integer":
                continue
            if column in seen:
                raise _contradiction(column, seen[column], argument)
            seen[column] = argument
        counted: set[Any] = set()
        for column in self.integer:
            if column in counted or seen.get(column) == "simplex":
                raise _contradiction(column, seen.get(column, "integer"), "integer")
            counted.add(column)
        for column, low, high in (*self.interval, *self.circle):
            if column in counted and not (float(low).is_integer() and float(high).is_integer()):
                rule = f"must have whole ends for {column!r}, which holds whole numbers ({{integer}})"
                argument = "interval" if (column, low, high) in self.interval else "circle"
                raise InvalidValueError("Domains", argument, rule, f"{low:g}, {high:g}")


class _Report:
    """Raises the error about the first value that breaks a rule."""

    def __init__(self, x: np.ndarray, where: str, names: Sequence[str], rows: np.ndarray | None):
        self.x, self.where, self.rows = x, where, np.arange(len(x)) if rows is None else rows
        self.names = list(names) if len(names) == x.shape[1] else [str(index) for index in range(x.shape[1])]

    def listed(self, columns: Sequence[int]) -> str:
        return ", ".join(repr(self.names[column]) for column in columns)

    def about_zeros(self, column: int) -> str:
        zeros = np.any(self.x[:, column] == 0) and not np.any(self.x[:, column] < 0)
        return "Remove these rows, or give zeros a value by {replace_zeros}." if zeros else "Remove these rows."

    def need(
        self, column: int, holds: np.ndarray, rule: str, fix: str, values: np.ndarray | None = None, what: str = ""
    ) -> None:
        bad = np.flatnonzero(~holds)
        if bad.size:
            value = (self.x[:, column] if values is None else values)[bad[0]]
            got = f"{what}{value:.9g} in row {self.rows[bad[0]]} ({bad.size} such rows)"
            raise DataError(self.where, f"column {self.names[column]!r}", rule, got, fix)


def _interval(entry: tuple) -> tuple:
    if len(entry) != 3:
        raise InvalidValueError("Domains", "interval", "must hold a column and two ends, as in share=0,1", repr(entry))
    return _with_ends("interval", *entry)


def _circle(entry: tuple) -> tuple:
    if len(entry) not in (2, 3):
        rule = "must hold a column and a period, or where it begins and ends, as in phase=6.2832 or degrees=-180,180"
        raise InvalidValueError("Domains", "circle", rule, repr(entry))
    column, *ends = entry
    return _with_ends("circle", column, *([0.0, *ends] if len(ends) == 1 else ends))


def _with_ends(argument: str, column: Any, low: Any, high: Any) -> tuple:
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not isinstance(column, str | int) or isinstance(column, bool) or not numbers:
        got = repr((column, low, high))
        raise InvalidValueError("Domains", argument, "must hold a column, by name or position, and numbers", got)
    with np.errstate(over="ignore"):
        width = np.float32(high) - np.float32(low)
    if not 0 < width < np.inf:
        far = np.isfinite(low) and np.isfinite(high) and low < high
        apart = "not further apart than float32 can hold" if far else "both finite"
        rule = f"must have a lower end below the upper one for {column!r}, {apart}"
        raise InvalidValueError("Domains", argument, rule, f"{low:g}, {high:g}")
    return column, float(low), float(high)


def _position(argument: str, column: Column, names: Sequence[str]) -> int:
    if isinstance(column, str) and column in names:
        return list(names).index(column)
    number = int(column) if isinstance(column, int) or column.isdecimal() else -1  # text on the command line
    if 0 <= number < len(names):
        return number
    fix = f"{did_you_mean(column, names) if isinstance(column, str) else ''}They are {', '.join(names)}."
    raise InvalidValueError(
        "Domains", argument, f"must name columns, or count them up to {len(names) - 1}", repr(column), fix
    )


def _contradiction(column: Column, first: str, second: str) -> InvalidValueError:
    if first == second:
        return InvalidValueError("Domains", first, "must name a column once", repr(column))
    rule = "must not share a column, as one domain excludes the other"
    return InvalidValueError("Domains", (first, second), rule, repr(column), "Keep one.")
