"""Tables in .parquet files; needs pyarrow. Read next: `jflows/data/files/tables.py`."""

from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.files.foreign import instead
from jflows.data.files.tables import Columns, Table, bad_column, check_whole, choose, table_format, without_index
from jflows.errors import DataError, InvalidValueError, MissingPackageError


def read(path: Path, columns: Columns) -> Table:
    """Reads the names and values of the chosen columns.

    Decimals become float64. The index that pandas has written is left out if it counts the rows.

    Raises:
      MissingPackageError: if pyarrow is not installed.
    """
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = "Run `pip install pyarrow`."
        raise MissingPackageError("load", "pyarrow", f"is needed to read {path.name}", error, fix) from error
    try:
        schema = pyarrow.parquet.read_schema(path)
        index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
        chosen = choose(path, schema.names, columns)
        names = [schema.names[i] for i in chosen]
        with pyarrow.parquet.ParquetFile(path) as file:  # which, unlike `read_table`, takes a name that stands twice
            table = file.read() if len(set(schema.names)) < len(schema.names) else file.read(columns=names)
        found = [table.column(i if table.num_columns == len(schema.names) else table.schema.get_field_index(name))
                 for i, name in zip(chosen, names, strict=True)]  # fmt: skip
    except InvalidValueError:
        raise
    except Exception as error:  # of damaged files: ArrowException, OSError, UnicodeDecodeError, JSONDecodeError, ...
        got, fix = instead(path, error)
        raise DataError("load", str(path), "must be a whole Parquet file", got, fix) from error
    arrays = [_numbers(path, name, column) for name, column in zip(names, found, strict=True)]
    values = np.stack(arrays, axis=-1) if arrays else np.zeros((table.num_rows, 0))
    check_whole(path, names, values, 0, lambda row, column: found[column][row].as_py())
    result = Table(names, values)
    if columns is not None:
        return result
    return without_index(path, result, index)


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column as float64."""
    import pyarrow  # pyright: ignore[reportMissingImports]

    types, kind = pyarrow.types, column.type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not numeric and not types.is_null(kind):
        raise bad_column(path.name, name, f"must hold numbers, not {_kind(types, kind)}", f"type {kind}")
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        got = f"null in row {row}"
        raise bad_column(path.name, name, "must have no missing value; drop or fill such rows", got)
    return column.cast(pyarrow.float64(), safe=False).to_numpy().astype(np.float64)


def _kind(types: Any, kind: Any) -> str:
    """What a column of no numbers holds, in the plural."""
    for check, words in (
        (types.is_boolean, "truth values"),
        (types.is_dictionary, "categories"),
        (types.is_temporal, "dates or times"),
        (types.is_nested, "structures" if types.is_struct(kind) else "lists"),
    ):
        if check(kind):
            return words
    return "text or bytes"


FORMAT = table_format((".parquet",), read)
