"""Writes sampled rows of a table, as .csv with the names of the columns, or as .npy; and scores of rows, as .csv."""

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
        header = ",".join(map(_quoted, names))
        np.savetxt(partial, rows, fmt="%.9g", delimiter=",", header=header, comments="")


def save_scores(scores: np.ndarray, name: str, path: Path) -> None:
    """Writes one score a line, below its name, as .csv."""
    with saving(path) as partial:
        np.savetxt(partial, scores, fmt="%.9g", header=name, comments="")


def _quoted(name: str) -> str:
    """A name as a cell of a .csv file."""
    return f'"{name.replace(chr(34), chr(34) * 2)}"' if any(mark in name for mark in ',"\n\r') else name
