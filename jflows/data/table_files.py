"""Tables in the user's own files: .csv and .tsv, .parquet (needs pyarrow), .npy.

Columns must hold numbers. In .csv files the separator is a comma, a semicolon or a tab; the first line is a header
unless a cell of it is a number, and columns without a name are "x0", "x1", ... A tenth of the rows, chosen by a fixed
seed, is held out for testing. Tables in .npz files are read by `jflows/data/files.py`. Read next:
`jflows/data/dataset.py`, which checks the values.
"""

import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jflows.data.dataset import TableData, hold_out, split_rows
from jflows.errors import DataError, InvalidValueError, MissingPackageError, did_you_mean

Columns = Sequence[str | int] | None  # by name or position; None: all
MOST_LOST = 0.9  # of the different values of a column, so many must be left in float32
MISSING = ("", "na", "n/a", "nan", "null", "none", "?")  # in lower case


def load_file(path: Path, split: str, num_validation: int = 0, columns: Columns = None) -> TableData:
    """Loads one split of a file; see the head of this module.

    Args:
      path: its suffix says what it is.
      split: "train", "validation" or "test".
      num_validation: the last so many (shuffled) training rows are "validation".
      columns: those to read, by name or position, in this order; None reads all.
    Raises:
      DataError: if the file is damaged, a column holds text or categories, or is constant, or a value is missing: it
        is named by row (from 0, without the header) and column.
      InvalidValueError: if `columns` or `num_validation` breaks its rule.
      MissingPackageError: if pyarrow is needed and not installed.
    """
    names, values = READERS[path.suffix](path, columns)
    data = TableData(path.name, values, columns=tuple(names))
    check_precision(path, names, values)
    check_varies(data)
    train, test = hold_out(len(data), str(path))
    rows = test if split == "test" else train[slice(*split_rows(split, len(train), num_validation))]
    return data.take(rows)


def maker(path: Path, dim: int, names: np.ndarray | None, columns: Columns) -> Callable[..., TableData]:
    """What turns arrays (x, label, num_classes) of an .npz file into tables of the chosen columns."""
    found = [f"x{i}" for i in range(dim)] if names is None else [str(name) for name in np.ravel(names)]
    if len(found) != dim:
        raise DataError("load", str(path), f"must name its {dim} columns in `columns`", found)
    chosen = choose(path, found, columns)
    kept = tuple(found[i] for i in chosen)

    def make(x: np.ndarray, label: np.ndarray | None, num_classes: int | None) -> TableData:
        return TableData(path.name, x[:, chosen], label, kept, num_classes)

    return make


def choose(path: Path, names: Sequence[str], columns: Columns) -> list[int]:
    """Positions of the chosen columns.

    Raises:
      InvalidValueError: if `columns` is empty, repeats a column, or names one that is not there or there twice.
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
    """Raises `DataError` if float32, in which tables are kept, cannot tell the values of a column apart."""
    for name, column in zip(names, values.T, strict=True):
        distinct, kept = len(np.unique(column)), len(np.unique(column.astype(np.float32)))
        if kept < MOST_LOST * distinct:
            rule = "must keep its values apart in float32; subtract an offset from it"
            raise _bad_column(path.name, name, rule, f"{kept} different values of {distinct}")


def check_varies(data: TableData) -> None:
    """Raises `DataError` if a column has one value only."""
    constant = np.flatnonzero(np.ptp(data.x, axis=0) == 0)
    if constant.size:
        name, value = data.columns[constant[0]], data.x[0, constant[0]]
        got = f"{value:.6g} in every row, in float32"
        raise _bad_column(data.name, name, "must vary, or its density is infinite", got)


def _bad_column(file_name: str, name: str, rule: str, got: object) -> DataError:
    return DataError("load", f"{file_name}, column {name!r}", rule, got, "Leave it out by `columns`.")


def _read_csv(path: Path, columns: Columns) -> tuple[list[str], np.ndarray]:
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
        raise DataError("load", str(path), "must be text in UTF-8", error.reason, "Convert it.") from error
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
                    return _bad_column(path.name, names[i], "must have no missing value; drop or fill such rows", got)
                if not _is_number(cell):
                    return _bad_column(
                        path.name, names[i], "must hold numbers, not text or categories", f"{cell!r} in row {number}"
                    )
    return DataError("load", str(path), "must be a table of numbers", str(error).rstrip("."))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.lower() not in MISSING


def _read_parquet(path: Path, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = "Run `pip install pyarrow`."
        raise MissingPackageError("load", "pyarrow", f"is needed to read {path.name}", error, fix) from error
    try:
        schema = pyarrow.parquet.read_schema(path)
        chosen = choose(path, schema.names, columns)
        table = pyarrow.parquet.read_table(path, columns=[schema.names[i] for i in chosen])
    except (pyarrow.ArrowException, OSError) as error:
        got = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError("load", str(path), "must be a whole Parquet file", got) from error
    arrays = []
    for name in (schema.names[i] for i in chosen):
        column = table[name]
        if not (pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)):
            raise _bad_column(path.name, name, "must hold numbers, not text or categories", f"type {column.type}")
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            got = f"null in row {row}"
            raise _bad_column(path.name, name, "must have no missing value; drop or fill such rows", got)
        arrays.append(column.to_numpy().astype(np.float64))
    return [schema.names[i] for i in chosen], np.stack(arrays, axis=-1)


def _read_npy(path: Path, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        got = f"{type(error).__name__}: {error}".rstrip(".")
        raise DataError("load", str(path), "must be a whole .npy file without pickles", got) from error
    if x.ndim != 2:
        raise DataError("load", str(path), "must be [num, dim]", f"shape {x.shape}", "Put images into an .npz file.")
    names = [f"x{i}" for i in range(x.shape[1])]
    chosen = choose(path, names, columns)
    return [names[i] for i in chosen], x[:, chosen]


READERS: dict[str, Callable[[Path, Columns], tuple[list[str], np.ndarray]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".npy": _read_npy,
}
TABLE_SUFFIXES = tuple(READERS)
