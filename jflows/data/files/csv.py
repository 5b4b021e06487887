"""Tables as text: .csv, .tsv, .txt and .dat files, also with .gz at the end.

How a file is written is told from its first lines (jflows/data/files/dialect.py), as far as `separator`, `decimal` and
`header` do not state it, and kept in `TableData.read_as`. Read next: `jflows/data/files/tables.py`.
"""

import csv
import gzip
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from jflows.data.files import dialect as dialects
from jflows.data.files.dialect import DECIMALS, MISSING, SEPARATORS, Dialect, Numbers, Reading
from jflows.data.files.tables import Columns, Table, bad_column, choose, table_format, without_index
from jflows.errors import DataError, check_choice

SUFFIXES = (".csv", ".tsv", ".txt", ".dat")
SAMPLE = 200  # lines from which a dialect is told
CHUNK = 50_000  # rows that are text in memory at a time


def read(
    path: Path,
    columns: Columns,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Table:
    """Reads the names and values of the chosen columns."""
    if separator is not None:
        check_choice("load", "separator", separator, tuple(SEPARATORS))
    if decimal is not None:
        check_choice("load", "decimal", decimal, tuple(DECIMALS))
    try:
        with _open(path) as file:
            lines, stated = _after_first(file)
            sample = list(itertools.islice(lines, SAMPLE))
            between = stated if separator is None else SEPARATORS[separator]
            mark = None if decimal is None else DECIMALS[decimal]
            found = dialects.readings(sample, between, mark, header)
            if not found:
                raise _cause(path, sample, between, mark)
            reading = dialects.told(path.name, found)
            chosen = choose(path, reading.names, columns)
            values = _values(path, itertools.chain(sample, lines), reading, chosen)
    except UnicodeDecodeError as error:
        raise DataError("load", str(path), "must be text in UTF-8", error.reason, "Convert it to UTF-8.") from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError("load", str(path), "must be a whole gzip file", str(error).rstrip(".")) from error
    except csv.Error as error:
        raise DataError("load", str(path), "must be a table of text", str(error).rstrip(".")) from error
    table = Table([reading.names[i] for i in chosen], values, str(reading.dialect))
    return table if columns is not None else without_index(path, table)


def _open(path: Path) -> IO[str]:
    """The file as text, unpacked; Excel writes its "Unicode text" as UTF-16, which its first two bytes tell."""
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with unpack(path, "rb") as file:
        first = file.read(2)
    encoding = "utf-16" if first in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return unpack(path, "rt", encoding=encoding, newline="")  # pyright: ignore[reportReturnType]


def _after_first(lines: Iterable[str]) -> tuple[Iterator[str], str | None]:
    """The lines, and the separator that Excel's first line "sep=;" states, which is left out of them."""
    rest = iter(lines)
    first = next(rest, "")
    stated = first.strip().strip('"')
    if stated[:4].lower() == "sep=" and stated[4:] in SEPARATORS.values():
        return rest, stated[4:]
    return itertools.chain([first], rest), None


def _values(path: Path, lines: Iterable[str], reading: Reading, chosen: list[int]) -> np.ndarray:
    """The chosen columns of all rows as float64 [num, dim]."""
    rows, start, parts = _rows(path, lines, reading), 0, []
    while chunk := list(itertools.islice(rows, CHUNK)):
        parts.append(_converted(path, chunk, start, reading, chosen))
        start += len(chunk)
    return np.concatenate(parts) if parts else np.zeros((0, len(chosen)))


def _rows(path: Path, lines: Iterable[str], reading: Reading) -> Iterator[list[str]]:
    """The rows without header, row names and trailing cells, all of one length."""
    dialect, width = reading.dialect, len(reading.names)
    rows = dialects.split(lines, dialect.separator)
    for number, row in enumerate(itertools.islice(rows, int(dialect.header), None)):
        cells = row[:-1] if dialect.trailing and row[-1:] == [""] else row
        cells = cells[1:] if dialect.row_names else cells
        if len(cells) != width:
            rule, got = f"must have {width} cells in every row", f"{len(cells)} in row {number}"
            raise DataError("load", str(path), rule, got, f"Repair this row; the file was read by {dialect}.")
        yield cells


def _converted(path: Path, rows: list[list[str]], start: int, reading: Reading, chosen: list[int]) -> np.ndarray:
    numbers = reading.dialect.numbers
    text = [[row[i] for i in chosen] for row in rows]
    plain = text if numbers == Numbers() else [[numbers.plain(cell) for cell in row] for row in text]
    try:
        values = np.asarray(plain).astype(np.float64)
        if numbers == Numbers() and not any("_" in cell for row in text for cell in row):
            return values  # Python takes 1_000 for a number; all else that it takes is one
    except ValueError:
        values = None
    for number, row in enumerate(text, start=start):
        for name, cell in zip((reading.names[i] for i in chosen), row, strict=True):
            if not numbers.holds(cell):
                raise _bad_cell(path, name, cell, number, reading.dialect)
    assert values is not None
    return values


def _bad_cell(path: Path, name: str, cell: str, row: int, dialect: Dialect) -> DataError:
    got = f"{cell!r} in row {row}"
    if cell.lower() in MISSING:
        return bad_column(path.name, name, "must have no missing value; drop or fill such rows", got)
    if any(Numbers(mark, True).holds(cell) for mark in DECIMALS.values()):
        rule = f"must hold numbers as the first lines do, which were read by {dialect}"
        return DataError("load", f"{path.name}, column {name!r}", rule, got, "State {decimal}, or repair the file.")
    return bad_column(path.name, name, "must hold numbers, not text or categories", got)


def _cause(path: Path, sample: list[str], separator: str | None, decimal: str | None) -> DataError:
    """Why no reading makes a table: rows of other lengths, or a column of no numbers, by the likeliest separator."""
    rows_by = {each: _whole_rows(sample, each) for each in SEPARATORS.values() if separator in (None, each)}
    usual = {each: Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0) for each, rows in rows_by.items()}
    best = max(usual, key=lambda each: (usual[each][0] > 1, usual[each][1], usual[each][0]))
    rows, (width, _) = rows_by[best], usual[best]
    if not rows:
        return DataError("load", str(path), "must begin with a header or a row of numbers", "an empty line")
    numbers = Numbers(decimal or ".")
    header = not any(map(numbers.holds, rows[0]))
    names = rows[0] if header else [f"x{i}" for i in range(width)]
    width = len(names) if header else width
    for number, row in enumerate(rows[int(header) :]):
        if len(row) != width:
            rule, got = f"must have {width} cells in every row", f"{len(row)} in row {number}"
            fix = f"Repair this row, or state {{separator}}; the file was read by {Dialect(best, numbers, header)}."
            return DataError("load", str(path), rule, got, fix)
        for name, cell in zip(names, row, strict=True):
            if not numbers.holds(cell):
                return _bad_cell(path, name, cell, number, Dialect(best, numbers))
    return DataError("load", str(path), "must have at least 2 rows of numbers", f"{max(len(rows) - header, 0)}")


def _whole_rows(sample: list[str], separator: str) -> list[list[str]]:
    try:
        return list(dialects.split(sample, separator))
    except csv.Error:
        return []


FORMAT = table_format(
    (*SUFFIXES, *(f"{suffix}.gz" for suffix in SUFFIXES)), read, stated=("separator", "decimal", "header")
)
