"""What is written for flows of tables: sampled rows, the learning curve, and the page of plots of two dimensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.cli.pictures import saving

SUFFIXES = (".csv", ".npy")


def save_rows(rows: np.ndarray, columns: Sequence[str] | None, path: Path) -> None:
    """Writes rows [num, dim] as .csv, with the columns' names in its first line, or as .npy."""
    with saving(path) as partial:
        if path.suffix.lower() == ".npy":
            with partial.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
            return
        names = columns or [f"x{i}" for i in range(rows.shape[-1])]
        header = ",".join(f'"{name}"' if "," in name else name for name in names)
        np.savetxt(partial, rows, fmt="%.9g", delimiter=",", header=header, comments="")
