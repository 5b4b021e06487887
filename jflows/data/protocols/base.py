"""`KnownData`: what the registry knows of a data set, and how one of its splits is loaded.

Each protocol, a way to come to "train", "validation" and "test", is one subclass: `images.py` (fixed splits of
images), `tables.py` (splits that a paper has fixed; ten folds), `logit.py` (derived from images), `drawn.py` (drawn
from a seed). A data set is one instance, in a file of its own in `jflows/data/known/`.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jflows.data.dataset import Data
from jflows.data.store import archives
from jflows.data.store.archives import Archive
from jflows.errors import DataError, InvalidValueError
from jflows.typing import Shape


class Places(NamedTuple):
    """Folders on this machine.

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
      name: as in `load(name)`.
      title: one line for people.
      licence: a sentence on the terms under which the data may be used.
      credit: whom to cite, a sentence.
      notes: what else to know, a sentence, or "".
      kind: "images" or "table".
      protocol: a sentence that says which rows are "train", "validation" and "test".
      event_shape: of one row.
      num_bits: bits of the integers of images; None of tables.
      num_classes: labels are 0..num_classes - 1; None without labels.
      columns: names of the columns of a table, where they have names.
      mirror: whether an image flipped left to right is as natural as the image itself.
      has_validation: whether the data set itself says which rows are "validation".
      options: arguments of `load` that mean something here, such as "fold".
    """

    name: str
    title: str
    licence: str
    credit: str
    notes: str = ""

    # Each protocol states these as class attributes, fields or properties; `ClassVar`: here they are no fields.
    kind: ClassVar[str]
    protocol: ClassVar[str]
    event_shape: ClassVar[Shape]
    num_bits: ClassVar[int | None] = None
    num_classes: ClassVar[int | None] = None
    columns: ClassVar[tuple[str, ...]] = ()
    mirror: ClassVar[bool] = False
    has_validation: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> Data:
        """One split.

        Args:
          split: "train", "validation" or "test".
          num_validation: the last so many training rows are "validation"; 0 where `has_validation`.
          options: of those named by `options`, the ones that were given.
          places: folders on this machine.
        Raises:
          DataError: if the data cannot be had.
          InvalidValueError: if an option or `num_validation` breaks its rule.
        """

    def as_images(self, x: np.ndarray) -> np.ndarray | None:
        """The images, uint8 [num, height, width, channels], that rows of a table stand for; None if for none."""
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
      read: gives all arrays by split, from the paths of the archive or of the files.
      prepare_seconds: rough time of the first use, without the download.
      archive: where it comes from; None if it comes with a Python package, or from `files`.
      files: paths inside the folder `manual_dir`, to which the user must fetch them.
      files_fix: how to fetch these, a sentence.
    """

    read: Callable[..., Mapping[str, Any]]
    prepare_seconds: int
    archive: Archive | None = None
    files: tuple[str, ...] = ()
    files_fix: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The folder of the files, where there are some to be fetched by hand."""
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
                    "load", self.name, f"must lie in {path}, fetched by you", "no such file", self.files_fix
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
