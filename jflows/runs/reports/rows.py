"""`save_rows`: writes sampled rows of a table, as .csv with the names of the columns, or as .npy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.runs.files import saving

SUFFIXES = (".csv", ".npy")


def save_rows(rows: np.ndarray, columns: Sequence[str], path: Path) -> None:
    """Writes rows [num, dim]; columns without a name are called x0, x1, ..."""
    with saving(path) as partial:
        if path.suffix.lower() == ".npy":
            with partial.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
            return
        names = columns or [f"x{i}" for i in range(rows.shape[-1])]
        header = ",".join(f'"{name}"' if "," in name else name for name in names)
        np.savetxt(partial, rows, fmt="%.9g", delimiter=",", header=header, comments="")
