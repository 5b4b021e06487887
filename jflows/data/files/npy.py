"""Tables in .npy files: one array [num, dim]. Read next: `jflows/data/files/tables.py`."""

from pathlib import Path

import numpy as np

from jflows.data.files.foreign import instead
from jflows.data.files.tables import Columns, Table, choose, table_format, without_index
from jflows.errors import DataError

PICKLED = "Object arrays cannot be loaded"  # what numpy says of them


def read(path: Path, columns: Columns) -> Table:
    """Reads the chosen columns, which are called "x0", "x1", ..., and their values."""
    try:
        x = np.load(path, allow_pickle=False)
    except Exception as error:  # of damaged files: OSError, ValueError, TokenError, MemoryError, ...
        got, fix = instead(path, error)
        if str(error).startswith(PICKLED):
            got, fix = "an array of objects", "Save it as np.save(path, x.astype(float))."
        raise DataError("load", str(path), "must be a whole .npy file without pickles", got, fix) from error
    if not isinstance(x, np.ndarray):
        x.close()
        raise DataError("load", str(path), "must be a .npy file", "an .npz file", f"Rename it to {path.stem}.npz.")
    if x.dtype.names:
        got, fix = (
            f"records of {', '.join(x.dtype.names)}",
            "Save numpy.lib.recfunctions.structured_to_unstructured(x).",
        )
        raise DataError("load", str(path), "must hold one plain array", got, fix)
    if x.ndim != 2:
        fix = "Save x[:, None] for one column." if x.ndim == 1 else "Put images into an .npz file."
        raise DataError("load", str(path), "must be [num, dim]", f"shape {x.shape}", fix)
    names = [f"x{i}" for i in range(x.shape[1])]
    chosen = choose(path, names, columns)
    table = Table([names[i] for i in chosen], x[:, chosen], named=False)
    return table if columns is not None else without_index(path, table)


FORMAT = table_format((".npy",), read)
