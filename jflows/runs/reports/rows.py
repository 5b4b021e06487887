"""`save_rows`: writes sampled rows of a table, as .csv with the names of the columns, or as .npy."""

import itertools
import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval.memory import in_words
from jflows.runs.files import saving

SUFFIXES = (".csv", ".npy")
CSV_BYTES = 10  # of a number as text, about


def save_rows(
    parts: Iterable[np.ndarray],
    num: int,
    columns: Sequence[str],
    path: Path,
    context: np.ndarray | None = None,
    context_columns: Sequence[str] = (),
) -> None:
    """Writes rows [num, dim], or as a .npy file arrays [num, ...], in parts that need not be in memory together.

    Args:
      columns: names of the columns; those without a name are called x0, x1, ...
      context: contexts of the rows, [num, c], which a .csv file gets as further columns, and a .npy file not.
      context_columns: their names; context0, context1, ... if there are none.
    Raises:
      InvalidValueError: if the file would be larger than the free space.
    """
    parts = iter(parts)
    first = next(parts)
    dim, is_csv = first.shape[-1], path.suffix.lower() == ".csv"
    context = None if context is None or not is_csv else context.reshape(num, -1)
    width = dim + (0 if context is None else context.shape[1])
    _check_space(path, num * (width * CSV_BYTES if is_csv else first[0].nbytes), num)
    names = [*columns] or [f"x{i}" for i in range(dim)]
    names += [*context_columns] or [f"context{i}" for i in range(width - dim)]
    done = 0
    with saving(path) as partial, partial.open("wb") as file:
        if is_csv:
            file.write((",".join(map(_quoted, names[:width])) + "\n").encode())
        else:
            descr, shape = np.lib.format.dtype_to_descr(first.dtype), (num, *first.shape[1:])
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        for part in itertools.chain([first], parts):
            beside = None if context is None else context[done : done + len(part)]
            done += len(part)
            if is_csv:
                whole = part if beside is None else np.concatenate([part, beside], axis=1)
                np.savetxt(file, whole, fmt="%.9g", delimiter=",")
            else:
                file.write(np.ascontiguousarray(part).tobytes())


def _check_space(path: Path, needed: int, num: int) -> None:
    """Raises `InvalidValueError` if a file needs more space than is free."""
    place = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    free = math.inf if place is None else shutil.disk_usage(place).free
    if needed > free:
        rule = f"must fit on the disk: the file needs about {in_words(needed)}, and {in_words(free)} are free"
        raise InvalidValueError("sample", "num", rule, num, "Ask for fewer, or write to another disk by {out}.")


def _quoted(name: str) -> str:
    """A name as a cell of a .csv file."""
    return f'"{name.replace(chr(34), chr(34) * 2)}"' if any(mark in name for mark in ',"\n\r') else name
