"""How numbers are written in text: decimal marks, marks between thousands; and what a cell is that is no number.

Read next: `jflows/data/files/dialect.py`, which tells the decimal mark of a file.
"""

import re
from typing import NamedTuple

DECIMALS = {"point": ".", "comma": ","}
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", ".", "-", "--", "..")  # in lower case
GROUPS = {"commas": ",", "points": ".", "blanks": " \u00a0\u2007\u2009\u202f", "apostrophes": "'\u2019"}
"""Marks that may stand between thousands; the blanks are the usual one and those that no line breaks at."""
_EXPONENT = r"([eE][+-]?\d+)?"
_PLAIN = {
    ".": re.compile(rf"[+-]?(\d+\.?\d*|\.\d+){_EXPONENT}|[+-]?inf(inity)?", re.IGNORECASE),
    ",": re.compile(rf"[+-]?(\d+(,\d+)?|,\d+){_EXPONENT}|[+-]?inf(inity)?", re.IGNORECASE),
}
_GROUPED = {
    decimal: [
        re.compile(rf"[+-]?[1-9]\d{{0,2}}([{marks}]\d{{3}})+({re.escape(decimal)}\d*)?")
        for marks in GROUPS.values()
        if marks != decimal
    ]
    for decimal in DECIMALS.values()
}
_TO_POINT = {
    decimal: str.maketrans(
        {mark: None for marks in GROUPS.values() for mark in marks if mark != decimal} | {decimal: "."}
    )
    for decimal in DECIMALS.values()
}
_NUMBER = r"[+-]?\d[\d.,'\s]*"
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_PATTERNS = {
    "truth values": r"true|false|yes|no",
    "dates or times": rf"\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}([ T].*)?|\d{{1,2}}:\d\d(:\d\d.*)?|"
    rf"\d{{1,2}}[- ]{_MONTH}[- ,]*\d{{2,4}}|{_MONTH}[- ]\d{{1,4}}(,? \d{{4}})?",
    "percentages": rf"{_NUMBER}\s*[%\u2030]",
    "amounts of money": rf"[-+(]?\s*([$\u20ac\u00a3\u00a5\u20b9]|usd|eur|gbp)\s*{_NUMBER}\)?|"
    rf"{_NUMBER}\s*([$\u20ac\u00a3\u00a5\u20b9]|usd|eur|gbp)",
    "hexadecimal numbers": r"[+-]?0x[0-9a-f]+",
    "exponents of Fortran": r"[+-]?[\d.]+d[+-]?\d+",
    "complex numbers": r"\(?[+-]?[\d.e+-]*[\d.][+-][\d.e+-]*[ij]\)?",
    "numbers in brackets": rf"\(\s*{_NUMBER}\)|\[\s*{_NUMBER}\]",
    "numbers with a dash for a minus": rf"[\u2212\u2013\u2014]\s*{_NUMBER}",
    "fractions": r"\d+\s*/\s*\d+",
    "errors of a spreadsheet": r"#(div/0!|value!|ref!|name\?|num!|null!|#+)",
    "pairs of a place and a value": r"\d+:[-+\d.e]+",
    "numbers with a unit": rf"{_NUMBER}\s*[a-z\u00b0\u00b5]{{1,4}}([/^]\S*)?",
}
_KINDS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _PATTERNS.items()}


class Numbers(NamedTuple):
    """How numbers are written: by their decimal mark. Any other mark may stand between thousands.

    Attributes:
      decimal: "." or ",".
    """

    decimal: str = "."

    def holds(self, cell: str) -> bool:
        """Whether a cell is a number."""
        return bool(_PLAIN[self.decimal].fullmatch(cell)) or self.groups(cell)

    def groups(self, cell: str) -> bool:
        """Whether a cell is a number with marks between thousands."""
        return any(pattern.fullmatch(cell) for pattern in _GROUPED[self.decimal])

    def plain(self, cell: str) -> str:
        """A number as Python writes it."""
        return cell.translate(_TO_POINT[self.decimal])


def is_number(cell: str) -> bool:
    """Whether a cell is a number by some decimal mark."""
    return any(Numbers(mark).holds(cell) for mark in DECIMALS.values())


def is_open(cell: str) -> bool:
    """Whether a cell is one number by a decimal point and another by a decimal comma, as 1,234 is."""
    point, comma = (Numbers(mark) for mark in DECIMALS.values())
    return point.holds(cell) and comma.holds(cell) and float(point.plain(cell)) != float(comma.plain(cell))


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING


def kind_of_cell(cell: str) -> str:
    """What a cell is that is no number, in the plural: "dates or times", "percentages", ..., or else "text"."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(cell)), "text")
