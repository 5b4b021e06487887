"""Images or a table in an .npz file.

It holds `x` [num, height, width, channels] with `label` or `y`, or `train` and `test` with `train_label` and
`test_label`, or `x_train`, `y_train`, `x_test`, `y_test`; and for images `num_bits`. Arrays [num, dim] are a table,
whose column names may be in `columns`, and whose contexts in `context`, or in `train_context` and `test_context`, with
their names in `context_columns`. Weights of rows or images are in `weight`, or in `train_weight` and `test_weight`;
gradients of a log density at the rows of a table in `gradient`, or in `train_gradient` and `test_gradient`.
Without a test part, a seeded tenth of the rows is held out for testing. Any other key is refused.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.base import Data
from jflows.data.dataset import ImageData, TableData
from jflows.data.files.base import FileFormat
from jflows.data.files.foreign import instead
from jflows.data.files.npy import PICKLED
from jflows.data.files.tables import FEWEST_ROWS, Columns, Table, choose, without_index
from jflows.data.splits import ALL, hold_out, split_rows
from jflows.errors import DataError, InvalidValueError

PIXEL_BITS = 8
Part = np.ndarray | None
Make = Callable[..., Data]
"""From x, label, context, weight, gradient and num_classes."""
_X, _TEST_X = ("x", "train", "x_train"), ("test", "x_test")
_LABEL, _TEST_LABEL = ("label", "y", "train_label", "y_train"), ("test_label", "y_test")
_CONTEXT, _TEST_CONTEXT = ("context", "train_context"), ("test_context",)
_WEIGHT, _TEST_WEIGHT = ("weight", "train_weight"), ("test_weight",)
_GRADIENT, _TEST_GRADIENT = ("gradient", "train_gradient"), ("test_gradient",)
KEYS = (*_X, *_TEST_X, *_LABEL, *_TEST_LABEL, *_CONTEXT, *_TEST_CONTEXT, *_WEIGHT, *_TEST_WEIGHT)
KEYS += (*_GRADIENT, *_TEST_GRADIENT, "num_bits", "columns", "context_columns")


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
    if not any(key in arrays for key in _X):
        rule = "must have an array `x`, or `train` and `test`"
        raise DataError("load", str(path), rule, f"keys {sorted(arrays)}", "Save it with np.savez(path, x=images).")
    x, *own = (_one(path, arrays, keys) for keys in (_X, _LABEL, _CONTEXT, _WEIGHT, _GRADIENT))
    of_test = (_TEST_X, _TEST_LABEL, _TEST_CONTEXT, _TEST_WEIGHT, _TEST_GRADIENT)
    test_x, *test_own = (_one(path, arrays, keys) for keys in of_test)
    assert x is not None
    if x.ndim == 2:
        make = _table_maker(path, x, arrays, columns)
    elif columns is None:
        make = _image_maker(path, _num_bits(path, arrays.get("num_bits")))
    else:
        raise InvalidValueError("load", "columns", "is for tables, not for images", columns, "Drop it.")
    data = make(x, *own, None)
    if split != ALL:
        data.check_varies()
    if split == ALL and test_x is None:
        return data
    if test_x is None:
        train, test = hold_out(len(data), str(path), FEWEST_ROWS)
        rows = test if split == "test" else train
    elif split in ("test", ALL):
        if test_x.shape[1:] != x.shape[1:]:
            rule = f"must hold test data of the training data's shape {x.shape[1:]}"
            raise DataError("load", str(path), rule, f"shape {test_x.shape[1:]}", "Bring them to one shape.")
        for what, of_train, of_test in zip(("label", "context", "weight", "gradient"), own, test_own, strict=True):
            if (of_train is None) != (of_test is None):
                rule, fix = f"must have a {what} for both parts or for neither", f"Add or remove `test_{what}`."
                raise DataError("load", str(path), rule, f"keys {sorted(arrays)}", fix)
        if split == "test":
            return make(test_x, *test_own, data.num_classes)
        joined = lambda a, b: None if a is None or b is None else np.concatenate([a, b])
        both = (joined(a, b) for a, b in zip(own, test_own, strict=True))
        return make(np.concatenate([x, test_x]), *both, data.num_classes)
    else:
        rows = np.arange(len(data))
    if split != "test":
        start, stop = split_rows(split, len(rows), num_validation)
        rows = rows[start:stop]
    return data.take(rows)


def has_test(path: Path) -> bool:
    """Whether an .npz file holds a test part."""
    return any(key in _read_npz(path) for key in _TEST_X)


def _table_maker(path: Path, x: np.ndarray, arrays: dict[str, np.ndarray], columns: Columns) -> Make:
    """What makes tables of the chosen columns of the arrays of an .npz file."""
    of_context = tuple(str(name) for name in np.ravel(arrays.get("context_columns", ())))
    dim, names = x.shape[1], arrays.get("columns")
    found = [f"x{i}" for i in range(dim)] if names is None else [str(name) for name in np.ravel(names)]
    if len(found) != dim:
        raise DataError("load", str(path), f"must name its {dim} columns in `columns`", found)
    chosen = choose(path, found, columns)
    if columns is None and names is None:
        without_index(path, Table(found, x, named=False))
    kept = tuple(found[i] for i in chosen)

    def make(
        x: np.ndarray, label: Part, context: Part, weight: Part, gradient: Part, num_classes: int | None
    ) -> TableData:
        if gradient is not None and gradient.shape == x.shape:
            gradient = gradient[:, chosen]
        own = {"context": context, "context_columns": of_context, "weight": weight, "gradient": gradient}
        return TableData(path.name, x[:, chosen], label, kept, num_classes, **own)

    return make


def _image_maker(path: Path, num_bits: int) -> Make:
    def make(
        x: np.ndarray, label: Part, context: Part, weight: Part, gradient: Part, num_classes: int | None
    ) -> ImageData:
        for what, given in (("context", context), ("gradient", gradient)):
            if given is not None:
                raise DataError("load", str(path), f"must have no `{what}` beside images", "one", "Leave it out.")
        return ImageData(path.name, x, label, num_bits, num_classes, weight=weight)

    return make


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here: of a damaged file, `np.load(path)` would leave the file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (
        Exception
    ) as error:  # of damaged files: OSError, ValueError, BadZipFile, NotImplementedError, TokenError, ...
        got, fix = instead(path, error)
        if str(error).startswith(PICKLED):
            got, fix = "an array of objects", "Save plain arrays of numbers with np.savez(path, x=array)."
        raise DataError("load", str(path), "must be a whole .npz file without pickles", got, fix) from error


def _one(path: Path, arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    """The array under one of these keys; None if there is none.

    Raises:
      DataError: if there are several, or if the file has a key that means nothing here.
    """
    for key in arrays:
        if key not in KEYS:
            rule, fix = f"must have no key but {', '.join(KEYS)}", "Rename or remove this array."
            if "val" in key:
                fix = "Append the validation rows to the training rows, and give their number as {num_validation}."
            raise DataError("load", str(path), rule, repr(key), fix)
    found = [key for key in keys if key in arrays]
    if len(found) > 1:
        raise DataError("load", str(path), "must have one array for one thing", f"{found[0]!r} and {found[1]!r}")
    return arrays[found[0]] if found else None


def _num_bits(path: Path, given: np.ndarray | None) -> int:
    if given is None:
        return PIXEL_BITS
    if given.size != 1 or given.dtype.kind not in "ui":
        raise DataError("load", str(path), "must have one whole number as `num_bits`", f"{given}")
    return int(given.item())


FORMAT = FileFormat((".npz",), ("images", "table"), ("columns",), load, has_test=has_test)
