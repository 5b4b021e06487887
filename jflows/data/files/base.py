"""`FileFormat`: how the user's own files of one format are loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jflows.data.base import Data


class FileFormat(NamedTuple):
    """One format of files, or of folders, that `jflows.data.load` reads.

    Attributes:
      suffixes: suffixes of the format's files, such as (".csv", ".tsv"); () for folders.
      kinds: what a file may hold: "images", "table", or both.
      options: names of the arguments of `jflows.data.load` that apply to this format, such as "columns".
      load: `load(path, split, num_validation, options)` gives one split; `options` holds the arguments that were given.
        It raises `DataError` about the content of the file, and `InvalidValueError` about the arguments.
      has_validation, has_test: whether what stands at a path has a validation part, or a test part, of its own.
    """

    suffixes: tuple[str, ...]
    kinds: tuple[str, ...]
    options: tuple[str, ...]
    load: Callable[[Path, str, int, Mapping[str, Any]], Data]
    has_validation: Callable[[Path], bool] = lambda path: False
    has_test: Callable[[Path], bool] = lambda path: False
