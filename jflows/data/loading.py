"""`load`: a data set by name or path.

Larger known data sets are prepared once by tensorflow-datasets and then read in bulk; small ones are read from their
archives, files as they are. Read next: `jflows/data/sources.py`, `tables.py` and `toys.py` (what is known),
`files.py` and `table_files.py` (the user's own), `builders.py`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jflows.data import files, table_files
from jflows.data.archives import cache_dir, fetch
from jflows.data.dataset import SPLITS, Data, ImageData, TableData, split_rows
from jflows.data.logit_images import LOGIT_IMAGES
from jflows.data.sources import SOURCES, Source
from jflows.data.tables import FOLDS, TABLES, Folds, Table
from jflows.data.toys import TOYS
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, check_choice, did_you_mean

TABLE_NAMES = (*TABLES, *FOLDS, *LOGIT_IMAGES, *TOYS)
NUM_FOLDS = 10
TOY_ROWS: Mapping[str, int] = {"train": 20000, "validation": 5000, "test": 10000}
_OPTION_OF = {  # arguments of `load`, and the data that each is for
    "size": "folders of images",
    "fold": "tables that papers score in ten folds",
    "columns": "tables in files",
    "manual_dir": "data whose files you must fetch yourself",
}


def load(
    name_or_path: str | os.PathLike[str],
    split: str = "train",
    *,
    num_validation: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    fold: int | None = None,
    columns: Sequence[str | int] | None = None,
) -> Data:
    """Loads one split of a data set into memory.

    Args:
      name_or_path: a name: "digits", "mnist", "fashion_mnist" or "cifar10", or of a table, one of `TABLE_NAMES`. Or a
        path: a folder of images or an .npz file (jflows/data/files.py), or a table in a .csv, .tsv, .parquet or .npy
        file (jflows/data/table_files.py). A name wins over a folder of that name: write "./mnist" for the folder.
      split: "train", "validation" or "test".
      num_validation: the last so many training rows make up "validation", and "train" leaves them out. Must be 0 where
        the data set itself says which rows are "validation".
      data_dir: where known data sets are prepared; default `cache_dir() / "tfds"`.
      manual_dir: where you put the files of "gas", "hepmass", "miniboone" and "bsds300"; default
        `cache_dir() / "manual"`.
      size: of folders only: height and width (one int for both) to which images are centre-cropped and resized.
      fold: of "red_wine", "ionosphere" and "boston" only: which of ten parts is "test", 0 (default) to 9.
      columns: of tables in files only: the columns to read, by name or position, in this order; default all.
    Returns:
      `ImageData` or `TableData`.
    Raises:
      DataError: if the data are unknown, missing, damaged, of unequal shapes, out of range or not numbers.
      InvalidTypeError: if `name_or_path` is neither a str nor a path.
      InvalidValueError: if another argument breaks its rule or is not for these data.
      MissingPackageError: if the format needs a package that is not installed.
    Example:
      >>> data = load("digits", "test")  # doctest: +SKIP
      >>> data.x.shape, data.num_bits  # doctest: +SKIP
      ((360, 8, 8, 1), 4)
      >>> load("two_moons").x.shape
      (20000, 2)
    """
    if not isinstance(name_or_path, str | os.PathLike):
        fix = "Pass a name such as 'mnist' or a path; wrap arrays in ImageData(name, x) or TableData(name, x)."
        raise InvalidTypeError("load", "name_or_path", "must be a str or a path", type(name_or_path).__name__, fix)
    check_choice("load", "split", split, SPLITS)
    name = os.fspath(name_or_path)
    options = {"size": size, "fold": fold, "columns": columns, "manual_dir": manual_dir}
    if name not in SOURCES and name not in TABLE_NAMES:
        return _load_path(name, split, num_validation, options)
    prepared = Path(data_dir) if data_dir else cache_dir() / "tfds"
    return _load_known(name, split, num_validation, options, prepared)


def has_validation(name: str, num_validation: int) -> bool:
    """Whether `load` gives a split "validation": rows were held out, or the data set itself names some."""
    return num_validation > 0 or (name in TABLE_NAMES and name not in FOLDS)


def _load_known(name: str, split: str, num_validation: int, options: dict[str, Any], data_dir: Path) -> Data:
    taken = {**dict.fromkeys(FOLDS, "fold"), **{name: "manual_dir" for name, table in TABLES.items() if table.files}}
    _refuse_options(options, repr(name), taken.get(name, ""))
    if name in SOURCES:
        return _load_images(SOURCES[name], split, num_validation, data_dir)
    if name in FOLDS:
        return _load_fold(FOLDS[name], split, num_validation, options["fold"] or 0)
    if num_validation != 0:
        rule = f"must be 0 for {name!r}, which has validation rows of its own"
        raise InvalidValueError("load", "num_validation", rule, num_validation, "Drop it.")
    if name in LOGIT_IMAGES:
        known = LOGIT_IMAGES[name]
        images = _load_images(SOURCES[known.source], split, known.num_validation, data_dir)
        return known.table(images, split)
    if name in TOYS:
        return TOYS[name](TOY_ROWS[split], seed=SPLITS.index(split))
    manual_dir = options["manual_dir"]
    return _load_table(TABLES[name], split, data_dir, Path(manual_dir) if manual_dir else cache_dir() / "manual")


def _load_path(name: str, split: str, num_validation: int, options: dict[str, Any]) -> Data:
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse_options(options, "folders of images", "size")
        return files.load_folder(path, split, num_validation, options["size"])
    if path.is_file() and path.suffix == ".npz":
        _refuse_options(options, ".npz files", "columns")
        return files.load_npz(path, split, num_validation, options["columns"])
    if path.is_file() and path.suffix in table_files.READERS:
        _refuse_options(options, f"{path.suffix} files", "columns")
        return table_files.load_file(path, split, num_validation, options["columns"])
    names = ", ".join(repr(known) for known in (*SOURCES, *TABLE_NAMES))
    suffixes = ", ".join(table_files.READERS)
    rule = f"must be one of {names}, or the path of an existing folder of images or .npz, {suffixes} file"
    fix = f"{did_you_mean(name, (*SOURCES, *TABLE_NAMES))}Check the spelling."
    raise DataError("load", "name_or_path", rule, repr(name), fix)


def _refuse_options(options: dict[str, Any], data: str, *taken: str) -> None:
    """Raises `InvalidValueError` for an option that was given and means nothing for these data."""
    for name, value in options.items():
        if value is not None and name not in taken:
            raise InvalidValueError("load", name, f"is for {_OPTION_OF[name]}, not for {data}", value, "Drop it.")


def _load_images(source: Source, split: str, num_validation: int, data_dir: Path) -> ImageData:
    start, stop = (0, source.num_test) if split == "test" else split_rows(split, source.num_train, num_validation)
    builders = _builders(source.name)
    builder = builders.prepare(source.name, data_dir)
    x, label = builders.read_rows(builder, "test" if split == "test" else "train", start, stop)
    return ImageData(source.name, x, label, source.num_bits, source.num_classes)


def _load_table(table: Table, split: str, data_dir: Path, manual_dir: Path) -> TableData:
    builders = _builders(table.name)
    builder = builders.prepare(table.name, data_dir, manual_dir)
    return TableData(table.name, builders.read_blocks(builder, split), columns=table.columns)


def _load_fold(table: Folds, split: str, num_validation: int, fold: int) -> TableData:
    """One of ten parts is "test"; columns are brought to mean 0 and variance 1 over all other rows."""
    check_choice("load", "fold", fold, range(NUM_FOLDS))
    x = table.read(fetch(table.archive))
    parts = np.array_split(np.random.RandomState(0).permutation(len(x)), NUM_FOLDS)
    test = parts.pop(fold)
    train = np.concatenate(parts)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    rows = test if split == "test" else train[slice(*split_rows(split, len(train), num_validation))]
    return TableData(table.name, x[rows], columns=table.columns)


def _builders(name: str) -> ModuleType:
    try:
        from jflows.data import builders
    except ImportError as error:
        fix = "Run `pip install tensorflow-datasets array_record` (TensorFlow itself is not needed)."
        raise DataError("load", name, "needs tensorflow-datasets", str(error), fix) from error
    return builders
