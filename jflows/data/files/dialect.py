"""How a table is written as text: separator, decimal mark, header. What is detected is told; what is open is refused.

"1,76" may be one number or two. So the first lines are read in every way that text files know, a `Dialect` each. If one
way alone makes a table of numbers, it is taken; if two do, all are shown, and the user says which one is meant.

Read next: `jflows/data/files/csv.py`, which reads a whole file by its dialect; `numbers.py`.
"""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jflows.data.files.numbers import DECIMALS, GROUPS, Numbers, is_missing, is_number
from jflows.errors import DataError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blanks": " ", "line": ""}
"""What may stand between cells: "blanks" is any run of them, "line" means that each line is one cell."""
NEVER_INSIDE = (";", "\t", "|")  # no number holds one: where every line has as many, nothing else separates cells
OTHER_COMMENTS = ("%", "//")  # of MATLAB, C, ...: with "#" alone, no name of a column can be taken for a comment
YEARS = range(1500, 2201)  # names of columns that are numbers are mostly these, or 0, 1, 2, ...


class Dialect(NamedTuple):
    """One way to read a file.

    Attributes:
      separator: between cells; " " is any run of blanks, "" means that each line is one cell.
      numbers: how numbers are written.
      header: whether the first row holds names.
      in_comment: whether the last comment before the first row holds them, as `numpy.savetxt` writes it.
      row_names: whether rows begin with a name that no column has, as R's `write.table` writes them.
      trailing: whether each line ends with one more separator.
      settled: whether the decimal mark is stated, or the first lines allow no other.
      grouped: marks that stand between thousands in the first lines, in words.
    """

    separator: str
    numbers: Numbers = Numbers()
    header: bool = False
    in_comment: bool = False
    row_names: bool = False
    trailing: bool = False
    settled: bool = False
    grouped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As options that state it, with what no option states: separator=comma, decimal=point, header=True."""
        words = [f"separator={_word(SEPARATORS, self.separator)}", f"decimal={_word(DECIMALS, self.numbers.decimal)}"]
        words.append(f"header={self.header or self.in_comment}")
        words += [f"{marks} between thousands" for marks in self.grouped]
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

    @property
    def of_numbers(self) -> list[int]:
        """The positions of the columns that hold numbers, and nothing else but missing values."""
        return [i for i, column in enumerate(self.columns) if _all_numbers(column, self.dialect.numbers)]

    def __str__(self) -> str:
        """For an error: the dialect, and the first row."""
        first = zip(self.names, self.rows[0], strict=True)
        shown = ", ".join(f"{name} = {self.dialect.numbers.plain(cell)}" for name, cell in itertools.islice(first, 4))
        return f"{self.dialect} ({shown}{', ...' if len(self.names) > 4 else ''})"


@dataclasses.dataclass
class Lines:
    """The lines of a file without blank lines and without comments, which are counted, but for those inside quotes.

    Attributes:
      lines: all lines.
      separator: between cells. If each line is one cell, a blank line between numbers is a missing value, and kept.
      comments: how many comments stood below the first line that was kept.
    """

    lines: Iterable[str]
    separator: str = ","
    comments: int = 0

    def __iter__(self) -> Iterator[str]:
        opens = re.compile(rf'(^|{re.escape(self.separator)})\s*"')
        inside, last, blanks = False, "", 0
        for line in self.lines:
            text = line.strip()
            if inside or (text and not text.startswith("#")):
                if blanks and self.separator == "" and is_number(last.strip('"')):
                    yield from ["\n"] * blanks
                last, blanks = text, 0
                if self.separator and '"' in line and (inside or opens.search(line)):
                    inside ^= line.count('"') % 2 == 1
                yield line
            elif text:
                self.comments += bool(last)
            else:
                blanks += 1


def split(lines: Lines | list[str], separator: str) -> Iterator[list[str]]:
    """The rows of a file, as stripped cells."""
    lines = lines if isinstance(lines, Lines) else Lines(lines, separator)
    if separator == "":
        return ([line.strip().strip('"')] for line in lines)
    if separator == " ":
        return csv.reader(
            (line.strip().replace("\t", " ") for line in lines), delimiter=" ", skipinitialspace=True, strict=True
        )
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    return ([cell.strip() for cell in cells] for cells in rows)


def readings(lines: list[str], separator: str | None, decimal: str | None, header: bool | None) -> list[Reading]:
    """All ways to read the first lines as a table with a column of numbers; None means that it is not stated."""
    found = []
    for candidate in candidates(lines) if separator is None else [separator]:
        try:
            rows = list(split(lines, candidate))
        except csv.Error:  # a quotation that does not end where this separator wants it to
            continue
        trailing = len(rows) > 0 and _all_empty_at_end(rows)
        rows = [row[:-1] if len(row) == len(rows[-1]) else row for row in rows] if trailing else rows
        start = Dialect(candidate, trailing=trailing, settled=decimal is not None)
        for shape in _shapes(rows, _comment_cells(lines, candidate), start, _begin_with_quotes(lines)):
            found += _with_numbers(shape, separator, decimal, header)
    return _distinct(found)


def candidates(lines: list[str]) -> list[str]:
    """The separators that may be those of these lines."""
    kept = list(Lines(lines))
    sure = [mark for mark in NEVER_INSIDE if kept and mark in kept[0] and len({line.count(mark) for line in kept}) == 1]
    return [each for each in SEPARATORS.values() if not sure or each not in (" ", "", ",")]


def _all_empty_at_end(rows: list[list[str]]) -> bool:
    """Whether each line ends with a separator; the header may do without, if it has a name for each other cell."""
    body = rows[1:] or rows
    if not all(len(row) > 1 and row[-1] == "" for row in body):
        return False
    return rows[0][-1:] == [""] or all(len(row) == len(rows[0]) + 1 for row in body)


def _begin_with_quotes(lines: list[str]) -> bool:
    """Whether all lines begin with a quotation, as R writes names of rows."""
    return all(line.lstrip().startswith('"') for line in Lines(lines))


def _shapes(rows: list[list[str]], comment: list[str], dialect: Dialect, quoted: bool) -> Iterator[Reading]:
    """Rows of one length, with what may be their names: the first row, a comment, or nothing."""
    lengths = {len(row) for row in rows[1:]} or {len(row) for row in rows}
    if len(lengths) != 1:
        return
    (length,) = lengths
    if (dialect.separator == "") != (length == 1) and not dialect.trailing:
        return
    if len(rows[0]) == length:
        in_comment = len(comment) == length
        names = comment if in_comment else [f"x{i}" for i in range(length)]
        yield Reading(dialect._replace(in_comment=in_comment), names, rows)
        several = dialect.separator == "" and "," in rows[0][0]  # names, so that a row is not one cell either
        if len(rows) > 1 and not several:
            yield Reading(dialect._replace(header=True), rows[0], rows[1:])
        if len(rows) > 1 and length > 1 and rows[0][0] == "" and not any(is_number(row[0]) for row in rows[1:]):
            yield Reading(dialect._replace(header=True, row_names=True), rows[0][1:], [row[1:] for row in rows[1:]])
    elif len(rows[0]) == length - 1 and not rows[0][0].startswith(OTHER_COMMENTS):
        by_blanks = dialect.separator in (" ", "\t")
        names = [row[0] for row in rows[1:]]
        if quoted or (by_blanks and _name_rows(names) and not all("," in name for name in names)):
            yield Reading(dialect._replace(header=True, row_names=True), rows[0], [row[1:] for row in rows[1:]])


def _name_rows(cells: list[str]) -> bool:
    """Whether these are names of rows: words, or whole numbers that count. Other numbers are data below a title."""
    if not any(map(is_number, cells)):
        return True
    return all(map(str.isdecimal, cells)) and all(int(b) - int(a) == 1 for a, b in itertools.pairwise(cells))


def _with_numbers(shape: Reading, separator: str | None, decimal: str | None, header: bool | None) -> list[Reading]:
    """The reading by each decimal mark that makes columns of numbers of it, if it may have names in this place."""
    if header is not None and header != (shape.dialect.header or shape.dialect.in_comment):
        return []
    marks = set().union(*(cell for row in shape.rows for cell in row))
    found = []
    for mark in DECIMALS.values() if decimal is None else [decimal]:
        if mark == "," == shape.dialect.separator and "," not in marks and None in (separator, decimal):
            continue  # 1.234,5.678 are two numbers with points: with decimal commas they would stand in quotes
        reading = shape._replace(dialect=shape.dialect._replace(numbers=Numbers(mark)))
        of_numbers = reading.of_numbers
        if of_numbers and _may_have_names(reading, of_numbers, header):
            found.append(reading)
    return [reading._replace(dialect=reading.dialect._replace(grouped=_grouped(reading))) for reading in found]


def _may_have_names(reading: Reading, of_numbers: list[int], header: bool | None) -> bool:
    if header is not None or not reading.dialect.header or reading.dialect.row_names:
        return True
    names = [reading.names[i] for i in of_numbers]
    if not all(map(is_number, names)):
        return True
    return _like_names(names) if len(names) > 1 else _like_a_name(names[0], reading.columns[of_numbers[0]])


def _like_a_name(name: str, column: tuple[str, ...]) -> bool:
    """Whether a number may be the name of a single column: 0, as pandas calls it, or a year above what are no years."""
    years = [cell for cell in column if cell.isdecimal() and int(cell) in YEARS and cell != name]
    return name == "0" or (name.isdecimal() and int(name) in YEARS and 2 * len(years) < len(column))


def _grouped(reading: Reading) -> tuple[str, ...]:
    """The marks between thousands, in words."""
    numbers, columns = reading.dialect.numbers, reading.columns
    cells = [cell for i in reading.of_numbers for cell in columns[i] if numbers.groups(cell)]
    return tuple(
        word for word, marks in GROUPS.items() if marks != numbers.decimal and set(marks) & set("".join(cells))
    )


def _has_marks(reading: Reading) -> bool:
    """Whether a number has a point or a comma."""
    columns = reading.columns
    return any("." in cell or "," in cell for i in reading.of_numbers for cell in columns[i])


def _all_numbers(column: tuple[str, ...], numbers: Numbers) -> bool:
    known = [cell for cell in column if not is_missing(cell)]
    return bool(known) and all(map(numbers.holds, known))


def _like_names(names: list[str]) -> bool:
    """Whether numbers may be names: 0, 1, 2, ..., or 1, 2, 3, ..., or years that rise."""
    if not all(name.isdecimal() for name in names):
        return False
    values = [int(name) for name in names]
    counts = values in (list(range(len(values))), list(range(1, len(values) + 1)))
    years = all(value in YEARS for value in values) and values == sorted(set(values))
    return counts or years


def _comment_cells(lines: list[str], separator: str) -> list[str]:
    """The cells of the last comment before the first row; none if one of them is a number."""
    comments = list(itertools.takewhile(lambda line: line.lstrip().startswith("#") or not line.strip(), lines))
    last = [line.lstrip().lstrip("#").strip() for line in comments if line.strip()][-1:]
    try:
        cells = next(iter(split(last, separator)), []) if last else []
    except csv.Error:  # prose with a quotation mark
        return []
    return [] if any(map(is_number, cells)) else cells


def _distinct(found: list[Reading]) -> list[Reading]:
    """The readings that give other tables: first those with most columns of numbers, of each the plainest."""
    tables: dict[object, Reading] = {}
    marks: dict[object, set[str]] = {}  # by which a table can be read
    for reading in found:
        numbers = reading.dialect.numbers
        value = lambda cell, numbers=numbers: float(numbers.plain(cell)) if numbers.holds(cell) else cell
        values = tuple(tuple(map(value, row)) for row in reading.rows)
        tables.setdefault((tuple(reading.names), values), reading)
        marks.setdefault((tuple(reading.names), values), set()).add(numbers.decimal)
    for key, reading in tables.items():
        settled = reading.dialect.settled or (len(marks[key]) == 1 and _has_marks(reading))
        tables[key] = reading._replace(dialect=reading.dialect._replace(settled=settled))
    share = lambda reading: len(reading.of_numbers) / len(reading.names)
    most = max(map(share, tables.values()), default=0)
    return [reading for reading in tables.values() if share(reading) == most]


def told(where: str, found: list[Reading]) -> Reading:
    """The only reading.

    Raises:
      DataError: if there are several, which it shows.
    """
    if len(found) > 1:
        rule = "must be readable in one way only; state {separator}, {decimal} or {header}"
        raise DataError("load", where, rule, f"{len(found)} readings: {' or '.join(map(str, found))}")
    return found[0]


def _word(words: dict[str, str], sign: str) -> str:
    return next(word for word, each in words.items() if each == sign)
