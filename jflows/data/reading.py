"""`Reading`: how a density wants data handed over, and the checks that data fit a density.

`Reading.check` checks `Data`, whose values have been checked already; `check_batch_values` checks batches that were
made by hand, value by value. Read next: `jflows/data/batches.py`, which obeys a reading.
"""

import dataclasses
from typing import Any, Self

import numpy as np

from jflows.data.base import NO_LABEL, Data, check_is_data
from jflows.data.checks import as_integers
from jflows.data.domains import Domains
from jflows.data.kinds import Kind
from jflows.data.statistics import Statistics
from jflows.errors import DataError, InvalidTypeError, kind_of
from jflows.typing import Batch, Shape

__all__ = ["CONTEXTS", "Reading", "Statistics", "check_batch_values"]

CONTEXTS = ("none", "labels", "vectors")
_OTHER_DATA = "Choose {data} of this kind, or build the flow for these."


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a density wants data handed over: `Density.reading` states it, and batches obey it.

    Attributes:
      kind: `IMAGES` (integers 0..2^num_bits - 1), `TABLE` (rows of floats) or `NONE` (no data, so that any kind fits).
      event_shape: shape of one example.
      num_bits: bits of the integers of images, to which data of more bits are reduced; None for floats.
      context: what becomes the context of a batch: "none", "labels" (int32, -1 where a row has none), or "vectors" (the
        context that the data themselves have).
      context_shape: event shape of that context; None for "none".
      num_classes: labels are 0..num_classes - 1; None where labels mean nothing to the density.
      domains: what values the columns of a table can have, by position; None for any numbers.
    """

    kind: Kind
    event_shape: Shape
    num_bits: int | None = None
    context: str = "none"
    context_shape: Shape | None = None
    num_classes: int | None = None
    domains: Domains | None = None

    @property
    def dtype(self) -> type[np.generic]:
        """The type of the numbers of a batch: uint8 of integers, float32 of others."""
        return np.float32 if self.num_bits is None else np.uint8

    def with_labels(self, num_classes: int | None = None) -> Self:
        """A reading with labels as the context of a batch, for losses and reports that use them.

        Args:
          num_classes: labels are 0..num_classes - 1; None takes any number of classes.
        """
        return dataclasses.replace(self, context="labels", context_shape=(), num_classes=num_classes)

    def beyond_support(self) -> Self:
        """A reading that also takes rows with values outside of an interval, of positive numbers or of shares of 1.

        Their density is 0, which is a score of a single row, while it would leave nothing of a mean. Values that are no
        values of their column at all, such as 2.5 of whole numbers, are refused still.
        """
        if self.domains is None:
            return self
        kept = dataclasses.replace(self.domains, positive=(), interval=(), simplex=())
        return dataclasses.replace(self, domains=kept)

    def check(self, data: Data, where: str) -> None:
        """Raises unless these data fit a density with this reading.

        Images may have more bits than the density wants, as batches reduce them. With a context of "none", labels of
        the data are ignored, but a context of the data is an error. `NoData` fits any kind, as the loss draws x.

        Args:
          where: name of the function that was given the data, for the message.
        Raises:
          InvalidTypeError: if `data` is not `Data`.
          DataError: if kind, event shape, bits, domains, labels or context do not fit; the message says which, and what
            to do.
        """
        check_is_data(where, "data", data)
        if data.kind.has_rows and self.kind.has_rows:
            self._check_x(data, where)
        if self.context == "labels":
            self._check_labels(data, where)
        else:
            self._check_context(data, where)

    def context_of(self, data: Data) -> np.ndarray | None:
        """The contexts of the rows of data that fit: int32 [num], float32 [num, *context_shape], or None."""
        return {"none": None, "labels": _labels_of(data), "vectors": data.context}[self.context]

    def _check_x(self, data: Data, where: str) -> None:
        if data.kind != self.kind:
            rule = f"must be {self.kind.noun} for this density"
            raise DataError(where, "data", rule, f"{data.kind.noun}, {data.name!r}", _OTHER_DATA)
        if data.event_shape != self.event_shape:
            rule = f"must have the shape of the density's data, {self.event_shape}"
            raise DataError(where, "data", rule, f"shape {data.event_shape} of {data.name!r}", _OTHER_DATA)
        if self.num_bits is not None and data.num_bits is not None and data.num_bits < self.num_bits:
            rule = f"must have at least the {self.num_bits} bits of the density's data"
            fix = f"Build the flow with {{num_bits={data.num_bits}}}, or choose other {{data}}."
            raise DataError(where, "data", rule, f"{data.num_bits} bits in {data.name!r}", fix)
        if self.domains is not None:
            counts = np.arange(len(data)) if data.weight is None else np.flatnonzero(data.weight)
            x = data.x if data.weight is None else data.x[counts]
            self.domains.check(x, where, data.columns, counts)

    def _check_labels(self, data: Data, where: str) -> None:
        label = _labels_of(data)
        if label is None:
            rule = "must have labels, which are the context of this density"
            made = type(data).__name__ if data.kind.has_rows else "TableData"
            fix = f"Add them: class subfolders of a folder, key `label` of an .npz file, or {made}(label=...)."
            raise DataError(where, "data", rule, f"{data.name!r} without labels", fix)
        if data.context is not None and data.context is not label:
            raise _superfluous(data, where, "labels")
        if self.num_classes is not None and (label.max() >= self.num_classes or label.min() < NO_LABEL):
            rule = f"must have labels in 0..{self.num_classes - 1} for this density"
            got = f"labels {label.min()}..{label.max()} in {data.name!r}"
            unused = label.min() > 0 and label.max() - label.min() < self.num_classes
            fix = "Number the classes from 0." if unused else "Choose other {data}, or build the flow for more classes."
            raise DataError(where, "data", rule, got, fix)

    def _check_context(self, data: Data, where: str) -> None:
        if data.context is not None and self.context == "none":
            raise _superfluous(data, where, "nothing")
        if self.context == "vectors" and data.context_shape != self.context_shape:
            rule = f"must have a context of shape {self.context_shape} for this density"
            got = (
                f"{data.name!r} without one" if data.context is None else f"shape {data.context_shape} in {data.name!r}"
            )
            raise DataError(
                where, "data", rule, got, f'Write TableData("name", x, context=c), c of {self._rows_of_it()}.'
            )

    def _rows_of_it(self) -> str:
        return f"shape [num{''.join(f', {size}' for size in self.context_shape or ())}]"


def check_batch_values(batch: Batch, reading: Reading, where: str) -> None:
    """Raises unless a density with this reading can score every value of a batch; checked on the host, row by row.

    Batches of `TrainBatches` and `eval_batches` always pass. Other batches may hold anything, which a flow does not
    notice: 8-bit images in a flow of 5 bits, or floats in [0, 1] in a flow of integers, give numbers that mean nothing.
    Rows of weight 0 are ignored.

    Args:
      batch: x [batch, *event_shape], context, weight and index as `jflows.typing.Batch` says.
      reading: the density's reading.
      where: name of the function that was given the batch, for the message.
    Raises:
      InvalidTypeError: if `batch` is not a `Batch`.
      DataError: if a shape, a type, x, a weight or a context is not as the density reads it; the first bad row is
        named.
    """
    if not isinstance(batch, Batch):
        fix = "Write jflows.data.eval_batches(data, 250, flow.reading)."
        raise InvalidTypeError(where, "batches", "must hold batches of type jflows.typing.Batch", kind_of(batch), fix)
    weight, index = np.asarray(batch.weight), np.asarray(batch.index)
    num = len(index) if index.ndim else 0
    if index.ndim != 1 or index.dtype.kind not in "ui" or not num:
        got = f"{index.dtype} of shape {index.shape}"
        raise DataError(where, "index", "must be integers [batch], one for each row", got, "Write np.arange(batch).")
    rule = f"must be finite and at least 0 (padding), of shape ({num},)"
    if weight.shape != (num,) or weight.dtype.kind not in "uif":
        raise DataError(where, "weight", rule, f"shape {weight.shape} of {weight.dtype}")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        raise DataError(where, "weight", rule, f"{weight[bad][0]}")
    counts = weight > 0
    if reading.kind.has_rows:
        x = _checked_shape(batch.x, "x", num, reading.event_shape, where)
        _check_values(x[counts], np.flatnonzero(counts), "x", where, _x_range(reading))
        if reading.domains is not None:
            reading.domains.check(x[counts], where, (), np.flatnonzero(counts))
    _check_batch_context(batch, reading, counts, where)


def _check_batch_context(batch: Batch, reading: Reading, counts: np.ndarray, where: str) -> None:
    if reading.context == "none" or reading.context_shape is None:
        if batch.context is not None:
            rule = "must be None, as this density takes none"
            raise DataError(where, "context", rule, f"shape {np.shape(batch.context)}", "Leave it out.")
        return
    context = _checked_shape(batch.context, "context", len(counts), reading.context_shape, where)
    limits = None
    if reading.context == "labels":
        limits = NO_LABEL, np.iinfo(np.int32).max if reading.num_classes is None else reading.num_classes - 1
    _check_values(context[counts], np.flatnonzero(counts), "context", where, limits)


def _x_range(reading: Reading) -> tuple[int, int] | None:
    return None if reading.num_bits is None else (0, 2**reading.num_bits - 1)


def _checked_shape(values: Any, name: str, num: int, event_shape: Shape, where: str) -> np.ndarray:
    """Values as a numpy array [num, *event_shape]."""
    array = np.asarray(values)
    if values is None or array.shape != (num, *event_shape):
        got = "None" if values is None else f"shape {array.shape}"
        several = array.ndim == len(event_shape) + 2
        fix = "TrainBatches.at gives [count, batch, ...], one batch for each step: take one of them." if several else ""
        raise DataError(where, name, f"must have shape {(num, *event_shape)} in a batch of {num}", got, fix)
    return array


def _check_values(values: np.ndarray, rows: np.ndarray, name: str, where: str, limits: tuple[int, int] | None) -> None:
    """Integers within limits, or finite real numbers where there are none."""
    if not len(values):
        return
    flat = values.reshape(len(values), -1)
    if limits is not None:
        low, high = limits
        rule = f"must hold integers in {low}..{high}, as this density reads them"
        if values.dtype.kind not in "ui":
            fix = as_integers(values, high) if name == "x" and high < 256 else ""
            raise DataError(where, name, rule, f"dtype {values.dtype}", fix)
        bad = np.flatnonzero(((flat < low) | (flat > high)).any(axis=1))
        if bad.size:
            got = f"values {flat[bad[0]].min()}..{flat[bad[0]].max()} in row {rows[bad[0]]} ({bad.size} bad rows)"
            fix = "Let eval_batches(data, batch_size, flow.reading) read them: it keeps as many bits as the flow wants."
            raise DataError(where, name, rule, got, fix if name == "x" else "Number the classes from 0.")
        return
    if values.dtype.kind not in "uifV" or (values.dtype.kind == "V" and not np.can_cast(values.dtype, np.float64)):
        raise DataError(where, name, "must hold real numbers", f"dtype {values.dtype}", "Convert them to float32.")
    with np.errstate(over="ignore"):  # reported just below
        bad = np.argwhere(~np.isfinite(flat.astype(np.float32)))
    if len(bad):
        row, column = bad[0]
        got = f"{flat[row, column]} in row {rows[row]}, column {column} ({len(bad)} bad values)"
        raise DataError(where, name, "must be finite in float32", got, "Remove these rows.")


def _labels_of(data: Data) -> np.ndarray | None:
    """The labels, which of `NoData` are their context, if it holds one integer for each visit."""
    context = data.context
    if not data.kind.has_rows and context is not None and context.ndim == 1 and context.dtype.kind in "ui":
        return context
    return data.label


def _superfluous(data: Data, where: str, wanted: str) -> DataError:
    rule = f"must have no context for this density, which takes {wanted}"
    fix = "Drop it: dataclasses.replace(data, context=None); or give the flow a context_shape."
    return DataError(where, "data", rule, f"a context of shape {data.context_shape} in {data.name!r}", fix)
