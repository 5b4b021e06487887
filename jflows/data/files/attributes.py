"""Attributes of the images of a folder, from a .csv file with one row for each image.

    file,glasses,age
    anna/1.png,yes,31
    anna/2.png,no,

The first column, `file`, is the path of an image inside the folder. A column is one of truth values if all of its cells
are (1 and 0, 1 and -1, yes and no, true and false), else one of numbers. An empty cell (or NA, nan, ?) and an image
without a row have no value. Read next: `jflows/data/files/folder.py`.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.data.attributes import NO_VALUE
from jflows.data.files.numbers import MISSING
from jflows.errors import DataError, did_you_mean

FILE = "file"
SEPARATORS = ",;\t"
TRUE, FALSE = ("1", "yes", "true"), ("0", "-1", "no", "false")


def read_attributes(path: Path, files: Sequence[str]) -> dict[str, np.ndarray]:
    """The attributes of images, in the order of `files`: int8 of truth values, float32 of numbers.

    Args:
      path: the .csv file, see the head of this module; cells are separated by commas, semicolons or tabs.
      files: the paths of all images inside the folder, with slashes.
    Raises:
      DataError: if the file cannot be read, a row is about no image or is the second about one, or a cell is wrong.
    """
    header, rows = _read(path)
    row_of = {file: row for row, file in enumerate(files)}
    places: dict[int, int] = {}  # row of an image -> number of its row in the file
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                "load", str(path), f"must have {len(header)} cells in each row", f"{len(row)} in row {number}"
            )
        file = row[0].strip().replace("\\", "/").removeprefix("./")
        if file not in row_of:
            fix = did_you_mean(file, files) or "Remove this row, or write the path of the image inside the folder."
            raise DataError(
                "load", str(path), "must have rows of images of the folder only", f"{file!r} in row {number}", fix
            )
        if row_of[file] in places:
            raise DataError("load", str(path), "must have one row for one image", f"two of {file!r}")
        places[row_of[file]] = number
    images = np.array(list(places), int)
    found = {}
    for column, name in enumerate(header[1:], start=1):
        values = _values(path, name, [rows[number][column].strip() for number in places.values()])
        found[name] = np.full(len(files), NO_VALUE if values.dtype == np.int8 else np.nan, values.dtype)
        found[name][images] = values
    return found


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the rows that are not blank."""
    if not path.is_file():
        raise DataError("load", "attributes", "must be an existing .csv file", repr(str(path)), "Check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = max(SEPARATORS, key=first.count)
            header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
            rows = [row for row in csv.reader(file, delimiter=separator) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("load", str(path), "must be a table of text in UTF-8", str(error), "Write it anew.") from error
    fix = f"Write a first line such as `{FILE},smiling,age`."
    if len(header) < 2 or header[0].lower() != FILE:
        rule = f"must begin with a line of names, of which the first is `{FILE}`"
        raise DataError("load", str(path), rule, repr(first.strip()[:80]), fix)
    if len(set(header)) < len(header) or not all(header):
        raise DataError("load", str(path), "must have different names of columns", ", ".join(header), fix)
    if not rows:
        raise DataError("load", str(path), "must have a row for each image", "none", "Add them below the names.")
    return header, rows


def _values(path: Path, name: str, cells: list[str]) -> np.ndarray:
    """Truth values as int8 if all cells are, else numbers as float32."""
    words = ["" if cell.lower() in MISSING else cell.lower() for cell in cells]
    if set(words) <= {"", *TRUE, *FALSE}:
        return np.array([word in TRUE if word else NO_VALUE for word in words], np.int8)
    numbers = []
    for word in words:
        try:
            numbers.append(float(word or "nan"))
        except ValueError:
            numbers.append(math.inf)  # refused just below
        if math.isinf(numbers[-1]):
            rule, fix = "must hold truth values, such as yes and no, or numbers", "Leave the cell empty for no value."
            raise DataError("load", f"{path.name}, column {name!r}", rule, repr(word), fix)
    return np.array(numbers, np.float32)
