"""tensorflow-datasets builders of the known data sets, and their bulk reading; TensorFlow itself is never needed.

Importing this module makes one builder class for each data set of `jflows.data.known.KNOWN` that is prepared, and
registers it with tensorflow-datasets as `jflows_<name>`: `jflows_mnist`, `jflows_power`, ...
After the first `jflows.data.load(name)` any reader of tensorflow-datasets can open them:

    tfds.data_source("jflows_mnist", split="train[:80%]", data_dir=cache_dir() / "tfds")

One image is one record, {"image": uint8 [height, width, channels], "label": int}, in the original order; where images
have attributes, there is also "attributes": {name: int8}, laid out as in `celeb_a`, with -1 for no value. Records are
array_record files, which are written and read without TensorFlow; images are raw bytes, several times faster to read
than PNG. Of a table, 8,192 rows are one record, {"x": float32 [rows, dim]}: single rows would take minutes.
Read next: `jflows/data/protocols/images.py` and `tables.py`, which call `prepare`, `read_images` and `read_blocks`.
"""

import contextlib
import errno
import functools
import io
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import array_record  # noqa: F401  tensorflow-datasets declares it for Linux only: say so here, not in mid-preparation
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils import tqdm_utils

from jflows.data.dataset import TableData
from jflows.data.kinds import IMAGES, TABLE, Kind
from jflows.data.known import KNOWN
from jflows.data.protocols.base import Places, PreparedData
from jflows.data.store.archives import cache_dir, say, storage_error
from jflows.data.stored import StoredImages
from jflows.errors import DataError

READ_ROWS = 4096  # rows decoded at once: bounds the memory that single records take
BLOCK_ROWS = 8192  # of a table, in one record


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the arrays of `DATA`; what one record is, subclasses say."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # else tensorflow-datasets 4.9.10 imports importlib_resources, which it does not declare
    DATA: PreparedData
    inputs: Sequence[Path] | None = None  # set by `prepare`; None where tensorflow-datasets prepares by itself

    def _info_of(self, features: dict, supervised_keys: tuple[str, str] | None = None) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DATA.title,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=supervised_keys,
            disable_shuffling=True,  # keeps the original order, by which validation rows are chosen
        )

    def _read(self) -> Mapping[str, Any]:
        """All arrays by split; `fetch` checks a pinned sha256 itself, so the download manager has nothing to do."""
        inputs = self.DATA.inputs(cache_dir() / "manual") if self.inputs is None else self.inputs
        return self.DATA.read(*inputs)


class _ImageBuilder(_Builder, skip_registration=True):
    """Images: one is one record."""

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=self.DATA.event_shape, dtype=np.uint8, encoding="bytes")
        features: dict[str, Any] = {
            "image": image,
            "label": tfds.features.ClassLabel(num_classes=self.DATA.num_classes),
        }
        if self.DATA.attributes:
            names = self.DATA.attributes
            features["attributes"] = tfds.features.FeaturesDict(dict.fromkeys(names, np.int8))
        return self._info_of(features, ("image", "label"))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(*arrays) for split, arrays in self._read().items()}

    def _generate_examples(self, x: np.ndarray, label: np.ndarray, attributes: Mapping[str, np.ndarray] | None = None):
        for row in range(len(x)):
            own = {"attributes": {name: values[row] for name, values in attributes.items()}} if attributes else {}
            yield row, {"image": x[row], "label": int(label[row]), **own}


class _TableBuilder(_Builder, skip_registration=True):
    """Tables: a block of rows is one record."""

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (None, *self.DATA.event_shape)
        return self._info_of({"x": tfds.features.Tensor(shape=shape, dtype=np.float32, encoding="bytes")})

    def _split_generators(self, dl_manager):
        del dl_manager
        known, splits = self.DATA, self._read()
        for x in splits.values():
            if x.shape[1:] != known.event_shape:
                rule = f"must have {len(known.columns)} columns when prepared as in the paper"
                raise DataError("load", known.name, rule, f"shape {x.shape}", "Fetch the files again.")
        # Checked before anything is written: a bad value is named by its row and column.
        tables = {split: TableData(known.name, x, columns=known.columns) for split, x in splits.items()}
        return {split: self._generate_examples(table.x) for split, table in tables.items()}

    def _generate_examples(self, x: np.ndarray):
        for start in range(0, len(x), BLOCK_ROWS):
            yield start // BLOCK_ROWS, {"x": x[start : start + BLOCK_ROWS]}


_BY_KIND: Mapping[Kind, type[_Builder]] = {IMAGES: _ImageBuilder, TABLE: _TableBuilder}


@functools.cache
def builder_class(known: PreparedData) -> type[_Builder]:
    """The builder class of a data set, made and registered with tensorflow-datasets when first asked for."""
    words = {"DATA": known, "name": f"jflows_{known.name}", "__doc__": f"{known.title}.", "__module__": __name__}
    return type(f"Jflows{known.name.title().replace('_', '')}", (_BY_KIND[known.kind],), words)


BUILDERS: Mapping[str, type[_Builder]] = {
    name: builder_class(known) for name, known in KNOWN.items() if isinstance(known, PreparedData)
}


def prepare(known: PreparedData, places: Places) -> _Builder:
    """Returns the builder of a known data set, prepared in `places.prepared`; fetches and writes it on first use.

    Files of data sets that no registry holds are read from `places.manual`.

    If two processes call this function at once, one prepares and the other waits. A preparation that was killed leaves
    nothing that could be taken for data.

    Raises:
      DataError: if the archive cannot be fetched or the folder cannot be written.
    """
    folder = places.prepared
    try:
        builder, prepared = _open(known, folder)
        if not prepared:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder / f".{builder.name}.lock"):
                builder, prepared = _open(known, folder)  # perhaps by the process that held the lock before
                if not prepared:
                    _prepare_locked(builder, places)
    except OSError as error:
        raise storage_error("load", folder, error) from error
    return builder


class Images(NamedTuple):
    """Rows of a prepared split of images.

    Attributes:
      x: uint8 [num, height, width, channels], or `StoredImages` of that shape.
      label: int32 [num].
      attributes: int8 [num] by name, with -1 where there is no value; empty if the data set has none.
    """

    x: Any
    label: np.ndarray
    attributes: dict[str, np.ndarray]


def stored_images(builder: _Builder, split: str, start: int, stop: int) -> Images:
    """Rows start..stop-1 of a prepared split, whose images stay on disk; labels and attributes are read.

    Raises:
      DataError: if the prepared files are damaged; when images are read too.
    """
    found = read_images(builder, split, start, stop, keep=False)
    with _quiet():
        records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]

    def read(rows: np.ndarray) -> np.ndarray:
        try:
            examples = records.__getitems__(rows.tolist())
        except Exception as error:  # as in `read_images`
            raise _unreadable(builder, split, error) from error
        images = [example["image"] for example in examples]
        return np.stack(images) if images else np.empty((0, *builder.DATA.event_shape), np.uint8)

    mark = zlib.crc32(f"{builder.name} {builder.VERSION} {split} {len(records)}".encode())
    return found._replace(x=StoredImages(read, np.arange(start, stop), builder.DATA.event_shape, mark))


def read_images(builder: _Builder, split: str, start: int, stop: int, *, keep: bool = True) -> Images:
    """Reads rows start..stop-1 of a prepared split.

    Args:
      keep: False reads labels and attributes alone, and leaves x empty.
    Raises:
      DataError: if the prepared files are damaged.
    """
    x = np.empty(((stop - start) * keep, *builder.DATA.event_shape), np.uint8)
    label = np.empty(stop - start, np.int32)
    attributes = {name: np.empty(stop - start, np.int8) for name in builder.DATA.attributes}
    try:
        with _quiet():
            records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]
            for first in range(start, stop, READ_ROWS):
                last = min(first + READ_ROWS, stop)
                examples = records.__getitems__(range(first, last))
                if keep:
                    x[first - start : last - start] = [example["image"] for example in examples]
                label[first - start : last - start] = [example["label"] for example in examples]
                for name, values in attributes.items():
                    values[first - start : last - start] = [example["attributes"][name] for example in examples]
    except Exception as error:  # the readers below raise whatever they like: IndexError, RuntimeError, DecodeError, ...
        raise _unreadable(builder, split, error) from error
    return Images(x, label, attributes)


def read_blocks(builder: _Builder, split: str) -> np.ndarray:
    """Reads all rows of a prepared split of a table, float32 [num, dim].

    Raises:
      DataError: if the prepared files are damaged.
    """
    try:
        with _quiet():
            records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]
            return np.concatenate([example["x"] for example in records.__getitems__(range(len(records)))])
    except Exception as error:  # as in `read_images`
        raise _unreadable(builder, split, error) from error


def _open(known: PreparedData, data_dir: Path) -> tuple[_Builder, bool]:
    """The builder, and whether it is prepared. A new one each time: a builder reads its folder only when it is made."""
    try:
        with _quiet():
            builder = builder_class(known)(data_dir=str(data_dir), file_format="array_record")
            return builder, builder.is_prepared()
    except OSError:
        raise
    except Exception as error:  # the JSON files of a prepared data set are damaged
        raise _damaged(
            data_dir / builder_class(known).name, "must be a folder that tensorflow-datasets can open", error
        ) from error


def _prepare_locked(builder: _Builder, places: Places) -> None:
    known = builder.DATA
    for leftover in (places.prepared / builder.name).glob("incomplete.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    builder.inputs = known.inputs(places.manual)
    say(f"preparing {known.name} in {places.prepared}, about {known.prepare_seconds} s, once")
    started = time.monotonic()
    try:
        with _quiet():
            builder.download_and_prepare()
    except RuntimeError as error:  # array_record is C++ and does not raise OSError
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise
    say(f"prepared {known.name} in {time.monotonic() - started:.1f} s")


def _unreadable(builder: _Builder, split: str, error: Exception) -> DataError:
    return _damaged(builder.data_path, f"must be a prepared data set whose `{split}` split can be read", error)


def _damaged(folder: os.PathLike[str], rule: str, error: Exception) -> DataError:
    message = " ".join(str(error).split())[:200].rstrip(".")
    fix = "Delete this folder and run the same command again: it is made anew."
    return DataError("load", str(folder), rule, f"{type(error).__name__}: {message}", fix)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences tensorflow-datasets (log, progress bars, prints on stdout) and restores everything."""
    verbosity, bars = logging.get_verbosity(), tqdm_utils._active
    logging.set_verbosity(logging.ERROR)
    tqdm_utils.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        tqdm_utils.display_progress_bar(bars)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an advisory lock on `path`; the system releases it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # not POSIX: unlocked; both processes prepare, and the last rename wins
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
