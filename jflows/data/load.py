"""`load`: loads a data set by its name, or from a path.

Read next: `jflows/data/known/__init__.py` (all names), `jflows/data/files/__init__.py` (all formats of files).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jflows.data.base import Data
from jflows.data.files import FOLDER, FORMATS
from jflows.data.files.foreign import check_suffix
from jflows.data.known import KNOWN
from jflows.data.pair import Place, load_pair
from jflows.data.protocols.base import Places
from jflows.data.splits import ALL, SPLITS
from jflows.data.store.archives import cache_dir
from jflows.data.stored import reader
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, check_choice, did_you_mean, path_of

_OPTIONS_ARE_FOR: Mapping[str, str] = MappingProxyType(
    {
        "size": "folders of images",
        "stream": "images in folders, and in data sets that are prepared on disk",
        "attributes": "folders of images",
        "test_data": "data in files and folders",
        "fold": "tables that papers score in ten folds",
        "columns": "tables in files",
        "context": "tables in text, .parquet and .npy files",
        "weight": "tables in text, .parquet and .npy files",
        "separator": "tables in text files",
        "decimal": "tables in text files",
        "header": "tables in text files",
        "manual_dir": "data whose files you must fetch yourself",
    }
)


def load(
    name_or_path: str | os.PathLike[str],
    split: str = "train",
    *,
    test_data: str | os.PathLike[str] | None = None,
    num_validation: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    stream: bool | None = None,
    attributes: str | os.PathLike[str] | None = None,
    fold: int | None = None,
    columns: Sequence[str | int] | None = None,
    context: Sequence[str] | None = None,
    weight: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
) -> Data:
    """Loads one split of a data set into memory, or with `stream` a list of where its images are.

    Args:
      name_or_path: a name of `KNOWN`, such as "mnist" or "two_moons", or a path: a folder of images, images or a table
        in an .npz file, or a table in a .csv, .tsv, .parquet or .npy file (jflows/data/files/). A name wins over a
        folder of that name: write "./mnist" for the folder.
      split: "train", "validation" or "test"; of a file or folder also "all", every row in the order of the file.
      test_data: only for files and folders: the path of a second one, all of whose rows are "test"; it has the columns
        of the first by name, in any order. The first then gives "train" and "validation" alone. Other options hold for
        both.
      num_validation: how many training rows, the last ones, become "validation" and leave "train". It must be 0 for a
        data set that has validation rows of its own.
      data_dir: where known data sets are prepared; None takes `cache_dir() / "tfds"`.
      manual_dir: where you have put the files of "gas", "hepmass", "miniboone" and "bsds300"; None takes
        `cache_dir() / "manual"`.
      size: only for folders: height and width (one int for both) to which images are centre-cropped and resized.
      stream: only for folders, and images that are prepared on disk, as "mnist" is: True leaves images there until they
        are needed, see `jflows/data/stored.py`. What is wrong with an image is then found when it is read.
      attributes: only for folders: the path of a .csv file with attributes of the images, such as glasses, whose first
        column, `file`, holds their paths inside the folder; see `jflows/data/files/attributes.py`.
      fold: only for "red_wine", "ionosphere" and "boston": which of ten parts is "test", 0 to 9; None takes 0.
      columns: only for tables in files: the columns to read, by name or position, in this order; None reads all.
      context: only for tables in text, .parquet and .npy files: names of columns that become the context of the rows,
        and leave x; .npz files hold contexts under a key of their own.
      weight: likewise the name of the column that holds the weights of the rows, and leaves x.
      separator: only for tables in text files: what stands between cells: "comma", "semicolon", "tab", "bar", "blanks",
        or "line" for one cell a line; None tells it from the first lines, and `TableData.read_as` says what was found.
      decimal: likewise the mark before the decimals of numbers, "point" or "comma".
      header: likewise whether the first row holds the names of the columns.
    Returns:
      `ImageData` or `TableData`.
    Raises:
      DataError: if the data are unknown, missing, damaged, of unequal shapes, out of range or not numbers.
      InvalidTypeError: if `name_or_path` is neither a str nor a path.
      InvalidValueError: if another argument breaks its rule or does not apply to these data.
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
    check_choice("load", "split", split, (*SPLITS, ALL))
    name = os.fspath(name_or_path)
    if not name:
        raise InvalidValueError("load", "name_or_path", "must be given", "''", "Write '.' for the working directory.")
    options = {"size": size, "attributes": attributes, "fold": fold, "columns": columns, "manual_dir": manual_dir}
    options |= {"context": context, "weight": weight, "separator": separator, "decimal": decimal, "header": header}
    options |= {"stream": stream or None}
    given = {option: value for option, value in options.items() if value is not None}
    if stream:
        reader()  # missed now, not after a program has been compiled
    if name not in KNOWN:
        try:
            return _load_path(name, test_data, split, num_validation, given)
        except OSError as error:  # not permitted, too long a name, a disk that fails
            got = f"{error.strerror or error} ({str(error.filename or name)[:200]})"
            raise DataError(
                "load", "name_or_path", "must be readable", got, "Check the path and its permissions."
            ) from error
    given |= {} if test_data is None else {"test_data": test_data}
    _refuse_options(given, KNOWN[name].options, repr(name))
    if split == ALL:
        raise InvalidValueError("load", "split", f"must be one of {', '.join(SPLITS)}, for {name}", repr(ALL))
    prepared = path_of("load", "data_dir", data_dir or cache_dir() / "tfds")
    places = Places(prepared, path_of("load", "manual_dir", manual_dir or cache_dir() / "manual"))
    return KNOWN[name].load(split, num_validation, given, places)


def options_of(name: str) -> tuple[str, ...]:
    """Names of the arguments of `load` that apply to these data beside `split` and `num_validation`."""
    if name in KNOWN:
        return KNOWN[name].options
    path = path_of("load", "name_or_path", name)
    found = FOLDER if path.is_dir() else FORMATS.get(_suffix(path))
    return () if found is None else found.options


def has_validation(name: str, num_validation: int) -> bool:
    """Whether `load` gives a split "validation": rows are held out for it, or the data set has some of its own."""
    if num_validation > 0 or name in KNOWN:
        return num_validation > 0 or KNOWN[name].has_validation
    path = path_of("load", "name_or_path", name)
    return os.path.isdir(path) and FOLDER.has_validation(path)


def _load_path(name: str, test_data: Any, split: str, num_validation: int, given: dict[str, Any]) -> Data:
    path, found = place = _place(name)
    if test_data is not None:
        other = _place(os.fspath(test_data), "test_data")
        _refuse_options(given, (*found.options, *other.format.options), "these files")
        if "attributes" in given:
            rule, fix = "must be left out with {test_data}", "Put both into one folder, as `train` and `test`."
            raise InvalidValueError("load", "attributes", rule, given["attributes"], fix)
        return load_pair(place, other, split, num_validation, given)
    _refuse_options(given, found.options, f"{_suffix(path)} files" if found.suffixes else "folders of images")
    return found.load(path, split, num_validation, given)


def _place(name: str, argument: str = "name_or_path") -> Place:
    """The file or folder of this name; `argument` is what errors call it."""
    path = path_of("load", "name_or_path", name)
    if path.is_dir():
        return Place(path, FOLDER)
    suffix = _suffix(path)
    if path.is_file() and suffix in FORMATS:
        return Place(path, FORMATS[suffix])
    if path.is_file():
        check_suffix(path, FORMATS)
    if suffix in FORMATS or os.sep in name:
        raise DataError("load", argument, "must be an existing file or folder", repr(name), "Check the path.")
    names = ", ".join(map(repr, KNOWN))
    rule = f"must be one of {names}, or the path of an existing folder of images or {', '.join(FORMATS)} file"
    raise DataError("load", argument, rule, repr(name), f"{did_you_mean(name, KNOWN)}Check the spelling.")


def _suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case: ".csv", or ".csv.gz" of a packed file."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def _refuse_options(given: Mapping[str, Any], taken: tuple[str, ...], data: str) -> None:
    """Raises `InvalidValueError` for an option that was given and means nothing for these data."""
    for name, value in given.items():
        if name not in taken:
            rule = f"is for {_OPTIONS_ARE_FOR[name]}, not for {data}"
            raise InvalidValueError("load", name, rule, value, "Drop it.")
