"""Checks of arrays that become data: shape, type, range and finite values; errors name a bad value by its row."""

from typing import Any

import numpy as np

from jflows.data.stored import StoredImages
from jflows.errors import DataError, kind_of
from jflows.typing import Shape

CHANNELS = (1, 3, 4)  # images of which this is the height are taken for images whose channels come first
MOST_LOST = 0.9  # of the different values of a column, so many must be left in the type that is kept
LOOKED_AT = 100_000  # rows at most, evenly spaced, in which different values are counted


def as_array(values: Any, where: str, argument: str) -> np.ndarray:
    """`np.asarray(values)`, or `DataError` for nested sequences of unequal lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        rule = "must be an array, or sequences of equal lengths"
        raise DataError(where, argument, rule, f"{kind_of(values)} of which NumPy makes no array") from error


def check_images(x: Any, num_bits: int, name: str) -> Any:
    """Returns `x` as contiguous uint8 [num, height, width, channels], or raises `DataError` naming what is wrong.

    `StoredImages` are returned as they are.
    """
    if isinstance(x, StoredImages):  # those who store them have checked them, or do so when they read
        return x
    x = as_array(x, f"ImageData {name!r}", "x")
    if x.ndim != 4 or 0 in x.shape:
        fix = "Add the channel axis: x[..., None]." if x.ndim == 3 else "Reshape it."
        rule = "must have rank 4, [num, height, width, channels], with no empty axis"
        raise DataError(f"ImageData {name!r}", "x", rule, f"shape {x.shape}", fix)
    if x.shape[1] in CHANNELS and x.shape[3] not in CHANNELS:
        rule, got = "must have its channels last, [num, height, width, channels]", f"shape {x.shape}"
        raise DataError(f"ImageData {name!r}", "x", rule, got, "Move the axis: np.moveaxis(x, 1, -1).")
    high = 2**num_bits - 1
    if x.dtype.kind not in "ui":
        if x.dtype.kind == "f":
            _check_finite(x, name)
        rule, fix = f"must hold integers in 0..{high}", as_integers(x, high)
        raise DataError(f"ImageData {name!r}", "x", rule, f"dtype {x.dtype}", fix)
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
    _check_kept_apart(x, kept, where, "x", [f"column {column!r}" for column in columns])
    return kept


def check_context(context: np.ndarray, where: str, num: int | None = None) -> np.ndarray:
    """Returns contexts as contiguous float32 or int32, or raises `DataError` naming what is wrong."""
    context = as_array(context, where, "context")
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
    if context.dtype.kind != "f":
        wrapped = np.argwhere(kept != context)
        if len(wrapped):
            got = f"{context[tuple(wrapped[0])]} in row {wrapped[0][0]} ({len(wrapped)} such values)"
            fix = "Convert it: context.astype(np.float64), less an offset if its values are close to each other."
            raise DataError(where, "context", "must hold integers that fit int32, or floating numbers", got, fix)
    flat, own = context.reshape(len(context), -1), kept.reshape(len(kept), -1)
    names = [f"entry {np.unravel_index(i, context.shape[1:]) if context.ndim > 2 else i}" for i in range(flat.shape[1])]
    _check_kept_apart(flat, own, where, "context", names)
    return kept


def check_weight(weight: np.ndarray, where: str, num: int) -> np.ndarray:
    """Returns weights of rows as float64 [num], or raises `DataError` naming what is wrong."""
    weight = as_array(weight, where, "weight")
    if weight.shape != (num,) or weight.dtype.kind not in "uif":
        got = f"dtype {weight.dtype}, shape {weight.shape}"
        raise DataError(where, "weight", f"must hold numbers of shape ({num},), one for each row", got)
    kept = np.ascontiguousarray(weight, np.float64)
    bad = np.flatnonzero(~(np.isfinite(kept) & (kept >= 0)))
    if bad.size:
        got = f"{kept[bad[0]]:g} in row {bad[0]} ({bad.size} bad rows)"
        fix = "Leave these rows out, or give them weight 0, by which a row never counts."
        raise DataError(where, "weight", "must be finite and not negative", got, fix)
    if not kept.any():
        raise DataError(where, "weight", "must be positive in at least one row", f"0 in all {num} rows")
    return kept


def check_gradient(gradient: np.ndarray, where: str, shape: Shape) -> np.ndarray:
    """Returns gradients as contiguous float32 of the shape of x, or raises `DataError` naming what is wrong."""
    gradient = as_array(gradient, where, "gradient")
    if gradient.shape != shape or gradient.dtype.kind not in "uif":
        rule = f"must hold numbers of the shape of x, {shape}, one for each column"
        raise DataError(where, "gradient", rule, f"dtype {gradient.dtype}, shape {gradient.shape}")
    with np.errstate(over="ignore"):  # reported just below
        kept = np.ascontiguousarray(gradient, np.float32)
    bad = np.flatnonzero(~np.isfinite(kept).all(axis=1))
    if bad.size:
        got = f"row {bad[0]} ({bad.size} bad rows)"
        raise DataError(where, "gradient", "must be finite in float32", got, "Remove these rows.")
    return kept


def check_labels(label: np.ndarray, num: int, num_classes: int | None, where: str) -> np.ndarray:
    """Returns `label` as int32 [num], or raises `DataError` naming what is wrong."""
    label = as_array(label, where, "label")
    if label.shape != (num,):
        raise DataError(where, "label", f"must have shape ({num},), one for each row", f"shape {label.shape}")
    if label.dtype.kind not in "ui":
        fix = "Number the classes from 0: np.unique(label, return_inverse=True)[1]."
        raise DataError(where, "label", "must hold integers", f"dtype {label.dtype}", fix)
    high = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if label.min() < 0 or label.max() > high:
        rule = "must not be negative" if num_classes is None else f"must be in 0..{high} (num_classes={num_classes})"
        raise DataError(where, "label", rule, f"values {label.min()}..{label.max()}", "Number the classes from 0.")
    if num_classes is None and label.min() > 0:
        lowest, highest = int(label.min()), int(label.max())
        fix = f"Subtract {lowest}, or state num_classes={highest + 1} if lower classes are those without rows."
        raise DataError(where, "label", "must number the classes from 0", f"values {lowest}..{highest}", fix)
    return label.astype(np.int32)


def _check_kept_apart(values: np.ndarray, kept: np.ndarray, where: str, argument: str, names: list[str]) -> None:
    """Raises `DataError` if values of a column that differ are equal in the type that is kept."""
    if np.can_cast(values.dtype, kept.dtype):
        return
    step = max(1, len(values) // LOOKED_AT)
    for name, before, after in zip(names, values[::step].T, kept[::step].T, strict=True):
        distinct, left = len(np.unique(before)), len(np.unique(after))
        if left < MOST_LOST * distinct:
            rule, got = (
                f"must keep its values apart in {kept.dtype}",
                f"{name} with {left} different values of {distinct}",
            )
            fix = "Subtract an offset from it, such as its first value, or leave it out."
            raise DataError(where, argument, rule, got, fix)


def as_integers(x: np.ndarray, high: int) -> str:
    """How to make integers in 0..high of an array of another dtype, by what its values are."""
    if x.dtype.kind == "f" and x.size and x.min() >= 0 and 1 < x.max() <= high and (x == np.floor(x)).all():
        return f"Convert it: x.astype(np.uint8), as its values are whole numbers in 0..{high}."
    return f"Convert it: (x * {high}).round().astype(np.uint8) if its values are in [0, 1]."


def _check_finite(x: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    if bad.size:
        value = "NaN" if np.isnan(x[bad[0]]).any() else "infinity"
        got = f"{value} in row {bad[0]} ({bad.size} bad rows, dtype {x.dtype})"
        fix = "Remove these rows, then convert to integers."
        raise DataError(f"ImageData {name!r}", "x", "must be finite integers", got, fix)
