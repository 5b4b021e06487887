"""How a table is written as text: separator, decimal mark, header. What is detected is told; what is open is refused.

"1,76" may be one number or two. So the first lines are read in every way that text files know, a `Dialect` each. If one
way alone makes a table of numbers, it is taken; if two do, both are shown, and the user says which one is meant.

Read next: `jflows/data/files/csv.py`, which reads a whole file by its dialect.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jflows.errors import DataError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blanks": " ", "line": ""}
"""What may stand between cells: "blanks" is any run of them, "line" means that each line is one cell."""
DECIMALS = {"point": ".", "comma": ","}
GROUPS = {".": "commas", ",": "points"}
MISSING = ("", "na", "n/a", "nan", "null", "none", "?")  # in lower case
YEARS = range(1500, 2201)  # names of columns that are numbers are mostly these, or 0, 1, 2, ...
_EXPONENT = r"([eE][+-]?\d+)?"
_PLAIN = {
    ".": re.compile(rf"[+-]?(\d+\.?\d*|\.\d+){_EXPONENT}|[+-]?inf(inity)?", re.IGNORECASE),
    ",": re.compile(rf"[+-]?(\d+,?\d*|,\d+){_EXPONENT}|[+-]?inf(inity)?", re.IGNORECASE),
}
_GROUPED = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?"),
}


class Numbers(NamedTuple):
    """How numbers are written.

    Attributes:
      decimal: "." or ",".
      grouped: whether the other mark stands between thousands, as in 1,234.5.
    """

    decimal: str = "."
    grouped: bool = False

    def holds(self, cell: str) -> bool:
        """Whether a cell is a number."""
        return bool(_PLAIN[self.decimal].fullmatch(cell) or (self.grouped and _GROUPED[self.decimal].fullmatch(cell)))

    def plain(self, cell: str) -> str:
        """A cell as Python writes numbers."""
        if self.grouped:
            cell = cell.replace("," if self.decimal == "." else ".", "")
        return cell.replace(",", ".") if self.decimal == "," else cell


class Dialect(NamedTuple):
    """One way to read a file.

    Attributes:
      separator: between cells; " " is any run of blanks, "" means that each line is one cell.
      numbers: how numbers are written.
      header: whether the first row holds names.
      in_comment: whether the last comment before the first row holds them, as `numpy.savetxt` writes it.
      row_names: whether rows begin with a name that the header lacks, as R's `write.table` writes them.
      trailing: whether each line ends with one more separator.
    """

    separator: str
    numbers: Numbers = Numbers()
    header: bool = False
    in_comment: bool = False
    row_names: bool = False
    trailing: bool = False

    def __str__(self) -> str:
        """As options that state it, with what no option states: separator=comma, decimal=point, header=True."""
        words = [f"separator={_word(SEPARATORS, self.separator)}", f"decimal={_word(DECIMALS, self.numbers.decimal)}"]
        words.append(f"header={self.header or self.in_comment}")
        words += [f"{GROUPS[self.numbers.decimal]} between thousands"] if self.numbers.grouped else []
        words += ["names in a comment"] if self.in_comment else []
        return ", ".join(words + (["names of rows left out"] if self.row_names else []))


class Reading(NamedTuple):
    """What the first lines of a file are in one dialect."""

    dialect: Dialect
    names: list[str]
    rows: list[list[str]]

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """The cells by column."""
        return list(zip(*self.rows, strict=True))

    def __str__(self) -> str:
        """For an error: the dialect, and the first row."""
        first = zip(self.names, self.rows[0], strict=True)
        shown = ", ".join(f"{name} = {self.dialect.numbers.plain(cell)}" for name, cell in itertools.islice(first, 4))
        return f"{self.dialect} ({shown}{', ...' if len(self.names) > 4 else ''})"


def split(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """The rows of a file, as stripped cells; blank lines and comments are left out."""
    kept = (line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if separator == "":
        return ([line.strip().strip('"')] for line in kept)
    if separator == " ":
        return csv.reader(
            (line.strip().replace("\t", " ") for line in kept), delimiter=" ", skipinitialspace=True, strict=True
        )
    rows = csv.reader(kept, delimiter=separator, skipinitialspace=True, strict=True)
    return ([cell.strip() for cell in cells] for cells in rows)


def readings(lines: list[str], separator: str | None, decimal: str | None, header: bool | None) -> list[Reading]:
    """All ways to read the first lines as a table with a column of numbers; None means that it is not stated."""
    found = []
    for candidate in SEPARATORS.values() if separator is None else [separator]:
        try:
            rows = list(split(lines, candidate))
        except csv.Error:  # a quotation that does not end where this separator wants it to
            continue
        trailing = len(rows) > 0 and all(len(row) > 1 and row[-1] == "" for row in rows)
        rows = [row[:-1] for row in rows] if trailing else rows
        quoted = all(line.lstrip().startswith('"') for line in lines if line.strip())  # as R writes names
        for shape in _shapes(rows, _comment_cells(lines, candidate), Dialect(candidate, trailing=trailing), quoted):
            for mark in DECIMALS.values() if decimal is None else [decimal]:
                for grouped in (False, True):
                    numbers = Numbers(mark, grouped)
                    found += _with_header(shape, numbers, header)
    return _distinct(found)


def _shapes(rows: list[list[str]], comment: list[str], dialect: Dialect, quoted: bool) -> Iterator[Reading]:
    """Rows of one length, with what may be their names: the first row, a comment, or nothing."""
    lengths = {len(row) for row in rows[1:]} or {len(row) for row in rows}
    if len(lengths) != 1:
        return
    (length,) = lengths
    if (dialect.separator == "") != (length == 1):
        return
    if len(rows[0]) == length and len(comment) == length:
        yield Reading(dialect._replace(in_comment=True), comment, rows)
    elif len(rows[0]) == length:
        yield Reading(dialect, [f"x{i}" for i in range(length)], rows)
        several = dialect.separator == "" and "," in rows[0][0]  # names, so that a row is not one cell either
        if len(rows) > 1 and not several:
            yield Reading(dialect._replace(header=True), rows[0], rows[1:])
    elif len(rows[0]) == length - 1 and (quoted or dialect.separator in (" ", "\t")):
        yield Reading(dialect._replace(header=True, row_names=True), rows[0], [row[1:] for row in rows[1:]])


def _with_header(shape: Reading, numbers: Numbers, header: bool | None) -> Iterator[Reading]:
    """The reading, if these numbers make columns of it and it may have names in this place."""
    dialect = shape.dialect
    if header is not None and header != (dialect.header or dialect.in_comment):
        return
    of_numbers = [i for i, column in enumerate(shape.columns) if _all_numbers(column, numbers)]
    if not of_numbers:
        return
    if header is None and dialect.header and not dialect.row_names:
        names = [shape.names[i] for i in of_numbers]
        are_numbers = all(any(Numbers(mark, True).holds(name) for mark in DECIMALS.values()) for name in names)
        if are_numbers and not _like_names(names):
            return
    yield shape._replace(dialect=dialect._replace(numbers=numbers))


def _all_numbers(column: tuple[str, ...], numbers: Numbers) -> bool:
    known = [cell for cell in column if cell.lower() not in MISSING]
    return bool(known) and all(map(numbers.holds, known))


def _like_names(names: list[str]) -> bool:
    """Whether numbers may be names: 0, 1, 2, ..., or 1, 2, 3, ..., or years that rise."""
    if not all(name.isdecimal() for name in names):
        return False
    values = [int(name) for name in names]
    counts = values in (list(range(len(values))), list(range(1, len(values) + 1)))
    years = all(value in YEARS for value in values) and values == sorted(set(values))
    return len(values) > 1 and (counts or years)


def _comment_cells(lines: list[str], separator: str) -> list[str]:
    """The cells of the last comment before the first row; none if one of them is a number."""
    comments = list(itertools.takewhile(lambda line: line.lstrip().startswith("#") or not line.strip(), lines))
    last = [line.lstrip().lstrip("#").strip() for line in comments if line.strip()][-1:]
    cells = next(iter(split(last, separator)), []) if last else []
    return [] if any(Numbers().holds(cell) for cell in cells) else cells


def _distinct(found: list[Reading]) -> list[Reading]:
    """The readings that give other tables: first those with most columns of numbers, of each the plainest."""
    tables: dict[object, Reading] = {}
    for reading in found:
        numbers = reading.dialect.numbers
        values = tuple(tuple(numbers.plain(c) if numbers.holds(c) else c for c in row) for row in reading.rows)
        tables.setdefault((tuple(reading.names), values), reading)
    share = lambda r: sum(_all_numbers(column, r.dialect.numbers) for column in r.columns) / len(r.names)
    most = max(map(share, tables.values()), default=0)
    return [reading for reading in tables.values() if share(reading) == most]


def told(where: str, found: list[Reading]) -> Reading:
    """The only reading.

    Raises:
      DataError: if there are several, which it shows.
    """
    if len(found) > 1:
        shown = " or ".join(map(str, found[:3]))
        rule = "must be readable in one way only; state {separator}, {decimal} or {header}"
        raise DataError("load", where, rule, f"{len(found)} readings: {shown}")
    return found[0]


def _word(words: dict[str, str], sign: str) -> str:
    return next(word for word, each in words.items() if each == sign)
