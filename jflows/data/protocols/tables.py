"""Tables with the splits of papers: `PaperTable` (fixed splits) and `TenFolds` (ten parts, each "test" in turn)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jflows.data.dataset import TableData
from jflows.data.kinds import TABLE, Kind
from jflows.data.protocols.base import KnownData, Places, PreparedData
from jflows.data.splits import split_rows
from jflows.data.store import archives
from jflows.data.store.archives import Archive
from jflows.errors import check_choice
from jflows.typing import Shape

Splits = Mapping[str, np.ndarray]  # split -> rows [num, dim]
NUM_FOLDS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class PaperTable(PreparedData):
    """A table whose rows of "train", "validation" and "test" a paper has fixed.

    Attributes:
      read: reads the `Splits` of all three; see `PreparedData`.
      columns: names of the columns that are kept.
      protocol: a sentence that says which rows are "train", "validation" and "test", and how columns are scaled.
    """

    kind: ClassVar[Kind] = TABLE
    has_validation: ClassVar[bool] = True

    columns: tuple[str, ...]
    protocol: str

    @property
    def event_shape(self) -> Shape:
        """(dim,)."""
        return (len(self.columns),)

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> TableData:
        """Loads one split; see `KnownData.load`."""
        del options  # `manual_dir` is in `places`
        self._refuse_num_validation(num_validation)
        store = self.store()
        x = store.read_blocks(store.prepare(self, places), split)
        return TableData(self.name, x, columns=self.columns, as_published=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class TenFolds(KnownData):
    """A small table that papers score in ten folds; it is read from its archive at each use.

    Attributes:
      columns: names of the columns.
      archive: the archive that holds the table.
      read: reads all rows [num, dim] from the path of the archive.
    """

    kind: ClassVar[Kind] = TABLE
    options: ClassVar[tuple[str, ...]] = ("fold",)
    protocol: ClassVar[str] = (
        "A seeded permutation cuts the rows into ten parts, of which part `fold` is the test split; the last "
        "`num_validation` of the other rows are the validation split. Columns are brought to mean 0 and variance 1 "
        "over all rows but those of the test split."
    )

    columns: tuple[str, ...]
    archive: Archive
    read: Callable[[Path], np.ndarray]

    @property
    def event_shape(self) -> Shape:
        """(dim,)."""
        return (len(self.columns),)

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> TableData:
        """Loads one split; see `KnownData.load`."""
        del places
        fold = options.get("fold", 0)
        check_choice("load", "fold", fold, range(NUM_FOLDS))
        x = self.read(archives.fetch(self.archive))
        parts = np.array_split(np.random.RandomState(0).permutation(len(x)), NUM_FOLDS)
        test = parts.pop(fold)
        train = np.concatenate(parts)
        x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        rows = test if split == "test" else train[slice(*split_rows(split, len(train), num_validation))]
        return TableData(self.name, x[rows], columns=self.columns, as_published=True)
