"""`DataConfig`: which rows a run trains on and is tested on, and which columns and labels it sees."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np

from jflows.data import KNOWN, Data, eval_batches, has_validation, hide_labels, load, only_classes
from jflows.data.base import ROWWISE
from jflows.data.domains import (
    CircleColumns,
    Domains,
    IntegerColumns,
    IntervalColumns,
    PositiveColumns,
    SimplexColumns,
)
from jflows.data.files.dialect import SEPARATORS
from jflows.data.files.numbers import DECIMALS
from jflows.data.stored import crc32_of_rows
from jflows.errors import InvalidValueError, path_of
from jflows.flows import Density
from jflows.options import Checked, Option, documented, settings_of
from jflows.typing import Batch, Shape

DOMAINS = tuple(setting.name for setting in settings_of(Domains))


class Outline(NamedTuple):
    """The shape of data without their rows: all that is needed to build a flow for them.

    Attributes:
      name: name of the data, for messages.
      event_shape: shape of one row.
      num_classes: number of classes of the labels; None without labels.
      context_shape: shape of the context of one row; None without contexts.
      columns: names of the columns of a table; () for other data.
    """

    name: str
    event_shape: Shape
    num_classes: int | None = None
    context_shape: Shape | None = None
    columns: tuple[str, ...] = ()


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """The data of a run: their name or path, and which rows, columns and labels to use.

    A setting that does not suit the data, such as a fold of data without folds, is refused when they are loaded.

    Raises:
      InvalidTypeError, InvalidValueError: if a setting is of the wrong type or out of range.
    """

    name: Annotated[
        str, Option("Data to train on: the name of a data set, or the path of a file or of a folder of images.")
    ] = ""
    test_data: Annotated[
        str,
        Option(
            "Path of a second file, or folder, with the rows to test on; its columns are those of the first, "
            "by name. If it is empty, a tenth of the rows of the first is held out, unless it has a test part."
        ),
    ] = ""
    num_validation: Annotated[
        int,
        Option(
            "Number of training rows to hold out for validation, whose score then chooses the weights to keep. More "
            "rows make the choice surer and leave fewer to train on; 0 holds out none.",
            low=0,
        ),
    ] = 0
    num_train: Annotated[
        int | None, Option("Train on at most this many rows, the first ones; none trains on all.", low=1)
    ] = None
    columns: Annotated[
        tuple[str, ...],
        Option("Columns to read from a table in a file, by name or by position from 0; empty reads all columns."),
    ] = ()
    context: Annotated[
        tuple[str, ...],
        Option(
            "Columns of a table in a file on which the flow is conditioned, by name. They leave x: the flow models the "
            "other columns given these. Empty conditions on none; an .npz file holds contexts as an array of its own."
        ),
    ] = ()
    weight: Annotated[
        str | None,
        Option(
            "Column of a table in a file that holds the weights of the rows, by name. It leaves x; a row of weight 3 "
            "counts as three rows, and one of weight 0 never counts. none counts all rows alike."
        ),
    ] = None
    positive: PositiveColumns = ()
    interval: IntervalColumns = ()
    circle: CircleColumns = ()
    integer: IntegerColumns = ()
    simplex: SimplexColumns = ()
    replace_zeros: Annotated[
        float,
        Option(
            "Number that takes the place of zeros in positive columns, and in columns that sum to 1, the others of "
            "which shrink to make room. It is a guess about your data, so 0 replaces none and refuses them.",
            low=0,
            below=0.5,
        ),
    ] = 0.0
    separator: Annotated[
        str | None,
        Option(
            "What stands between the cells of a table in a text file; line means one cell a line. none tells it from "
            "the first lines, and refuses a file that can be read in two ways.",
            choices=tuple(SEPARATORS),
        ),
    ] = None
    decimal: Annotated[
        str | None,
        Option("Mark before the decimals of numbers in a text file; none tells it.", choices=tuple(DECIMALS)),
    ] = None
    header: Annotated[
        bool | None,
        Option("Whether the first row of a text file holds the names of its columns; none tells it."),
    ] = None
    classes: Annotated[
        tuple[int, ...],
        Option(
            "Classes whose rows are used; they are numbered anew from 0, in the order given here. Empty uses all rows.",
            low=0,
        ),
    ] = ()
    fold: Annotated[
        int | None,
        Option(
            "Which of ten parts, 0 to 9, is used for testing, of a table that papers score in ten folds. none takes "
            "part 0; it must be none for other data.",
            low=0,
        ),
    ] = None
    manual_dir: Annotated[
        str, Option("Folder into which you have put the files of a data set that must be fetched by hand.")
    ] = ""
    image_size: Annotated[
        int | None,
        Option(
            "Side in pixels to which the images of a folder are cropped and resized; none takes them as they are.",
            low=1,
        ),
    ] = None
    stream: Annotated[
        bool,
        Option(
            "Read images of a folder, or of a data set that is prepared on disk, when batches need them, instead of "
            "holding all in memory. Batches have the same order and bits; threads of grain read them ahead, and "
            "reports that need all images at once are refused."
        ),
    ] = False
    attributes: Annotated[
        str,
        Option(
            "Path of a .csv file with attributes of the images of a folder, such as glasses, for `jflows edit`. Its "
            "first column, file, holds the paths of images inside the folder. Training does not see them."
        ),
    ] = ""
    conditional: Annotated[
        bool | None,
        Option(
            "Model x given each row's label (a flow that takes classes) or context (a flow that takes those), not x "
            "alone; data without them are refused. none conditions on contexts if the data have any, not on labels."
        ),
    ] = None
    labels_per_class: Annotated[
        int | None,
        Option(
            "Number of training rows of each class whose label a mixture sees. 0 trains without labels, none shows all "
            "of them.",
            low=0,
        ),
    ] = 0
    labelled_share: Annotated[
        float,
        Option(
            "Rows with a label are repeated until they are this share of all training rows. A "
            "larger share makes the few labels count more; 0 repeats none.",
            low=0,
            below=1,
        ),
    ] = 0.0

    def _check(self) -> None:
        domains = self.domains
        if self.replace_zeros and not (domains.positive or domains.simplex):
            rule, fix = (
                "is for positive columns, and for columns that sum to 1",
                "Name them by {positive} or {simplex}.",
            )
            raise InvalidValueError("DataConfig", "replace_zeros", rule, self.replace_zeros, fix)
        if self.labelled_share and not self.labels_per_class:
            rule, fix = "must be positive with {labelled_share}, which repeats rows with a label", "Set it, such as 16."
            raise InvalidValueError("DataConfig", "labels_per_class", rule, 0, fix)
        if self.context and self.conditional is False:
            rule, fix = "must be left out or True with {context}, on which the flow is conditioned", "Leave one out."
            raise InvalidValueError("DataConfig", "conditional", rule, False, fix)

    @property
    def domains(self) -> Domains:
        """What values the columns can have, by name or position as they were given."""
        own = {name: getattr(self, name) for name in DOMAINS}
        return Domains(**own)

    @property
    def has_validation(self) -> bool:
        """Whether the data have a split "validation"."""
        return has_validation(self.name, self.num_validation)

    def load(self, split: str) -> Data:
        """Loads one split: "train", "validation" or "test".

        Raises:
          DataError, InvalidValueError: if the data cannot be loaded, or an option does not suit them.
        """
        if not self.name:
            fix = "Name a data set such as two_moons or mnist, or the path of a file."
            raise InvalidValueError("data", "data", "must be given", repr(self.name), fix)
        data = load(self.name, split, num_validation=self.num_validation, **self._given())
        if self.classes:
            data = only_classes(data, self.classes)
        if self.replace_zeros and data.kind.has_columns:
            x = self.domains.of(data.columns).replace_zeros(data.x, self.replace_zeros)
            changed = int(np.sum((data.x == 0) & (x != 0)))
            note = f"{changed:,} zeros replaced by {self.replace_zeros:g}"
            told = ", ".join(filter(None, (data.read_as, note)))
            data = data.take(np.arange(len(data)), x=x, read_as=told)
        if split == "train" and self.num_train is not None and self.num_train < len(data):
            data = data.take(np.arange(self.num_train))
        return data

    def located(self) -> "DataConfig":
        """The same data by absolute paths, if they are files or folders: so they are found from anywhere."""
        test_data, attributes = _located(self.test_data), _located(self.attributes)
        return dataclasses.replace(self, name=_located(self.name), test_data=test_data, attributes=attributes)

    def outline(self) -> Outline:
        """The shape of the data, for which a flow is built; data sets with a known name are not loaded for it.

        Raises:
          DataError, InvalidValueError: for the reasons for which `load` raises them.
        """
        known = KNOWN.get(self.name)
        if known is None:
            return outline_of(self.load("train"))
        columns = known.columns or tuple(f"x{i}" for i in range(known.event_shape[0] if known.kind.has_columns else 0))
        num_classes = len(self.classes) or known.num_classes
        return Outline(self.name, known.event_shape, num_classes, known.context_shape, tuple(columns))

    def for_training(self, data: Data, takes_labels: bool, seed: int) -> Data:
        """The training rows as the loss sees them: labels that it must not learn from are taken out.

        Args:
          data: the split "train".
          takes_labels: whether the loss learns from labels; for any other loss, the data are returned unchanged.
          seed: seed of the choice of the rows that keep their label.
        """
        if not takes_labels:
            return data
        if self.labels_per_class is None:
            return data if data.label is None else data.take(np.arange(len(data)), partly_labelled=True)
        if self.labels_per_class and data.partly_labelled:
            return data
        if self.labels_per_class == 0:
            return data if data.label is None else data.take(np.arange(len(data)), label=None, partly_labelled=False)
        return hide_labels(data, self.labels_per_class, share=self.labelled_share or None, seed=seed)

    def _given(self) -> dict[str, Any]:
        options = {
            "test_data": self.test_data or None,
            "columns": self.columns or None,
            "context": self.context or None,
            "weight": self.weight,
            "separator": self.separator,
            "decimal": self.decimal,
            "header": self.header,
            "fold": self.fold,
            "manual_dir": self.manual_dir or None,
            "size": self.image_size,
            "attributes": self.attributes or None,
            "stream": self.stream or None,
        }
        return {name: value for name, value in options.items() if value is not None}


def outline_of(data: Data) -> Outline:
    """The shape of loaded data, for which a flow is built."""
    return Outline(data.name, data.event_shape, data.num_classes, data.context_shape, data.columns)


def facts_of(data: Data, test: Data) -> dict[str, Any]:
    """The facts that a run stores about its rows: checksums of those to train and to test on, the number of the former,
    the names of classes, those of a table's columns and of its contexts, whether rows have weights, the setting of mel
    spectrograms, and how a table's file was read.
    """
    facts: dict[str, Any] = {"data_crc32": checksum(data), "test_crc32": checksum(test), "num_examples": len(data)}
    facts |= {"test_read_as": test.read_as} if test.read_as != data.read_as else {}
    facts |= {"class_names": list(data.class_names)} if data.class_names else {}
    facts |= {"weighted": True} if data.weight is not None else {}
    facts |= {"context": list(data.context_columns)} if data.context_columns else {}
    facts |= {"columns": list(data.columns)} if data.columns else {}
    facts |= {"mel": dataclasses.asdict(data.mel)} if data.mel is not None else {}
    return facts | ({"read_as": data.read_as} if data.read_as else {})


def checksum(data: Data) -> int:
    """The CRC-32 of everything that the data hold for each row."""
    found = 0
    for name in ROWWISE:
        value = getattr(data, name)
        found = found if value is None else crc32_of_rows(value, found)
    return found


def _located(name: str) -> str:
    if not name or name in KNOWN:
        return name
    path = path_of("data", "data", name)
    return str(path.resolve()) if path.exists() else name


def batches_of(data: Data, batch_size: int, density: Density, labels: bool = False) -> Iterator[Batch]:
    """Batches that visit all rows once, in the form that the density wants, for scores.

    Args:
      labels: True puts labels in the place of the context, for a density that takes none.
    Raises:
      DataError, InvalidValueError: if the data are not of the kind and shape that the density is for.
    """
    reading = density.reading.with_labels() if labels else density.reading
    return eval_batches(data, batch_size, reading)


def as_read(data: Data, density: Density) -> Data:
    """The data, with images reduced to the bits that the density models."""
    return data.reduced(density.reading.num_bits)


def has_folds(name: str) -> bool:
    """Whether papers score a data set in ten folds."""
    return name in KNOWN and "fold" in KNOWN[name].options
