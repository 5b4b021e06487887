"""`Data`: the base class of one split of a data set, with the attributes that every kind of data has.

Read next: `jflows/data/dataset.py`, which holds the kinds; `jflows/data/reading.py`, which says whether data fit a
density.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from jflows.data import weights
from jflows.data.attributes import Attributes, Measure
from jflows.data.audio.mel import MelSetting
from jflows.data.checks import as_array, check_labels, check_weight
from jflows.data.kinds import Kind
from jflows.data.statistics import Statistics, event_moments, moments
from jflows.data.stored import taken
from jflows.errors import DataError, InvalidTypeError, did_you_mean, kind_of
from jflows.typing import Shape

NO_LABEL = -1
ROWWISE = ("x", "label", "context", "weight", "gradient")  # attributes with one entry for each row


class Data(abc.ABC):
    """One split of a data set, with the attributes that training, evaluation and pictures use for every kind of data.

    Attributes:
      kind: `IMAGES` (integers), `TABLE` (rows of numbers), `WAVEFORMS` (clips of floats) or `NONE` (`NoData`), with
        what such data allow.
      fewest_shown: rows that a picture of the data needs; where fewer are for testing, training rows are drawn.
      name: name of the data, for messages and file names.
      x: the rows, [num, *event_shape]; None for `NoData`.
      label: int32 [num], or None for data without labels; with `partly_labelled`, -1 for a row without a label.
      num_classes: labels are 0..num_classes - 1; None exactly when `label` is None.
      class_names: names of the classes, in the order of their labels; () where they have none.
      partly_labelled: whether a label of -1 means that there is none.
      num_bits: x holds integers in 0..2^num_bits - 1; None if it holds floats.
      columns: names of the columns of a table; () for other data.
      context: what each row is conditioned on, [num, *context_shape]; None for no context.
      context_columns: names of the entries of a context [num, c]; () where they have none.
      weight: how much each row counts, float64 [num], at least 0; only ratios matter, and a row of weight 0 never
        counts. None counts all rows alike.
      gradient: the gradient of a log density at each row, [num, *event_shape], for losses that learn from it; None for
        none.
      read_as: how a file was read, in words, where its form had to be told from its content; "" otherwise.
      attributes: named truth values or numbers of images, see `jflows.data.attributes`; they never enter training.
      as_published: whether the rows are as papers score them, so that `fit` does not warn of values that repeat.
      mel: the setting of the mel spectrograms that are the contexts of waveforms; None for other data.
      measures: functions that measure further attributes of images [num, height, width, channels] in [0, 1].
    """

    kind: ClassVar[Kind]
    fewest_shown: ClassVar[int] = 1
    name: str
    x: Any
    label: np.ndarray | None
    num_classes: int | None
    partly_labelled: bool
    num_bits: int | None = None
    columns: tuple[str, ...] = ()
    context: np.ndarray | None = None
    context_columns: tuple[str, ...] = ()
    weight: np.ndarray | None = None
    gradient: np.ndarray | None = None
    read_as: str = ""
    class_names: tuple[str, ...] = ()
    attributes: Attributes = MappingProxyType({})
    measures: Mapping[str, Measure] = MappingProxyType({})
    as_published: bool = False
    mel: MelSetting | None = None

    @property
    def event_shape(self) -> Shape:
        """The shape of one row: (height, width, channels) for images, (dim,) for tables, () for `NoData`."""
        return () if self.x is None else self.x.shape[1:]

    @property
    def context_shape(self) -> Shape | None:
        """The shape of one row's context; None without a context."""
        return None if self.context is None else self.context.shape[1:]

    def __len__(self) -> int:
        return len(self.x)

    @abc.abstractmethod
    def statistics(
        self, before: Callable[[np.ndarray], np.ndarray] | None = None, covariance: bool = False
    ) -> Statistics:
        """Mean and deviation of every column of x and of the context over all rows by their weights, in float64.

        Args:
          before: a map of rows, to whose results the moments of a table, and the covariance, belong. None takes x
            itself.
          covariance: whether to compute the covariance of all numbers of an event too, for flows that whiten.
        Raises:
          DataError: if a column of a table or of a context is constant, so that it cannot be standardised.
        """

    def check_varies(self) -> None:  # noqa: B027 - of images, and of no data, nothing is asked
        """Raises `DataError` if a column of a table is constant in float32, as its density would be infinite."""

    def take(self, rows: np.ndarray, **changes: Any) -> Self:
        """A copy with these rows in this order, their labels, contexts and weights; `changes` replaces attributes."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]
        cut = {name: taken(values[name], rows) for name in ROWWISE if values.get(name) is not None}
        if self.attributes:
            cut["attributes"] = {name: own[rows] for name, own in self.attributes.items()}
        return type(self)(**{**values, **cut, **changes})

    def joined(self, other: Self) -> Self:
        """A copy with the rows of `other`, which must have the same attributes for each row, after its own."""
        both = {name: (getattr(self, name), getattr(other, name)) for name in ROWWISE}
        joined: dict[str, Any] = {name: np.concatenate(pair) for name, pair in both.items() if pair[0] is not None}
        if self.attributes:
            pairs = {name: (own, other.attributes[name]) for name, own in self.attributes.items()}
            joined["attributes"] = {name: np.concatenate(pair) for name, pair in pairs.items()}
        return dataclasses.replace(self, **joined)  # pyright: ignore[reportArgumentType]

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The names of all attributes, those that are measured included."""
        return (*self.attributes, *(name for name in self.measures if name not in self.attributes))

    def attribute(self, name: str) -> np.ndarray:
        """The values of an attribute, as `jflows.data.attributes` describes them: int8 or float32 [num].

        Raises:
          DataError: if the data have no attribute of this name.
        """
        if name in self.attributes:
            return self.attributes[name]
        if name in self.measures:
            return self.measures[name](self.x / np.float32(2 ** (self.num_bits or 8) - 1))
        where, names = f"{type(self).__name__} {self.name!r}", self.attribute_names
        if not names:
            fix = "Name a .csv file of theirs by {attributes}, or choose other {data}."
            raise DataError(where, "attribute", "must be one of the data, which have none", repr(name), fix)
        fix = did_you_mean(name, names).strip()
        raise DataError(where, "attribute", f"must be one of {', '.join(names)}", repr(name), fix)

    @property
    def relative_weight(self) -> np.ndarray:
        """The weights over their mean among rows that count, float64 [num], so that their scale is gone."""
        return np.ones(len(self)) if self.weight is None else weights.relative(self.weight)

    @property
    def effective_size(self) -> float:
        """The number of rows of equal weight with which means are as certain, by `jflows.data.weights`."""
        return float(len(self)) if self.weight is None else weights.effective_size(self.weight)

    def counted(self) -> Self:
        """The data without rows of weight 0."""
        if self.weight is None or self.weight.all():
            return self
        return self.take(np.flatnonzero(self.weight))

    @property
    def _weight_that_counts(self) -> np.ndarray | None:
        """The weights of the rows of `_counts`."""
        return None if self.weight is None else self.weight[self._counts]

    @property
    def _counts(self) -> Any:
        """What picks the rows of positive weight out of an array, without a copy if that is all of them."""
        return slice(None) if self.weight is None or self.weight.all() else self.weight > 0

    def as_shown(self, seed: int) -> Self:
        """The rows for pictures: those of positive weight."""
        del seed
        return self.counted()

    def drawn_by_weight(self, num: int, seed: int) -> Self:
        """`num` rows drawn in proportion to their weights, in random order and without weights; see `weights.draw`."""
        return self.take(weights.draw(self.relative_weight, num, seed), weight=None)

    def reduced(self, num_bits: int | None) -> "Data":
        """The data with integers reduced to `num_bits` bits; unchanged if they have no more bits, or for None."""
        del num_bits
        return self

    def __repr__(self) -> str:
        """One line without the arrays: TableData('two_moons', 20,000 rows x 2 columns, 2 classes)."""
        facts = [*self._facts()]
        if self.label is not None:
            facts.append(f"{self.num_classes} classes{', labelled in part' if self.partly_labelled else ''}")
        if self.context is not None:
            facts.append(f"context of shape {self.context_shape}")
        if self.weight is not None:
            facts.append(f"weights of {self.effective_size:,.6g} effective rows")
        if self.gradient is not None:
            facts.append("gradients")
        return f"{type(self).__name__}({', '.join(facts)})"

    @abc.abstractmethod
    def _facts(self) -> tuple[str, ...]:
        """What `repr` says first: name and size."""

    def _check_weight(self) -> None:
        if self.weight is not None:
            weight = check_weight(self.weight, f"{type(self).__name__} {self.name!r}", len(self))
            object.__setattr__(self, "weight", weight)

    def _check_label(self) -> None:
        """Brings `label` and `num_classes` into the form that the attributes state."""
        if self.label is None:
            object.__setattr__(self, "num_classes", None)
            object.__setattr__(self, "class_names", ())
            return
        where = f"{type(self).__name__} {self.name!r}"
        object.__setattr__(self, "label", self._checked_label(where))
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", int(self.label.max()) + 1)
        names = self.class_names
        if names and (len(names) != self.num_classes or len(set(names)) != len(names)):
            raise DataError(where, "class_names", f"must be {self.num_classes} different names", repr(names))

    def _checked_label(self, where: str) -> np.ndarray:
        label = as_array(self.label, where, "label")
        if not self.partly_labelled:
            return check_labels(label, len(self.x), self.num_classes, where)
        known = np.asarray(label != NO_LABEL)
        if not known.any():
            rule, fix = f"must hold a label that is not {NO_LABEL}", "Or leave `label` out."
            raise DataError(where, "label", rule, "none", fix)
        check_labels(np.where(known, label, np.min(label[known])), len(self.x), self.num_classes, where)
        return label.astype(np.int32)

    def _with_covariance(self, found: Statistics, before: Callable[[np.ndarray], np.ndarray] | None) -> Statistics:
        """Statistics with mean and covariance of whole events, over the rows that count."""
        mean, covariance = event_moments(taken(self.x, self._counts), self._weight_that_counts, before)
        return dataclasses.replace(found, event_mean=mean, covariance=covariance)

    def _context_moments(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and deviation of the context; None of labels, which are ints of shape () and not standardised."""
        context = None if self.context is None else self.context[self._counts]
        if context is None or (context.ndim == 1 and context.dtype.kind != "f"):
            return None, None
        found = moments(context, self._weight_that_counts)
        if found.constant.any():
            place = tuple(map(int, np.argwhere(found.constant)[0]))
            entry = f"entry {place[0] if len(place) == 1 else place} is " if place else ""
            got = f"{entry}{context[(0, *place)]:.6g} in every row, in float32"
            rule, fix = "must vary in every entry, to be standardised", "Leave this entry out of the context."
            raise DataError(f"{type(self).__name__} {self.name!r}", "context", rule, got, fix)
        return found.mean, found.deviation


def check_same_columns(data: Data, where: str, argument: str, columns: Sequence[str], context: Sequence[str]) -> None:
    """Raises `DataError` unless named columns of x and of contexts are these, in this order.

    Otherwise one column would be scored as another. Names that were made up for an array, "x0", "x1", ..., say nothing.
    """
    for what, own, wanted in (("columns", data.columns, columns), ("context_columns", data.context_columns, context)):
        if {tuple(own), tuple(wanted)} & {(), made_up(len(own)), made_up(len(wanted))} or tuple(own) == tuple(wanted):
            continue
        rule, got = f"must have the {what} {', '.join(wanted)}, in this order", ", ".join(own)
        raise DataError(where, argument, rule, got, f"Load them with {what.removesuffix('_columns')}={tuple(wanted)}.")


def made_up(num: int) -> tuple[str, ...]:
    """The names of columns that were given none."""
    return tuple(f"x{i}" for i in range(num))


def check_is_data(where: str, argument: str, value: object) -> None:
    """Raises `InvalidTypeError` unless `value` is `Data`."""
    if not isinstance(value, Data):
        fix = 'Wrap arrays: jflows.data.TableData("name", x) or ImageData("name", x).'
        raise InvalidTypeError(where, argument, "must be TableData, ImageData or NoData", kind_of(value), fix)
