"""Tables in .npy files: one array [num, dim]. Read next: `jflows/data/files/tables.py`."""

from pathlib import Path

import numpy as np

from jflows.data.files.tables import Columns, Table, choose, table_format
from jflows.errors import DataError


def read(path: Path, columns: Columns) -> Table:
    """Reads the chosen columns, which are called "x0", "x1", ..., and their values."""
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        got = f"{type(error).__name__}: {error}".rstrip(".")
        raise DataError("load", str(path), "must be a whole .npy file without pickles", got) from error
    if x.ndim != 2:
        raise DataError("load", str(path), "must be [num, dim]", f"shape {x.shape}", "Put images into an .npz file.")
    names = [f"x{i}" for i in range(x.shape[1])]
    chosen = choose(path, names, columns)
    return Table([names[i] for i in chosen], x[:, chosen])


FORMAT = table_format((".npy",), read)
