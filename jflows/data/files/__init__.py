"""`FORMATS`: the user's own files, by suffix; `jflows/data/files/<format>.py` holds all of one. `FOLDER`: of images.

A new format is a file here that gives `FORMAT`, and one line below.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from jflows.data.files.base import FileFormat
from jflows.data.files.folder import FORMAT as FOLDER

_NAMES = (
    "npz",
    "csv",
    "parquet",
    "npy",
)
_FORMATS: tuple[FileFormat, ...] = tuple(importlib.import_module(f"jflows.data.files.{name}").FORMAT for name in _NAMES)
FORMATS: Mapping[str, FileFormat] = MappingProxyType({suffix: form for form in _FORMATS for suffix in form.suffixes})

__all__ = ["FOLDER", "FORMATS", "FileFormat"]
