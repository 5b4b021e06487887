"""`FORMATS`: the formats of users' files by suffix, one module for each; `FOLDER`: the format of folders of images.

To add a format, write a module here that defines `FORMAT`, and one line below.
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
