"""Tables as text: .csv, .tsv, .txt and .dat files, also with .gz at the end.

How a file is written is told from its first lines (jflows/data/files/dialect.py), as far as `separator`, `decimal` and
`header` do not state it, and kept in `TableData.read_as`. Read next: `jflows/data/files/tables.py`.
"""

import csv
import gzip
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from jflows.data.files import dialect as dialects
from jflows.data.files.causes import bad_cell, cause, ragged, shown
from jflows.data.files.dialect import SEPARATORS, Lines, Reading
from jflows.data.files.foreign import check_is_text
from jflows.data.files.numbers import DECIMALS, is_open
from jflows.data.files.tables import Columns, Table, bad_column, check_whole, choose, table_format, without_index
from jflows.errors import DataError, check_choice

SUFFIXES = (".csv", ".tsv", ".txt", ".dat")
SAMPLE, SAMPLE_SIZE = 200, 2**19  # lines and characters from which a dialect is told: fewer lines of a wide table
LEAST_LINES = 4
MOST_LINES = 10_000  # of the sample, while a quotation goes on
CHUNK_VALUES = 500_000  # that are text in memory at a time


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
        encoding = check_is_text(path)
        with _open(path, encoding) as file:
            return _read(path, file, columns, separator, decimal, header)
    except UnicodeDecodeError as error:
        rule, fix = "must be text in UTF-8", "Convert it, such as by iconv -f windows-1252 -t utf-8."
        raise DataError("load", str(path), rule, error.reason, fix) from error
    except (EOFError, gzip.BadGzipFile, gzip.zlib.error) as error:  # pyright: ignore[reportAttributeAccessIssue]
        fix = "Fetch or write it anew."
        raise DataError("load", str(path), "must be a whole gzip file", str(error).rstrip("."), fix) from error
    except csv.Error as error:
        fix = "Repair the quotation marks: one inside a cell is written twice."
        raise DataError("load", str(path), "must be a table of text", str(error).rstrip("."), fix) from error


def _read(
    path: Path, file: Iterable[str], columns: Columns, separator: str | None, decimal: str | None, header: bool | None
) -> Table:
    lines, stated = _after_first(file)
    sample = _sample(lines)
    between = stated if separator is None else SEPARATORS[separator]
    mark = None if decimal is None else DECIMALS[decimal]
    found = dialects.readings(sample, between, mark, header)
    if not found:
        raise cause(path, sample, between, mark)
    reading = dialects.told(path.name, found)
    chosen = choose(path, reading.names, columns)
    kept = Lines(itertools.chain(sample, lines), reading.dialect.separator)
    values = _values(path, kept, reading, chosen)
    read_as, num = str(reading.dialect), kept.comments
    read_as += f", {num} {'line' if num == 1 else 'lines'} of comments between rows left out" * (num > 0)
    named = reading.dialect.header or reading.dialect.in_comment
    table = Table([reading.names[i] for i in chosen], values, read_as, named)
    return table if columns is not None else without_index(path, table)


def _open(path: Path, encoding: str) -> IO[str]:
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    return unpack(path, "rt", encoding=encoding, newline="")  # pyright: ignore[reportReturnType]


def _after_first(lines: Iterable[str]) -> tuple[Iterator[str], str | None]:
    """The lines, and the separator that Excel's first line "sep=;" states, which is left out of them."""
    rest = iter(lines)
    first = next(rest, "")
    stated = first.strip("\r\n").strip('"')
    if stated[:4].lower() == "sep=" and stated[4:] in SEPARATORS.values():
        return rest, stated[4:]
    return itertools.chain([first], rest), None


def _sample(lines: Iterator[str]) -> list[str]:
    """The first lines, to the end of a quotation that has begun."""
    found, size, inside = [], 0, False
    for line in lines:
        found.append(line)
        size += len(line)
        inside ^= line.count('"') % 2 == 1
        enough = len(found) >= SAMPLE or (size >= SAMPLE_SIZE and len(found) >= LEAST_LINES)
        if (enough and not inside) or len(found) >= MOST_LINES:
            break
    return found


def _values(path: Path, lines: Lines, reading: Reading, chosen: list[int]) -> np.ndarray:
    """The chosen columns of all rows as float64 [num, dim]."""
    rows, start, parts = _rows(path, lines, reading), 0, []
    while chunk := list(itertools.islice(rows, max(1, CHUNK_VALUES // len(reading.names)))):
        parts.append(_converted(path, chunk, start, reading, chosen))
        start += len(chunk)
    return np.concatenate(parts) if parts else np.zeros((0, len(chosen)))


def _rows(path: Path, lines: Lines, reading: Reading) -> Iterator[list[str]]:
    """The rows without header, row names and trailing cells, all of one length."""
    dialect, width = reading.dialect, len(reading.names)
    rows = dialects.split(lines, dialect.separator)
    for number, row in enumerate(itertools.islice(rows, int(dialect.header), None)):
        cells = row[:-1] if dialect.trailing and row[-1:] == [""] else row
        cells = cells[1:] if dialect.row_names else cells
        if len(cells) != width:
            raise ragged(path, width, cells, number, dialect)
        yield cells


def _converted(path: Path, rows: list[list[str]], start: int, reading: Reading, chosen: list[int]) -> np.ndarray:
    """The chosen cells as float64 [num, dim]; the first that is no finite number raises `DataError`."""
    dialect, names = reading.dialect, [reading.names[i] for i in chosen]
    text = [[row[i] for i in chosen] for row in rows]
    values = _at_once(text, dialect)
    if values is not None and np.isfinite(values).all():
        check_whole(path, names, values, start, lambda row, column: text[row][column])
        return values
    holds, open_cell = dialect.numbers.holds, None
    for number, row in enumerate(text, start=start):
        for name, cell in zip(names, row, strict=True):
            if not holds(cell):
                raise bad_cell(path, name, cell, number, dialect)
            if not np.isfinite(float(dialect.numbers.plain(cell))):
                raise bad_column(path.name, name, "must be finite", f"{shown(cell)} in row {number}")
            if open_cell is None and not dialect.settled and is_open(cell):
                open_cell = name, cell, number
    if open_cell is not None:
        name, cell, number = open_cell
        rule = "must be readable in one way only, and the rows above are whole numbers; state {decimal}"
        raise DataError("load", f"{path.name}, column {name!r}", rule, f"{cell!r} in row {number}")
    plain = [[dialect.numbers.plain(cell) for cell in row] for row in text]
    values = np.array(plain).astype(np.float64)
    check_whole(path, names, values, start, lambda row, column: plain[row][column])
    return values


def _at_once(text: list[list[str]], dialect: dialects.Dialect) -> np.ndarray | None:
    """The values, if all cells are numbers as Python writes them, and none can be read in another way."""
    joined = "".join(map("".join, text))
    if "_" in joined or "," in joined or (not dialect.settled and "." in joined) or dialect.numbers.decimal == ",":
        return None  # Python takes 1_000 for a number
    try:
        return np.array(text).astype(np.float64)
    except ValueError:
        return None


FORMAT = table_format(
    (*SUFFIXES, *(f"{suffix}.gz" for suffix in SUFFIXES)), read, stated=("separator", "decimal", "header")
)
