"""Images or a table in an .npz file.

It holds `x` [num, height, width, channels] with `label` or `y`, or `train` and `test` with `train_label` and
`test_label`, or `x_train`, `y_train`, `x_test`, `y_test`. Arrays [num, dim] are a table, whose column names may be in
`columns`. Without a test part, a seeded tenth of the rows is held out for testing.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.dataset import Data, ImageData, TableData
from jflows.data.files.base import FileFormat
from jflows.data.files.tables import Columns, choose
from jflows.data.splits import hold_out, split_rows
from jflows.errors import DataError, InvalidValueError

Make = Callable[[np.ndarray, np.ndarray | None, int | None], Data]  # from x, label and num_classes


def load(path: Path, split: str, num_validation: int, options: Mapping[str, Any]) -> Data:
    """Loads one split of an .npz file; the head of this module lists its keys, to which `num_bits` may be added.

    Arrays with the keys `train` and `test` keep their order; rows of `x` alone are shuffled by a fixed seed.

    Args:
      path: path of the file.
      split: "train", "validation" or "test".
      num_validation: how many training rows, the last ones, are "validation".
      options: for a table, `columns`: the columns to keep, by name or position; without it all are kept.
    Raises:
      DataError: if the file is damaged or pickled, a key is missing, or the arrays break the rules of `ImageData` or
        `TableData`.
      InvalidValueError: if `num_validation` or `columns` breaks its rule.
    """
    arrays, columns = _read_npz(path), options.get("columns")
    x, test_x = _first(arrays, "x", "train", "x_train"), _first(arrays, "test", "x_test")
    label = _first(arrays, "label", "y", "train_label", "y_train")
    test_label = _first(arrays, "test_label", "y_test")
    if x is None:
        rule = "must have an array `x`, or `train` and `test`"
        raise DataError("load", str(path), rule, f"keys {sorted(arrays)}", "Save it with np.savez(path, x=images).")
    if x.ndim == 2:
        make = _table_maker(path, x.shape[1], arrays.get("columns"), columns)
    elif columns is None:
        make = _image_maker(path, int(arrays.get("num_bits", np.int64(8))))
    else:
        raise InvalidValueError("load", "columns", "is for tables, not for images", columns, "Drop it.")
    data = make(x, label, None)
    data.check_varies()
    if test_x is None:
        train, test = hold_out(len(data), str(path))
        rows = test if split == "test" else train
    elif split == "test":
        if test_x.shape[1:] != x.shape[1:]:
            rule = f"must hold test data of the training data's shape {x.shape[1:]}"
            raise DataError("load", str(path), rule, f"shape {test_x.shape[1:]}", "Bring them to one shape.")
        if (label is None) != (test_label is None):
            rule = "must have labels for both parts or for neither"
            raise DataError("load", str(path), rule, f"keys {sorted(arrays)}", "Add or remove `test_label`.")
        return make(test_x, test_label, data.num_classes)
    else:
        rows = np.arange(len(data))
    if split != "test":
        start, stop = split_rows(split, len(rows), num_validation)
        rows = rows[start:stop]
    return data.take(rows)


def _table_maker(path: Path, dim: int, names: np.ndarray | None, columns: Columns) -> Make:
    """What turns arrays (x, label, num_classes) of an .npz file into tables of the chosen columns."""
    found = [f"x{i}" for i in range(dim)] if names is None else [str(name) for name in np.ravel(names)]
    if len(found) != dim:
        raise DataError("load", str(path), f"must name its {dim} columns in `columns`", found)
    chosen = choose(path, found, columns)
    kept = tuple(found[i] for i in chosen)

    def make(x: np.ndarray, label: np.ndarray | None, num_classes: int | None) -> TableData:
        return TableData(path.name, x[:, chosen], label, kept, num_classes)

    return make


def _image_maker(path: Path, num_bits: int) -> Make:
    def make(x: np.ndarray, label: np.ndarray | None, num_classes: int | None) -> ImageData:
        return ImageData(path.name, x, label, num_bits, num_classes)

    return make


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here: of a damaged file, `np.load(path)` would leave the file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, AttributeError) as error:
        fix = "Save plain arrays of integers with np.savez(path, x=images)."
        got = f"a file that numpy cannot read as one ({type(error).__name__})"
        raise DataError("load", str(path), "must be a whole .npz file without pickles", got, fix) from error


def _first(arrays: dict[str, np.ndarray], *keys: str) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


FORMAT = FileFormat((".npz",), ("images", "table"), ("columns",), load)
