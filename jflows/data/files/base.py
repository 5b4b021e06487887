"""`FileFormat`: how the user's own files of one format are loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jflows.data.dataset import Data


class FileFormat(NamedTuple):
    """One format.

    Attributes:
      suffixes: of its files, such as (".csv", ".tsv"); () of folders.
      kinds: what a file may hold: "images", "table", or both.
      options: arguments of `load` that mean something here, such as "columns".
      load: `load(path, split, num_validation, options)` gives one split; `options` are those of the above that were
        given. Raises `DataError` about what is in the file, and `InvalidValueError` about the arguments.
    """

    suffixes: tuple[str, ...]
    kinds: tuple[str, ...]
    options: tuple[str, ...]
    load: Callable[[Path, str, int, Mapping[str, Any]], Data]
