"""Shared by all formats of tables: the choice of columns, their checks, and the split of rows.

Columns must hold numbers, and those of training rows must vary; some may be contexts or weights instead of x. A tenth
of the rows, chosen by a fixed seed, is held out for testing. A format gives a reader of files to `table_format`. Read
next: `jflows/data/dataset.py`, which checks values.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jflows.data.dataset import TableData
from jflows.data.files.base import FileFormat
from jflows.data.splits import ALL, hold_out, split_rows
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, did_you_mean

Columns = Sequence[str | int] | None  # by name or position; None: all
FEWEST_ROWS = 2  # of a `TableData`
EXACT = 2.0**53  # from here on, float64 does not hold every whole number
FEWEST_COUNTED = 4  # rows, so that a column may be said to count them
UNNAMED = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # what pandas calls an index in a file


class Table(NamedTuple):
    """What a file holds.

    Attributes:
      names: names of the columns.
      values: numbers [num, dim].
      read_as: how the file was read, in words, where that is not certain.
      named: whether the names stand in the file.
    """

    names: list[str]
    values: np.ndarray
    read_as: str = ""
    named: bool = True


def table_format(suffixes: tuple[str, ...], read: Callable[..., Table], stated: tuple[str, ...] = ()) -> FileFormat:
    """Makes the format of files that hold one table without a split.

    Loading raises `DataError` if the file is damaged, if a column holds text or categories or is constant, or if a
    value is missing, which is named by row (from 0, without the header) and column. It raises `InvalidValueError` if
    `columns` or `num_validation` breaks its rule.

    Args:
      suffixes: suffixes of the files.
      read: `read(path, columns, **stated)` gives the chosen columns of a file.
      stated: arguments of `jflows.data.load` that state how the file is written.
    """

    def load(path: Path, split: str, num_validation: int, options: Mapping[str, Any]) -> TableData:
        given = {name: options[name] for name in stated if name in options}
        data = _with_roles(path, functools.partial(read, path, **given), options)
        if split == ALL:
            return data
        data.check_varies()
        train, test = hold_out(len(data), str(path), FEWEST_ROWS)
        rows = test if split == "test" else train[slice(*split_rows(split, len(train), num_validation))]
        return data.take(rows)

    return FileFormat(suffixes, ("table",), ("columns", "context", "weight", *stated), load)


def _with_roles(path: Path, read: Callable[[Columns], Table], options: Mapping[str, Any]) -> TableData:
    """The table of a file, in which some columns are contexts or weights instead of x."""
    columns, context = options.get("columns"), options.get("context", ())
    weight = (options["weight"],) if "weight" in options else ()
    roles = {**dict.fromkeys(weight, "weight"), **dict.fromkeys(context, "context")}
    _check_roles(context, weight, columns)
    try:
        names, values, read_as, _ = read(
            (*columns, *roles) if isinstance(columns, tuple | list) and columns else columns
        )
    except InvalidValueError as error:
        wrong = [name for name in roles if error.got == repr(name)]
        if error.settings != ("columns",) or not wrong:
            raise
        raise _unknown(path, wrong[0], roles[wrong[0]], error.fix) from error
    if repeated := next((repr(name) for name, num in Counter(names).items() if num > 1 and name not in roles), ""):
        rule = f"must be {len(names)} different names, but {path.name} has one twice"
        fix = "Rename it in the file, or choose columns by position, such as {columns=0,1}."
        raise DataError("load", "columns", rule, repeated, fix)
    for name, role in roles.items():
        if list(names).count(name) != 1:
            raise _unknown(path, name, role, f"{did_you_mean(name, names)}It has {', '.join(names)}.")
    place = {name: i for i, name in enumerate(names)}
    kept = [i for i, name in enumerate(names) if name not in roles]
    return TableData(
        path.name,
        values[:, kept],
        columns=tuple(names[i] for i in kept),
        context=values[:, [place[name] for name in context]] if context else None,
        context_columns=tuple(context),
        weight=values[:, place[weight[0]]] if weight else None,
        read_as=read_as,
    )


def _unknown(path: Path, name: str, role: str, fix: str) -> InvalidValueError:
    rule = f"must name {'a column' if role == 'weight' else 'columns'} of {path.name}, found in it once"
    return InvalidValueError("load", role, rule, repr(name), fix)


def _check_roles(context: Sequence[str], weight: Sequence[str], columns: Columns) -> None:
    """Raises unless context and weight are names, each of which has one role."""
    if isinstance(context, str) or not all(isinstance(name, str) for name in (*context, *weight)):
        got = repr(context if isinstance(context, str) else (*context, *weight))
        fix = "Write context=('a', 'b'), weight='w'."
        raise InvalidTypeError("load", ("context", "weight"), "must be names of columns", got, fix)
    given = [*context, *weight, *(columns or ())]
    twice = [name for name in (*context, *weight) if given.count(name) > 1]
    if twice:
        rule = "must be different columns, each with one role"
        fix = "List those of x alone in {columns}, without contexts and weights."
        raise InvalidValueError("load", ("columns", "context", "weight"), rule, f"{twice[0]!r} twice", fix)


def without_index(path: Path, table: Table, index: Sequence[str] = ()) -> Table:
    """The table without the index that pandas writes as a column without a name.

    Args:
      path, table: the file, and what it holds.
      index: names of columns that the file declares to be an index.
    Raises:
      DataError: if such a column holds other numbers than a count of the rows; if no column has a name, and the first
        or the last one counts the rows.
    """
    if not table.named:
        _check_none_counts(path, table)
        return table
    kept = [i for i, name in enumerate(table.names) if not (UNNAMED.fullmatch(name) or name in index)]
    for i in sorted(set(range(len(table.names))) - set(kept)):
        if len(kept) == 0 or not _counts(table.values[:, i]):
            rule, got = "must have a name", "a column of numbers that do not count the rows"
            if table.names[i] in index and not UNNAMED.fullmatch(table.names[i]):
                rule, got = "must be chosen", f"the index {table.names[i]!r}, which does not count the rows"
            fix = "Name it, or choose columns by {columns}, by name or position."
            raise DataError("load", f"{path.name}, column {i} from 0", rule, got, fix)
    if len(kept) == len(table.names):
        return table
    note = "a column that is an index and counts the rows, left out"
    read_as = f"{table.read_as}, {note}" if table.read_as else note
    return table._replace(names=[table.names[i] for i in kept], values=table.values[:, kept], read_as=read_as)


def _counts(column: np.ndarray) -> bool:
    return bool(np.all(np.diff(column) == 1))


def _check_none_counts(path: Path, table: Table) -> None:
    """Of columns without names, one that counts the rows at an end of each may be an index that was written along."""
    num, dim = table.values.shape
    for i in (0, dim - 1) if dim > 1 and num >= FEWEST_COUNTED else ():
        column = table.values[:, i]
        if column.dtype.kind in "uif" and column[0] in (0, 1) and _counts(column):
            rule = "must have names of columns where one column counts the rows, as it may be an index"
            got = f"{table.names[i]} = {column[0]:g}, {column[1]:g}, {column[2]:g}, ..."
            fix = "Choose columns by {columns}, without it, or with it if it is data."
            raise DataError("load", str(path), rule, got, fix)


def choose(path: Path, names: Sequence[str], columns: Columns) -> list[int]:
    """Positions of the chosen columns in the file; a column without a name, which is an index, is not counted.

    Raises:
      InvalidValueError: if `columns` is empty or repeats a column, or if the file has a column of it twice or never.
    """
    if columns is None:
        return list(range(len(names)))
    if isinstance(columns, str) or not columns:
        raise InvalidValueError("load", "columns", "must be names or positions, such as ('a', 'b')", repr(columns))
    places = [i for i, name in enumerate(names) if not UNNAMED.fullmatch(name)]  # without an index
    names, chosen = [names[i] for i in places], []
    for column in columns:
        if isinstance(column, str) and column not in names and column.isdecimal():  # as the command line gives it
            column = int(column)
        if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < len(names):
            chosen.append(column)
        elif isinstance(column, str) and list(names).count(column) == 1:
            chosen.append(list(names).index(column))
        else:
            hint = did_you_mean(column, names) if isinstance(column, str) else ""
            rule = f"must be names or positions of the {len(names)} columns of {path.name}, once each"
            raise InvalidValueError("load", "columns", rule, repr(column), f"{hint}It has {', '.join(names)}.")
    if len(set(chosen)) < len(chosen):
        raise InvalidValueError("load", "columns", "must not repeat a column", tuple(columns))
    return [places[i] for i in chosen]


def check_whole(
    path: Path, names: Sequence[str], values: np.ndarray, start: int, cell: Callable[[int, int], Any]
) -> None:
    """Raises `DataError` if a large whole number is not the float64 that was made of it.

    Args:
      path, names: the file, and its columns.
      values: the numbers in float64 [num, dim].
      start: the first row's number in the file.
      cell: gives what stands in the file, by row and column of `values`: a whole number, or text.
    """
    for row, column in np.argwhere(np.abs(values) >= EXACT):
        found = str(cell(row, column))
        if found.lstrip("+-").isdecimal() and int(found) != int(values[row, column]):
            rule, fix = (
                "must hold numbers that float64 can hold",
                "Subtract an offset from it, or leave it out by {columns}.",
            )
            raise DataError(
                "load", f"{path.name}, column {names[column]!r}", rule, f"{found} in row {start + row}", fix
            )


def bad_column(file_name: str, name: str, rule: str, got: object) -> DataError:
    """Makes the error about one column of a file."""
    return DataError("load", f"{file_name}, column {name!r}", rule, got, "Leave it out by {columns}.")
