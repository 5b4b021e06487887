"""The kinds of `Data`: `ImageData`, `TableData` and `NoData`, checked when made.

Images are uint8 (CIFAR-10: 184 MB), tables float32. All kinds have the same attributes, so no code asks for a class.
Read next: `jflows/data/reading.py`, which says whether data fit a density; `jflows/data/load.py`; `batches.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from jflows.data.attributes import Attributes, Measure, check_attributes
from jflows.data.base import Data, made_up
from jflows.data.checks import as_array, check_context, check_gradient, check_images, check_table
from jflows.data.kinds import IMAGES, NONE, TABLE, Kind
from jflows.data.statistics import Moments, Statistics, moments, pixel_moments
from jflows.errors import DataError, check_choice, kind_of


@dataclass(frozen=True, eq=False, repr=False)
class ImageData(Data):
    """Images as integers, with or without labels, checked at construction.

    Attributes:
      name: name of the data, for messages and file names.
      x: [num, height, width, channels], integers in 0..2^num_bits - 1; any integer dtype is accepted, uint8 is stored.
        Images that are read when they are indexed are `jflows.data.stored.StoredImages`.
      label: integers [num] in 0..num_classes - 1, kept as int32, or None.
      num_bits: bits of the integers, 1..8.
      num_classes: None exactly when `label` is None; if left out, labels begin at 0, and it is the largest plus one.
      partly_labelled: whether a label of -1 means that a row has no label.
      class_names: num_classes different names, in the order of labels, or () for none.
      weight: how much each image counts: finite numbers [num], at least 0 and not all 0, or None for all alike.
      attributes: truth values (bool, or int8 with -1 for no value) or numbers (NaN for no value) [num], by name.
      measures: functions by name, which measure attributes of images [num, height, width, channels] in [0, 1].
    Raises:
      DataError: if dtype, rank, range, labels or weights break these rules; the message names the first bad row.
    Example:
      >>> data = ImageData("noise", np.zeros((10, 8, 8, 1), np.uint8), num_bits=4)
      >>> data
      ImageData('noise', 10 images of 8x8x1, 4 bits)
      >>> len(data), data.event_shape
      (10, (8, 8, 1))
    """

    kind: ClassVar[Kind] = IMAGES

    name: str
    x: np.ndarray
    label: np.ndarray | None = None
    num_bits: int = 8
    num_classes: int | None = None
    partly_labelled: bool = False
    class_names: tuple[str, ...] = ()
    weight: np.ndarray | None = None
    attributes: Attributes = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)

    def __post_init__(self):
        check_choice("ImageData", "num_bits", self.num_bits, range(1, 9))
        object.__setattr__(self, "x", check_images(self.x, self.num_bits, self.name))
        self._check_label()
        self._check_weight()
        attributes = check_attributes(self.attributes, f"ImageData {self.name!r}", len(self.x))
        object.__setattr__(self, "attributes", attributes)

    def reduced(self, num_bits: int | None) -> "ImageData":
        """The images reduced to `num_bits` bits; unchanged if they have no more bits, or for None."""
        if num_bits is None or num_bits == self.num_bits:
            return self
        return dataclasses.replace(self, x=reduce_bits(self.x, num_bits, self.num_bits), num_bits=num_bits)

    def statistics(
        self, before: Callable[[np.ndarray], np.ndarray] | None = None, covariance: bool = False
    ) -> Statistics:
        """Mean and deviation of each channel, in levels of `num_bits`; a constant channel has deviation 0."""
        found = Statistics(*pixel_moments(self.x, self.weight))
        return self._with_covariance(found, before) if covariance else found

    def _facts(self) -> tuple[str, ...]:
        return (
            repr(self.name),
            f"{len(self):,} images of {'x'.join(map(str, self.event_shape))}",
            f"{self.num_bits} bits",
            *([f"attributes {', '.join(self.attribute_names)}"] if self.attribute_names else []),
        )


@dataclass(frozen=True, eq=False, repr=False)
class TableData(Data):
    """Rows of numbers, with or without labels, checked at construction.

    Attributes:
      name: name of the data, for messages and file names.
      x: finite numbers [num, dim], num >= 2; any real dtype is accepted, float32 is stored.
      label: integers [num] in 0..num_classes - 1, kept as int32, or None.
      columns: dim different names; if left out, "x0", "x1", ...
      num_classes: None exactly when `label` is None; if left out, labels begin at 0, and it is the largest plus one.
      partly_labelled: whether a label of -1 means that a row has no label.
      class_names: num_classes different names, in the order of labels, or () for none.
      context: what each row is conditioned on, for flows with a context: finite numbers [num, *context_shape], as in
        `NoData`; None for no context.
      context_columns: names of the columns of a context [num, c]; () where they have none.
      weight: how much each row counts: finite numbers [num], at least 0 and not all 0, or None for all alike.
      gradient: the gradient of a log density with respect to x at each row, finite numbers [num, dim] in the order of
        the columns, for `jflows.train.FisherDivergence`; None for none.
      read_as: how a file was read, in words, where its form had to be told from its content; "" otherwise.
      as_published: whether the rows are as papers score them, so that `fit` does not warn of values that repeat.
    Raises:
      DataError: if dtype, rank, values, names, labels, contexts, weights or gradients break these rules; a bad value is
        named by row and column.
    Example:
      >>> data = TableData("people", np.array([[1.7, 65.0], [1.6, 52.0]]), columns=("height", "weight"))
      >>> data
      TableData('people', 2 rows x 2 columns)
      >>> len(data), data.event_shape, data.x.dtype
      (2, (2,), dtype('float32'))
    """

    kind: ClassVar[Kind] = TABLE
    fewest_shown: ClassVar[int] = 1000

    name: str
    x: np.ndarray
    label: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    num_classes: int | None = None
    partly_labelled: bool = False
    context: np.ndarray | None = None
    read_as: str = ""
    class_names: tuple[str, ...] = ()
    context_columns: tuple[str, ...] = ()
    weight: np.ndarray | None = None
    as_published: bool = False
    gradient: np.ndarray | None = None

    def __post_init__(self):
        x = as_array(self.x, f"TableData {self.name!r}", "x")
        names = tuple(self.columns) or made_up(x.shape[-1] if x.ndim else 0)
        object.__setattr__(self, "columns", names)
        object.__setattr__(self, "x", check_table(x, names, self.name))
        self._check_label()
        if self.context is not None:
            where = f"TableData {self.name!r}"
            object.__setattr__(self, "context", check_context(self.context, where, len(self.x)))
        self._check_context_columns()
        self._check_weight()
        if self.gradient is not None:
            gradient = check_gradient(self.gradient, f"TableData {self.name!r}", self.x.shape)
            object.__setattr__(self, "gradient", gradient)

    def as_shown(self, seed: int) -> Self:
        """The rows for pictures: as many as there are, drawn by their weights."""
        return self if self.weight is None else self.drawn_by_weight(len(self), seed)

    def statistics(
        self, before: Callable[[np.ndarray], np.ndarray] | None = None, covariance: bool = False
    ) -> Statistics:
        """Mean and deviation of each column and of each entry of the context; a constant one raises `DataError`."""
        found = self._varying_moments()
        if before is not None:
            found = moments(before(self.x[self._counts]), self._weight_that_counts)
        statistics = Statistics(found.mean, found.deviation, *self._context_moments())
        return self._with_covariance(statistics, before) if covariance else statistics

    def check_varies(self) -> None:
        """Raises `DataError` if a column is constant in float32, as its density would be infinite."""
        self._varying_moments()

    def _varying_moments(self) -> Moments:
        x = self.x[self._counts]
        found = moments(x, self._weight_that_counts)
        if found.constant.any():
            column = int(np.flatnonzero(found.constant)[0])
            got = f"{self.columns[column]!r}, which is {x[0, column]:.6g} in every row, in float32"
            rule = "must all vary, or the density is infinite"
            raise DataError(f"TableData {self.name!r}", "columns", rule, got, "Leave this column out.")
        return found

    def _check_context_columns(self) -> None:
        names = tuple(self.context_columns)
        object.__setattr__(self, "context_columns", names)
        wanted = (len(names),)
        if names and (self.context_shape != wanted or len({*names, *self.columns}) < len(names) + len(self.columns)):
            rule = f"must be different names, none that of a column of x, for a context of shape {self.context_shape}"
            raise DataError(f"TableData {self.name!r}", "context_columns", rule, names)

    def _facts(self) -> tuple[str, ...]:
        columns = "1 column" if self.x.shape[1] == 1 else f"{self.x.shape[1]} columns"
        return repr(self.name), f"{len(self):,} rows x {columns}"


@dataclass(frozen=True, eq=False, repr=False)
class NoData(Data):
    """Stands in for data where a flow is trained without them: an endless stream of visits, with or without contexts.

    It is for losses that draw their own samples, such as `jflows.train.reverse_kl`.

    Attributes:
      context: finite numbers [num, *context_shape]; integers are kept as int32, all others as float32. None for flows
        without a context.
      weight: how much the loss at each context counts, as in `TableData`; it must be None without contexts.
    Raises:
      DataError: if contexts or weights are not finite numbers; the message names the first bad row.
    Example:
      >>> NoData(context=np.zeros((100, 3))), NoData()
      (NoData(100 visits an epoch, context of shape (3,)), NoData())
      >>> len(NoData(context=np.zeros((100, 3)))), len(NoData())
      (100, 1)
    """

    kind: ClassVar[Kind] = NONE
    name: ClassVar[str] = "no data"
    x: ClassVar[None] = None
    label: ClassVar[None] = None
    num_classes: ClassVar[None] = None
    partly_labelled: ClassVar[bool] = False

    context: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __post_init__(self):
        if self.context is not None:
            object.__setattr__(self, "context", check_context(self.context, "NoData"))
        elif self.weight is not None:
            rule, fix = "must be None without contexts, as there are no rows to weigh", "Leave it out."
            raise DataError("NoData", "weight", rule, kind_of(self.weight), fix)
        self._check_weight()

    def __len__(self) -> int:
        """The number of visits in an epoch: the number of contexts, or 1."""
        return 1 if self.context is None else len(self.context)

    def statistics(
        self, before: Callable[[np.ndarray], np.ndarray] | None = None, covariance: bool = False
    ) -> Statistics:
        """Mean and deviation of each entry of the context, and none for x."""
        return Statistics(None, None, *self._context_moments())

    def _facts(self) -> tuple[str, ...]:
        return () if self.context is None else (f"{len(self):,} visits an epoch",)


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
