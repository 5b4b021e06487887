"""Why a text file is no table of numbers: errors that name the row, the cell, what it is, and what helps.

Read next: `jflows/data/files/csv.py`, which raises them.
"""

import csv
from collections import Counter
from pathlib import Path

from jflows.data.files import dialect as dialects
from jflows.data.files.dialect import OTHER_COMMENTS, Dialect, Lines
from jflows.data.files.numbers import Numbers, is_missing, is_number, kind_of_cell
from jflows.data.files.tables import bad_column
from jflows.errors import DataError

SHOWN = 40  # characters of a cell


def bad_cell(path: Path, name: str, cell: str, row: int, dialect: Dialect) -> DataError:
    """Makes the error about a cell that is no number in this dialect; rows are counted from 0, without the header."""
    got = f"{shown(cell)} in row {row}"
    if "\0" in cell:
        return _with_nul(path, got)
    if is_missing(cell):
        return bad_column(path.name, name, "must have no missing value; drop or fill such rows", got)
    if is_number(cell):
        rule = f"must hold numbers as the first lines do, which were read by {dialect}"
        fix = "State {decimal} if all are written like this one, or repair the file."
        return DataError("load", f"{path.name}, column {name!r}", rule, got, fix)
    return bad_column(path.name, name, f"must hold numbers, not {kind_of_cell(cell)}", got)


def ragged(path: Path, width: int, cells: list[str], row: int, dialect: Dialect) -> DataError:
    """Makes the error about a row of another length."""
    got = f"{len(cells)} in row {row}"
    if any("\0" in cell for cell in cells):
        return _with_nul(path, got)
    fix = f"Repair this row, or state {{separator}}; the file was read by {dialect}."
    return DataError("load", str(path), f"must have {width} cells in every row", got, fix)


def cause(path: Path, sample: list[str], separator: str | None, decimal: str | None) -> DataError:
    """Why no reading makes a table: rows of other lengths, or a column of no numbers, by the likeliest separator."""
    kept = list(Lines(sample))
    if not kept:
        got = "an empty file" if not "".join(sample) else "empty lines" if not "".join(sample).strip() else "comments"
        return DataError("load", str(path), "must hold a table", got, "Name a file with rows of numbers.")
    if kept[0].lstrip().startswith(OTHER_COMMENTS):
        got = shown(kept[0].strip())
        return DataError(
            "load", str(path), "must begin comments with #", got, "Remove such lines, or begin them with #."
        )
    rows_by = {each: _whole_rows(sample, each) for each in dialects.candidates(sample) if separator in (None, each)}
    rows_by = rows_by or {separator or "": _whole_rows(sample, separator or "")}
    errors = {each: rows for each, rows in rows_by.items() if isinstance(rows, csv.Error)}
    broken = next(iter(errors.values()), None)
    if broken is not None and sum(line.count('"') for line in sample) % 2:
        got, fix = (
            f"a quotation that does not end ({broken})",
            "Repair it: a quotation mark in a cell is written twice.",
        )
        return DataError("load", str(path), "must be a table of text", got, fix)
    usable = {each: rows for each, rows in rows_by.items() if isinstance(rows, list) and rows}
    if not usable or any(each and all(each in line for line in kept) for each in errors):
        got, fix = f"{broken}".rstrip("."), "Repair the quotation marks: one inside a cell is written twice."
        return DataError("load", str(path), "must be a table of text", got, fix)
    usual = {each: Counter(map(len, rows)).most_common(1)[0] for each, rows in usable.items()}
    best = max(usual, key=lambda each: (usual[each][0] > 1, usual[each][1], usual[each][0]))
    return _first_fault(path, usable[best], usual[best][0], Dialect(best, Numbers(decimal or ".")), sample)


def _first_fault(path: Path, rows: list[list[str]], width: int, dialect: Dialect, sample: list[str]) -> DataError:
    """The first row of another length, or the first cell that is no number."""
    header = not any(map(dialect.numbers.holds, rows[0]))
    names, dialect = rows[0] if header else [f"x{i}" for i in range(width)], dialect._replace(header=header)
    if len(rows) > 2 and len(rows[0]) != width:
        rule = f"must begin with a header of {width} names, or with a row of {width} cells, as most rows have"
        fix = f"Remove lines above the header, or repair it; the file was read by {dialect}."
        return DataError("load", str(path), rule, f"{len(rows[0])} in the first line, {shown(rows[0][0])}", fix)
    body = rows[int(header) :]
    for number, row in enumerate(body):
        if len(row) != len(names):
            return ragged(path, len(names), row, number, dialect)
        for name, cell in zip(names, row, strict=True):
            if not dialect.numbers.holds(cell):
                return bad_cell(path, name, cell, number, dialect)
    lines = Lines(sample, dialect.separator)
    got = f"{len([*lines]) - int(header)}"
    got += f", and {lines.comments} lines that begin with # and count as comments" * (lines.comments > 0)
    fix = "Quote cells that begin with #." if lines.comments else "Add some."
    return DataError("load", str(path), "must have at least 2 rows of numbers", got, fix)


def _whole_rows(sample: list[str], separator: str) -> list[list[str]] | csv.Error:
    try:
        return list(dialects.split(sample, separator))
    except csv.Error as error:
        return error


def _with_nul(path: Path, got: str) -> DataError:
    rule, fix = "must be text in UTF-8, without NUL bytes", "Convert it, or write it anew if it was cut off."
    return DataError("load", str(path), rule, got, fix)


def shown(cell: str) -> str:
    """A cell in an error, cut if it is long."""
    return repr(cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}...")
