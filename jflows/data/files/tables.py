"""Shared by all formats of tables: the choice of columns, their checks, and the split of rows.

Columns must hold numbers, and must not be constant. A tenth of the rows, chosen by a fixed seed, is held out for
testing. A format gives a reader of files to `table_format`. Read next: `jflows/data/dataset.py`, which checks values.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.dataset import TableData
from jflows.data.files.base import FileFormat
from jflows.data.splits import hold_out, split_rows
from jflows.errors import DataError, InvalidValueError, did_you_mean

Columns = Sequence[str | int] | None  # by name or position; None: all
Reader = Callable[[Path, Columns], tuple[list[str], np.ndarray]]  # to names of the columns, and values [num, dim]
MOST_LOST = 0.9  # of the different values of a column, so many must be left in float32


def table_format(suffixes: tuple[str, ...], read: Reader) -> FileFormat:
    """Makes the format of files that hold one table without a split.

    Loading raises `DataError` if the file is damaged, if a column holds text or categories or is constant, or if a
    value is missing, which is named by row (from 0, without the header) and column. It raises `InvalidValueError` if
    `columns` or `num_validation` breaks its rule.

    Args:
      suffixes: suffixes of the files.
      read: reads a file, and gives the names of the chosen columns and their values.
    """

    def load(path: Path, split: str, num_validation: int, options: Mapping[str, Any]) -> TableData:
        names, values = read(path, options.get("columns"))
        data = TableData(path.name, values, columns=tuple(names))
        check_precision(path, names, values)
        data.check_varies()
        train, test = hold_out(len(data), str(path))
        rows = test if split == "test" else train[slice(*split_rows(split, len(train), num_validation))]
        return data.take(rows)

    return FileFormat(suffixes, ("table",), ("columns",), load)


def choose(path: Path, names: Sequence[str], columns: Columns) -> list[int]:
    """Positions of the chosen columns.

    Raises:
      InvalidValueError: if `columns` is empty or repeats a column, or if the file has a column of it twice or never.
    """
    if columns is None:
        return list(range(len(names)))
    if isinstance(columns, str) or not columns:
        raise InvalidValueError("load", "columns", "must be names or positions, such as ('a', 'b')", repr(columns))
    chosen = []
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
    return chosen


def check_precision(path: Path, names: Sequence[str], values: np.ndarray) -> None:
    """Raises `DataError` if float32, in which tables are stored, cannot tell the values of a column apart."""
    for name, column in zip(names, values.T, strict=True):
        distinct, kept = len(np.unique(column)), len(np.unique(column.astype(np.float32)))
        if kept < MOST_LOST * distinct:
            rule = "must keep its values apart in float32; subtract an offset from it"
            raise bad_column(path.name, name, rule, f"{kept} different values of {distinct}")


def bad_column(file_name: str, name: str, rule: str, got: object) -> DataError:
    """Makes the error about one column of a file."""
    return DataError("load", f"{file_name}, column {name!r}", rule, got, "Leave it out by {columns}.")
