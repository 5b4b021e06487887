"""Images of tensorflow-datasets' own catalogue, such as `celeb_a`, which it downloads and keeps by itself.

They are looked for where tensorflow-datasets keeps its data: in `$TFDS_DATA_DIR`, else in ~/tensorflow_datasets. Data
that it has not prepared yet are prepared there, in the format array_record. Read next:
`jflows/data/known/celeb_a_128.py`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jflows.data.store.archives import say
from jflows.errors import DataError, MissingPackageError

READ_ROWS = 512  # examples decoded at once


def catalogue_dir() -> Path:
    """The folder in which tensorflow-datasets keeps its own data."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()


def examples(name: str, split: str, num: int) -> Iterator[dict[str, Any]]:
    """The first `num` examples of a split of a data set of the catalogue, decoded, in its order.

    Args:
      name: name of the data set in the catalogue.
      split: name of the split.
      num: number of examples.
    Raises:
      DataError: if it cannot be downloaded or read, has fewer examples, or is kept as tfrecord, which only TensorFlow
        reads.
      MissingPackageError: if tensorflow-datasets needs a package to prepare the data.
    """
    builder = _prepared(name)
    where = str(builder.data_path)
    try:
        source = builder.as_data_source(split)
    except NotImplementedError as error:  # tfrecord
        got, fix = " ".join(str(error).split())[:200], "Set TFDS_DATA_DIR to another folder, where it is prepared anew."
        raise DataError("load", where, "must be kept as array_record", got, fix) from error
    except Exception as error:  # ValueError, KeyError, OSError, DecodeError, ...
        raise _unreadable(where, split, error) from error
    if len(source) < num:
        fix = "Delete this folder and run the same command again: it is made anew."
        raise DataError("load", where, f"must have at least {num} examples in `{split}`", len(source), fix)
    for first in range(0, num, READ_ROWS):
        try:
            rows = source.__getitems__(range(first, min(first + READ_ROWS, num)))
        except Exception as error:  # as above, while images are decoded
            raise _unreadable(where, split, error) from error
        yield from rows


def _prepared(name: str) -> Any:
    """The builder of a data set of the catalogue, prepared on first use."""
    import tensorflow_datasets as tfds

    folder = catalogue_dir()
    try:
        builder = tfds.builder(name, data_dir=str(folder))
        if builder.is_prepared():
            return builder
        builder = tfds.builder(name, data_dir=str(folder), file_format="array_record")
        say(f"tensorflow-datasets downloads and prepares {name} in {folder}, once")
        builder.download_and_prepare()
    except ImportError as error:
        package = (error.name or "tensorflow").partition(".")[0]
        rule, fix = f"is needed by tensorflow-datasets to prepare {name}", f"Run `pip install {package}`."
        raise MissingPackageError("load", package, rule, error, fix) from error
    except Exception as error:  # of network, disk, checksums and the quota of the server: each raises its own
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}"
        fix = f"Prepare it on a machine with a network, copy it to {folder}, or set TFDS_DATA_DIR."
        raise DataError("load", name, "must be prepared by tensorflow-datasets", got, fix) from error
    return builder


def _unreadable(where: str, split: str, error: Exception) -> DataError:
    got = f"{type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}"
    fix = "Delete this folder and run the same command again: it is made anew."
    return DataError("load", where, f"must be a prepared data set whose `{split}` split can be read", got, fix)
