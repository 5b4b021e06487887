"""`hide_labels`, which takes labels away for semi-supervised training, and `only_classes`, which chooses classes."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from jflows.data.base import NO_LABEL, Data, check_is_data
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, check_positive

DataT = TypeVar("DataT", bound=Data)


def hide_labels(data: DataT, num_per_class: int, *, share: float | None = None, seed: int = 0) -> DataT:
    """Hides all labels but those of `num_per_class` rows of each class, chosen by the seed; the others become -1.

    Args:
      data: data with labels.
      num_per_class: number of rows of each class that keep their label, at least 1.
      share: in (0, 1): rows with a label are repeated until they make up about this share of all rows, or of their
        weight, so that batches hold some. None repeats nothing.
      seed: seed of the choice.
    Raises:
      DataError: if the data have no labels, or a class has too few rows.
      InvalidValueError: if num_per_class or share is out of range.
      InvalidTypeError: if num_per_class is not a whole number, or `data` is not `Data`.
    Example:
      >>> from jflows.data import TableData
      >>> data = TableData("line", np.arange(10.0)[:, None], label=np.arange(10) % 2)
      >>> hide_labels(data, 1).label
      array([-1,  1, -1, -1,  0, -1, -1, -1, -1, -1], dtype=int32)
    """
    _check_labelled("hide_labels", data)
    if isinstance(num_per_class, bool) or not isinstance(num_per_class, int):
        raise InvalidTypeError("hide_labels", "num_per_class", "must be a whole number", repr(num_per_class))
    check_positive("hide_labels", "num_per_class", num_per_class)
    if share is not None and not 0 < share < 1:
        raise InvalidValueError("hide_labels", "share", "must lie in (0, 1), or be None", repr(share))
    assert data.label is not None
    random = np.random.RandomState(seed)  # RandomState: its stream is frozen for all numpy versions
    kept, relative = [], data.relative_weight
    for number in range(data.num_classes or 0):
        rows = np.flatnonzero((data.label == number) & (relative > 0))
        if len(rows) < num_per_class:
            rule, got = f"must have {num_per_class} rows of each class", f"{len(rows)} of class {number}"
            raise DataError("hide_labels", data.name, rule, got, "Ask for fewer.")
        kept.append(random.permutation(rows)[:num_per_class])
    chosen = np.concatenate(kept)
    label = np.full(len(data), NO_LABEL, np.int32)
    label[chosen] = data.label[chosen]
    rows = np.arange(len(data))
    if share is not None:
        of_chosen = relative[chosen].sum()
        copies = round(share / (1 - share) * (relative.sum() - of_chosen) / of_chosen)
        rows = np.concatenate([rows, np.tile(chosen, max(0, copies - 1))])
    return data.take(rows, label=label[rows], partly_labelled=True)


def only_classes(data: DataT, classes: Sequence[int]) -> DataT:
    """Keeps the rows of some classes, which are numbered anew from 0 in the given order.

    Raises:
      DataError: if the data have no labels, or no row of a class.
      InvalidValueError: if a class is named twice, or is negative.
      InvalidTypeError: if classes are not whole numbers, or `data` is not `Data`.
    Example:
      >>> from jflows.data import TableData
      >>> only_classes(TableData("line", np.arange(4.0)[:, None], label=[2, 0, 1, 2]), (2, 1)).label
      array([0, 1, 0], dtype=int32)
    """
    if not isinstance(classes, Sequence) or not all(isinstance(number, int | np.integer) for number in classes):
        raise InvalidTypeError("only_classes", "classes", "must be a tuple of whole numbers", repr(classes))
    if len(set(classes)) < len(classes) or min(classes, default=0) < 0:
        raise InvalidValueError("only_classes", "classes", "must be different, from 0 on", repr(tuple(classes)))
    _check_labelled("only_classes", data)
    assert data.label is not None
    missing = set(classes) - set(data.label.tolist())
    if missing or not classes:
        got = f"no row of class {min(missing)}" if missing else "no class"
        raise DataError("only_classes", data.name, f"must have rows of classes {tuple(classes)}", got)
    number = np.full(int(data.label.max()) + 2, NO_LABEL, np.int32)  # the last entry is that of rows without a label
    number[list(classes)] = np.arange(len(classes))
    label = number[data.label]
    rows = np.flatnonzero(label >= 0)
    names = tuple(data.class_names[number] for number in classes) if data.class_names else ()
    changes = {"label": label[rows], "num_classes": len(classes), "partly_labelled": False, "class_names": names}
    return data.take(rows, **changes)


def _check_labelled(where: str, data: Data) -> None:
    check_is_data(where, "data", data)
    if data.label is None:
        made = type(data).__name__ if data.kind.has_rows else "TableData"
        rule, fix = "must have labels", f"Give them as the key `label` of an .npz file, or as {made}(label=...)."
        raise DataError(where, "data", rule, f"{data.name!r} without labels", fix)
