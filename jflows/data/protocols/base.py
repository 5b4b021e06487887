"""`KnownData`: the facts about a data set that `load` knows by name, and how one of its splits is loaded.

A protocol decides which rows are "train", "validation" and "test". Each is one subclass: `images.py` (fixed splits of
images), `tables.py` (splits that a paper has fixed; ten folds), `logit.py` (derived from images), `drawn.py` (drawn
from a seed), `speech.py` (sentences that a synthesiser speaks). A data set is one instance, in a file of its own in
`jflows/data/known/`.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jflows.data.base import Data
from jflows.data.kinds import Kind
from jflows.data.store import archives
from jflows.data.store.archives import Archive
from jflows.errors import DataError, InvalidValueError
from jflows.typing import Shape


class Places(NamedTuple):
    """The folders on this machine in which data are kept.

    Attributes:
      prepared: where tensorflow-datasets keeps prepared data sets.
      manual: where the user puts files that no registry holds.
    """

    prepared: Path
    manual: Path


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownData(abc.ABC):
    """A data set that `load` knows by name.

    Attributes:
      name: the name by which `load` finds it.
      title: one line that describes the data set.
      licence: a sentence on the terms under which the data may be used.
      credit: a sentence on whom to cite.
      notes: a sentence on anything else to know, or "".
      kind: `IMAGES`, `TABLE` or `WAVEFORMS`, see `jflows/data/kinds.py`.
      protocol: a sentence that says which rows are "train", "validation" and "test".
      event_shape: shape of one row.
      context_shape: shape of the context of one row; None without contexts.
      num_bits: bits of the integers of images; None for tables.
      num_classes: labels are 0..num_classes - 1; None without labels.
      columns: names of the columns of a table, if they have names.
      mirror: whether an image flipped left to right is as natural as the image itself.
      has_validation: whether the data set has validation rows of its own.
      options: names of the arguments of `jflows.data.load` that apply to this data set, such as "fold".
      attributes: names of the attributes of its images that are stored with them.
    """

    name: str
    title: str
    licence: str
    credit: str
    notes: str = ""

    # Each protocol states these as class attributes, fields or properties; `ClassVar`: here they are no fields.
    kind: ClassVar[Kind]
    protocol: ClassVar[str]
    event_shape: ClassVar[Shape]
    context_shape: ClassVar[Shape | None] = None
    num_bits: ClassVar[int | None] = None
    num_classes: ClassVar[int | None] = None
    columns: ClassVar[tuple[str, ...]] = ()
    mirror: ClassVar[bool] = False
    has_validation: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    attributes: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> Data:
        """Loads one split.

        Args:
          split: "train", "validation" or "test".
          num_validation: how many training rows, the last ones, are "validation"; 0 if `has_validation`.
          options: the arguments of `jflows.data.load` that were given, out of those that `options` names.
          places: the folders in which data are kept.
        Raises:
          DataError: if the data cannot be loaded.
          InvalidValueError: if an option or `num_validation` breaks its rule.
        """

    def as_images(self, x: np.ndarray) -> np.ndarray | None:
        """The images, uint8 [num, height, width, channels], that rows of a table stand for; None if they do not."""
        del x
        return None

    def _refuse_num_validation(self, num_validation: int) -> None:
        if num_validation != 0:
            rule = f"must be 0 for {self.name!r}, which has validation rows of its own"
            raise InvalidValueError("load", "num_validation", rule, num_validation, "Drop it.")


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedData(KnownData):
    """A data set that is read once from its archive or files, and then kept by tensorflow-datasets.

    Attributes:
      read: reads all arrays by split, from the paths of the archive or of the files.
      prepare_seconds: rough time of the first use, without the download.
      archive: the archive that holds the data; None if they come with a Python package, or from `files`.
      files: paths of files inside the folder `manual_dir`, into which the user must fetch them.
      files_fix: a sentence that says how to fetch `files`.
    """

    read: Callable[..., Mapping[str, Any]]
    prepare_seconds: int
    archive: Archive | None = None
    files: tuple[str, ...] = ()
    files_fix: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The argument `manual_dir`, if there are files to be fetched by hand."""
        return ("manual_dir",) if self.files else ()

    def inputs(self, manual_dir: Path) -> tuple[Path, ...]:
        """The paths that `read` takes.

        Raises:
          DataError: if the archive cannot be fetched, or a file is missing in `manual_dir`.
        """
        if self.archive is not None:
            return (archives.fetch(self.archive),)
        paths = tuple(manual_dir / file for file in self.files)
        for path in paths:
            if not path.is_file():
                raise DataError(
                    "load", self.name, f"must be fetched by you and lie in {path}", "no such file", self.files_fix
                )
        return paths

    def store(self) -> ModuleType:
        """The module `jflows.data.store.builders`, imported when it is first needed.

        Raises:
          DataError: if tensorflow-datasets is absent.
        """
        try:
            from jflows.data.store import builders
        except ImportError as error:
            fix = "Run `pip install tensorflow-datasets array_record` (TensorFlow itself is not needed)."
            raise DataError("load", self.name, "needs tensorflow-datasets", str(error), fix) from error
        return builders
