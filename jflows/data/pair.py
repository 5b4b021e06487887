"""Two files, or two folders, as one data set: the rows of the first are for training, those of the second for testing.

Read next: `jflows/data/load.py`, which finds both; `jflows/data/files/__init__.py`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jflows.data.base import Data
from jflows.data.files import FileFormat
from jflows.data.splits import ALL, split_rows
from jflows.errors import DataError


class Place(NamedTuple):
    """A file or a folder, and the format by which it is read."""

    path: Path
    format: FileFormat

    def read(self, given: Mapping[str, Any]) -> Data:
        """All rows, by those of the options that this format takes."""
        options = {name: value for name, value in given.items() if name in self.format.options}
        return self.format.load(self.path, ALL, 0, options)


def load_pair(train: Place, test: Place, split: str, num_validation: int, given: Mapping[str, Any]) -> Data:
    """Loads one split of two files: "test" is the second, in its order; the rest are rows of the first, shuffled.

    The second file is told and checked like the first. Its columns are found by name, and its classes by the names of
    their folders; it must have all of the first file's, and no others unless `columns` chooses some.

    Args:
      train, test: the two places.
      split: "train", "validation", "test", or "all", which is the rows of both in the order of the files.
      num_validation: how many of the shuffled training rows, the last ones, are "validation".
      given: the other options of `jflows.data.load`.
    Raises:
      DataError: if a file is damaged, has a test part of its own, or if the two do not fit each other.
      InvalidValueError: if an option breaks its rule.
    """
    if test.path.samefile(train.path):
        raise DataError("load", "test_data", "must be another file than the training data", str(test.path))
    for place in (train, test):
        if place.format.has_test(place.path):
            rule, fix = "must have no test part of its own beside {test_data}", "Drop {test_data}, or this part."
            raise DataError("load", str(place.path), rule, "one", fix)
    first = train.read(given)
    first.check_varies()
    if split in ("test", ALL):
        chosen = {"columns": first.columns} if "columns" in given else {}
        second = _matched(first, test.read({**given, **chosen}), train.path, test.path)
        return second if split == "test" else first.joined(second)
    start, stop = split_rows(split, len(first), num_validation)
    rows = np.random.RandomState(0).permutation(len(first))  # RandomState: its stream is frozen for all numpy versions
    return first.take(rows[start:stop])


def _matched(first: Data, second: Data, train: Path, test: Path) -> Data:
    """The second data with the columns, the classes and their numbers of the first."""
    where, like = str(test), f"as {train.name} has"
    if second.kind != first.kind:
        raise DataError("load", where, f"must hold {first.kind}, {like}", second.kind)
    if set(second.columns) != set(first.columns):
        rule = f"must have the columns of {train.name}, {', '.join(first.columns)}, in any order, and no others"
        fix = "Rename them, or choose columns that both have by {columns}."
        raise DataError("load", where, rule, ", ".join(second.columns), fix)
    changes: dict[str, Any] = {"num_classes": first.num_classes, "class_names": first.class_names}
    if first.columns:
        order = [second.columns.index(name) for name in first.columns]
        changes |= {"x": second.x[:, order], "columns": first.columns}
    for name, wanted, found in (
        ("event_shape", first.event_shape, second.event_shape),
        ("num_bits", first.num_bits, second.num_bits),
        ("context_shape", first.context_shape, second.context_shape),
        ("context_columns", first.context_columns, second.context_columns),
    ):
        if wanted != found:
            rule = f"must have {name}={wanted}, {like}"
            raise DataError("load", where, rule, f"{name}={found}", "Bring both to one form.")
    for what, wanted, found in (("labels", first.label, second.label), ("weights", first.weight, second.weight)):
        if (wanted is None) != (found is None):
            raise DataError("load", where, f"must have {what} exactly if the training data do", f"one file with {what}")
    if first.class_names or second.class_names:
        if extra := sorted(set(second.class_names) - set(first.class_names)):
            rule = f"must have no class that {train.name} lacks ({', '.join(first.class_names) or 'it has none'})"
            raise DataError("load", where, rule, ", ".join(extra), "Give both folders the same class folders.")
        number = np.array([first.class_names.index(name) for name in second.class_names])
        changes["label"] = number[second.label]
    return dataclasses.replace(second, **changes)  # pyright: ignore[reportArgumentType]
