"""`ImageData` and `TableData`: one split of a data set as one array; every check of values and shapes is made here.

`NoData` stands in their place where a density teaches instead of data.

Images are uint8 (CIFAR-10: 184 MB), tables float32; everything stays in memory. Read next: `jflows/data/loading.py`,
which makes them from names and paths, and `jflows/data/batches.py`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from jflows.errors import DataError, InvalidValueError, check_choice

SPLITS = ("train", "validation", "test")
TEST_FRACTION = 0.1  # of data without a test part
NO_LABEL = -1


class _Rows:
    """What images and tables share: rows `x`, each with a label or all without."""

    name: str
    x: np.ndarray
    label: np.ndarray | None
    num_classes: int | None
    partly_labelled: bool

    def _check_label(self) -> None:
        """Brings `label` and `num_classes` into the form that the attributes state."""
        if self.label is None:
            object.__setattr__(self, "num_classes", None)
            return
        where = f"{type(self).__name__} {self.name!r}"
        object.__setattr__(self, "label", self._checked_label(where))
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", int(self.label.max()) + 1)

    def _checked_label(self, where: str) -> np.ndarray:
        assert self.label is not None
        label = np.asarray(self.label)
        if not self.partly_labelled:
            return check_labels(label, len(self.x), self.num_classes, where)
        known = np.asarray(label != NO_LABEL)
        if not known.any():
            rule, fix = f"must hold a label that is not {NO_LABEL}", "Or leave `label` out."
            raise DataError(where, "label", rule, "none", fix)
        check_labels(np.where(known, label, 0), len(self.x), self.num_classes, where)
        return label.astype(np.int32)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one row: (height, width, channels) of images, (dim,) of tables."""
        return self.x.shape[1:]

    def take(self, rows: np.ndarray, **changes: Any) -> Self:
        """These rows alone, in this order, with what belongs to them; `changes` replaces other attributes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        cut = {name: values[name][rows] for name in ("x", "label", "context") if values.get(name) is not None}
        return type(self)(**{**values, **cut, **changes})


@dataclass(frozen=True, eq=False)
class ImageData(_Rows):
    """Images as integers, with labels or without; checked at construction.

    Attributes:
      name: for messages and file names.
      x: [num, height, width, channels], integers in 0..2^num_bits - 1; any integer dtype is taken, uint8 is kept.
      label: integers [num] in 0..num_classes - 1, kept as int32, or None.
      num_bits: 1..8.
      num_classes: None exactly when `label` is None; if left out with labels, the largest label plus one.
      partly_labelled: whether a label of -1 means that there is none.
    Raises:
      DataError: if dtype, rank, range or labels break these rules; the message names the first bad row.
    Example:
      >>> data = ImageData("noise", np.zeros((10, 8, 8, 1), np.uint8), num_bits=4)
      >>> len(data), data.event_shape
      (10, (8, 8, 1))
    """

    name: str
    x: np.ndarray
    label: np.ndarray | None = None
    num_bits: int = 8
    num_classes: int | None = None
    partly_labelled: bool = False

    def __post_init__(self):
        check_choice("ImageData", "num_bits", self.num_bits, range(1, 9))
        object.__setattr__(self, "x", check_images(self.x, self.num_bits, self.name))
        self._check_label()

    def reduced(self, num_bits: int) -> "ImageData":
        """The same images with `num_bits` <= `self.num_bits` bits; itself if nothing changes."""
        if num_bits == self.num_bits:
            return self
        return replace(self, x=reduce_bits(self.x, num_bits, self.num_bits), num_bits=num_bits)


@dataclass(frozen=True, eq=False)
class TableData(_Rows):
    """Rows of numbers, with labels or without; checked at construction.

    Attributes:
      name: for messages and file names.
      x: finite numbers [num, dim], num >= 2; any real dtype is taken, float32 is kept.
      label: integers [num] in 0..num_classes - 1, kept as int32, or None.
      columns: dim different names; if left out, "x0", "x1", ...
      num_classes: None exactly when `label` is None; if left out with labels, the largest label plus one.
      partly_labelled: whether a label of -1 means that there is none.
      context: what each row is conditioned on, for flows with a context: finite numbers [num, *context_shape], as in
        `NoData`; None for none.
    Raises:
      DataError: if dtype, rank, values, names, labels or contexts break these rules; a bad value is named by row and
        column.
    Example:
      >>> data = TableData("people", np.array([[1.7, 65.0], [1.6, 52.0]]), columns=("height", "weight"))
      >>> len(data), data.event_shape, data.x.dtype
      (2, (2,), dtype('float32'))
    """

    name: str
    x: np.ndarray
    label: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    num_classes: int | None = None
    partly_labelled: bool = False
    context: np.ndarray | None = None

    def __post_init__(self):
        x = np.asarray(self.x)
        names = tuple(self.columns) or tuple(f"x{i}" for i in range(x.shape[-1] if x.ndim else 0))
        object.__setattr__(self, "columns", names)
        object.__setattr__(self, "x", check_table(x, names, self.name))
        self._check_label()
        if self.context is not None:
            where = f"TableData {self.name!r}"
            object.__setattr__(self, "context", check_context(self.context, where, len(self.x)))


Data = ImageData | TableData


@dataclass(frozen=True, eq=False)
class NoData:
    """What to train on where there are no data: an endless stream of visits, each with its context or none.

    For losses that draw their own samples, such as `jflows.train.reverse_kl`.

    Attributes:
      context: finite numbers [num, *context_shape]; integers are kept as int32, all others as float32. None for flows
        without a context.
    Raises:
      DataError: if the contexts are no such numbers; the message names the first bad row.
    Example:
      >>> len(NoData(context=np.zeros((100, 3)))), len(NoData())
      (100, 1)
    """

    context: np.ndarray | None = None

    def __post_init__(self):
        if self.context is not None:
            object.__setattr__(self, "context", check_context(self.context, "NoData"))

    def __len__(self) -> int:
        """Visits in an epoch."""
        return 1 if self.context is None else len(self.context)


def split_rows(split: str, num_train: int, num_validation: int) -> tuple[int, int]:
    """First and one past last of the training rows that make up "train" or "validation".

    Raises:
      InvalidValueError: unless 0 <= num_validation < num_train, and 0 < num_validation for "validation".
    """
    if not 0 <= num_validation < num_train:
        rule = f"must leave at least one of the {num_train} training rows and not be negative"
        raise InvalidValueError("load", "num_validation", rule, num_validation)
    if split == "train":
        return 0, num_train - num_validation
    if num_validation == 0:
        fix = "Set num_validation, or use split='test'."
        raise InvalidValueError("load", "num_validation", "must be positive for split='validation'", 0, fix)
    return num_train - num_validation, num_train


def hold_out(num: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows: a fixed permutation of 0..num-1, its last tenth (at least one row) for testing."""
    if num < 2:
        fix = "Add some, or give `train` and `test` parts of your own."
        raise DataError("load", name, "must have at least 2 images or rows, to split off a test part", num, fix)
    rows = np.random.RandomState(0).permutation(num)  # RandomState: its stream is frozen for all numpy versions
    num_test = max(1, int(num * TEST_FRACTION))
    return rows[:-num_test], rows[-num_test:]


def reduce_bits(x: np.ndarray, num_bits: int, from_bits: int = 8) -> np.ndarray:
    """Keeps the `num_bits` highest of `from_bits` bits: floor(x / 2^(from_bits - num_bits)), as Glow's 5-bit images.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039.

    Raises:
      InvalidValueError: unless 1 <= num_bits <= from_bits.
    Example:
      >>> reduce_bits(np.array([0, 7, 8, 255], np.uint8), num_bits=5)
      array([ 0,  0,  1, 31], dtype=uint8)
    """
    check_choice("reduce_bits", "num_bits", num_bits, range(1, from_bits + 1))
    return x >> (from_bits - num_bits)


def check_images(x: np.ndarray, num_bits: int, name: str) -> np.ndarray:
    """Returns `x` as contiguous uint8 [num, height, width, channels], or raises `DataError` naming what is wrong."""
    x = np.asarray(x)
    if x.ndim != 4 or 0 in x.shape:
        fix = "Add the channel axis: x[..., None]." if x.ndim == 3 else "Reshape it."
        rule = "must have rank 4, [num, height, width, channels], with no empty axis"
        raise DataError(f"ImageData {name!r}", "x", rule, f"shape {x.shape}", fix)
    high = 2**num_bits - 1
    if x.dtype.kind not in "ui":
        fix = f"Convert it: (x * {high}).round().astype(np.uint8) if its values are in [0, 1]."
        if x.dtype.kind == "f":
            _check_finite(x, name)
        raise DataError(f"ImageData {name!r}", "x", f"must hold integers in 0..{high}", f"dtype {x.dtype}", fix)
    if x.dtype != np.uint8 or num_bits < 8:
        bad = np.flatnonzero(((x < 0) | (x > high)).reshape(len(x), -1).any(axis=1))
        if bad.size:
            row = x[bad[0]]
            got = f"values {row.min()}..{row.max()} in row {bad[0]} ({bad.size} bad rows)"
            fix = f"Reduce it with reduce_bits(x, {num_bits}) or set num_bits to what the data have."
            raise DataError(f"ImageData {name!r}", "x", f"must be in 0..{high} (num_bits={num_bits})", got, fix)
    return np.ascontiguousarray(x, dtype=np.uint8)


def check_table(x: np.ndarray, columns: tuple[str, ...], name: str) -> np.ndarray:
    """Returns `x` as contiguous float32 [num, dim], or raises `DataError` naming what is wrong."""
    where = f"TableData {name!r}"
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1:
        fix = "Reshape it." if x.ndim != 2 else ""
        raise DataError(where, "x", "must be [num, dim] with at least 2 rows and 1 column", f"shape {x.shape}", fix)
    if x.dtype.kind not in "uif":
        fix = "Convert it: x.astype(np.float32)."
        raise DataError(where, "x", "must hold real numbers", f"dtype {x.dtype}", fix)
    if len(columns) != x.shape[1] or len(set(columns)) != len(columns):
        raise DataError(where, "columns", f"must be {x.shape[1]} different names, one for each column", columns)
    with np.errstate(over="ignore"):  # reported just below
        kept = np.ascontiguousarray(x, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(kept))
    if len(bad):
        row, column = bad[0]
        value = x[row, column]
        got = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else repr(float(value))
        got += f" in row {row}, column {columns[column]!r} ({len(bad)} bad values)"
        raise DataError(where, "x", "must be finite in float32", got, "Remove these rows or this column.")
    return kept


def check_context(context: np.ndarray, where: str, num: int | None = None) -> np.ndarray:
    """Returns contexts as contiguous float32 or int32, or raises `DataError` naming what is wrong."""
    context = np.asarray(context)
    if context.dtype.kind not in "uif" or context.ndim < 1 or not context.size or num not in (None, len(context)):
        got = f"dtype {context.dtype}, shape {context.shape}"
        rule = "must hold numbers, [num, *context_shape]" + ("" if num is None else f" for num={num} rows")
        raise DataError(where, "context", rule, got)
    with np.errstate(over="ignore"):  # reported just below
        kept = np.ascontiguousarray(context, np.float32 if context.dtype.kind == "f" else np.int32)
    bad = np.flatnonzero(~np.isfinite(kept).reshape(len(kept), -1).all(axis=1))
    if bad.size:
        got = f"row {bad[0]} ({bad.size} bad rows)"
        raise DataError(where, "context", "must be finite in float32", got, "Remove these rows.")
    return kept


def check_labels(label: np.ndarray, num: int, num_classes: int | None, where: str) -> np.ndarray:
    """Returns `label` as int32 [num], or raises `DataError` naming what is wrong."""
    label = np.asarray(label)
    if label.shape != (num,):
        raise DataError(where, "label", f"must have shape ({num},), one for each row", f"shape {label.shape}")
    if label.dtype.kind not in "ui":
        fix = "Number the classes from 0: np.unique(label, return_inverse=True)[1]."
        raise DataError(where, "label", "must hold integers", f"dtype {label.dtype}", fix)
    high = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if label.min() < 0 or label.max() > high:
        rule = "must not be negative" if num_classes is None else f"must be in 0..{high} (num_classes={num_classes})"
        raise DataError(where, "label", rule, f"values {label.min()}..{label.max()}", "Number the classes from 0.")
    return label.astype(np.int32)


def _check_finite(x: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    if bad.size:
        value = "NaN" if np.isnan(x[bad[0]]).any() else "infinity"
        got = f"{value} in row {bad[0]} ({bad.size} bad rows, dtype {x.dtype})"
        fix = "Remove these rows, then convert to integers."
        raise DataError(f"ImageData {name!r}", "x", "must be finite integers", got, fix)
