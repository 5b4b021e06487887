"""Tables in .parquet files; needs pyarrow. Read next: `jflows/data/files/tables.py`."""

from pathlib import Path

import numpy as np

from jflows.data.files.tables import Columns, Table, bad_column, choose, table_format, without_index
from jflows.errors import DataError, MissingPackageError


def read(path: Path, columns: Columns) -> Table:
    """Reads the names and values of the chosen columns.

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
        chosen = choose(path, schema.names, columns)
        table = pyarrow.parquet.read_table(path, columns=[schema.names[i] for i in chosen])
    except (pyarrow.ArrowException, OSError) as error:
        got = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError("load", str(path), "must be a whole Parquet file", got) from error
    arrays = []
    for name in (schema.names[i] for i in chosen):
        column = table[name]
        if not (pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)):
            raise bad_column(path.name, name, "must hold numbers, not text or categories", f"type {column.type}")
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            got = f"null in row {row}"
            raise bad_column(path.name, name, "must have no missing value; drop or fill such rows", got)
        arrays.append(column.to_numpy().astype(np.float64))
    table = Table([schema.names[i] for i in chosen], np.stack(arrays, axis=-1))
    return table if columns is not None else without_index(path, table)


FORMAT = table_format((".parquet",), read)
