"""Tables in .csv and .tsv files.

The separator is a comma, a semicolon or a tab; the first line is a header unless a cell of it is a number, and columns
without a name are "x0", "x1", ... Read next: `jflows/data/files/tables.py`.
"""

import csv
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from jflows.data.files.tables import Columns, bad_column, choose, table_format
from jflows.errors import DataError, InvalidValueError

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")  # in lower case


def read(path: Path, columns: Columns) -> tuple[list[str], np.ndarray]:
    """Reads the names and values of the chosen columns."""
    try:
        separator, names, has_header = _head(path)
        chosen = choose(path, names, columns)
        with path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a table without rows, which `TableData` refuses
            values = np.loadtxt(
                _whole_lines(file, separator, len(names)),
                delimiter=separator,
                skiprows=int(has_header),
                usecols=chosen,
                comments=None,
                quotechar='"',
                ndmin=2,
            )
    except UnicodeDecodeError as error:
        raise DataError("load", str(path), "must be text in UTF-8", error.reason, "Convert it to UTF-8.") from error
    except (ValueError, csv.Error) as error:
        if isinstance(error, DataError | InvalidValueError):
            raise
        raise _bad_cell(path, separator, names, has_header, chosen, error) from error
    return [names[i] for i in chosen], values


def _whole_lines(file: Iterable[str], separator: str, num_cells: int) -> Iterator[str]:
    """The lines, all of `num_cells` cells: numpy would take "1,5,2" for 1 and 5 where two columns are asked for."""
    for line in file:
        if line.count(separator) != num_cells - 1 and '"' not in line and line.strip():
            raise ValueError(f"a line without {num_cells} cells")
        yield line


def _head(path: Path) -> tuple[str, list[str], bool]:
    """Separator, names of the columns, and whether the first line is a header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    separator = max(",;\t", key=line.count)
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    if not cells:
        raise DataError("load", str(path), "must begin with a header or a row of numbers", "an empty line")
    if any(_is_number(cell) for cell in cells):
        return separator, [f"x{i}" for i in range(len(cells))], False
    return separator, cells, True


def _bad_cell(
    path: Path, separator: str, names: list[str], has_header: bool, chosen: list[int], error: Exception
) -> DataError:
    """The first cell among the chosen columns that is not a number; read slowly, only when the fast reader failed."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        for number, cells in enumerate(rows, start=-int(has_header)):
            if number < 0:
                continue
            if len(cells) != len(names):
                rule = f"must have {len(names)} cells in every row"
                return DataError("load", str(path), rule, f"{len(cells)} in row {number}", "Repair this row.")
            for i in chosen:
                cell = cells[i].strip()
                if cell.lower() in MISSING:
                    got = f"{cell!r} in row {number}"
                    return bad_column(path.name, names[i], "must have no missing value; drop or fill such rows", got)
                if not _is_number(cell):
                    return bad_column(
                        path.name, names[i], "must hold numbers, not text or categories", f"{cell!r} in row {number}"
                    )
    return DataError("load", str(path), "must be a table of numbers", str(error).rstrip("."))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.lower() not in MISSING


FORMAT = table_format((".csv", ".tsv"), read)
