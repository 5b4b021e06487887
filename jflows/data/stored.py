"""Images that stay on disk: what `ImageData.x` is with `stream`, and how batches of them are read ahead.

A batch is a function of (seed, step) alone, so that which rows come next is known long before they are needed. Threads
of grain read and decode the batches of the next steps while a step runs. Their order and bits are those of images in
memory, and a run that is resumed at a step begins to read there.
Read next: `jflows/data/batches.py`, which says which rows a step needs.
"""

import dataclasses
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, Self, TypeVar

import numpy as np

from jflows.errors import InvalidValueError, MissingPackageError
from jflows.typing import Shape

Made = TypeVar("Made")
THREADS = min(8, os.cpu_count() or 1)
AHEAD_BYTES = 256e6  # of batches that are read ahead, beside the two that the loop never waits for


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImages:
    """Images [num, height, width, channels] that are read when they are indexed, in the order of the index.

    Attributes:
      read: gives stored images by their positions: int [num] -> uint8 [num, height, width, channels]; it may be called
        by several threads at once.
      rows: positions of the images, int [num].
      event_shape: (height, width, channels).
      mark: a number that tells these stored images from others, such as a checksum of the names and sizes of files.
      shift: how many low bits are dropped, see `jflows.data.dataset.reduce_bits`.
    """

    read: Callable[[np.ndarray], np.ndarray]
    rows: np.ndarray
    event_shape: Shape
    mark: int
    shift: int = 0

    dtype = np.dtype(np.uint8)
    ndim = 4

    @property
    def shape(self) -> Shape:
        """As that of an array: (num, height, width, channels)."""
        return (len(self.rows), *self.event_shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Reads the images of an int, a slice, a mask or an array of ints."""
        chosen = np.asarray(self.rows[index])
        images = self.read(chosen.ravel()) >> self.shift
        return images.reshape(*chosen.shape, *self.event_shape)

    def take(self, rows: Any) -> Self:
        """These rows in this order, of which none is read."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def __rshift__(self, bits: int) -> Self:
        return dataclasses.replace(self, shift=self.shift + bits)

    def crc32(self, start: int = 0) -> int:
        """A checksum of the mark and the positions, as nothing is read for it."""
        return zlib.crc32(np.asarray([self.mark, self.shift, *self.rows], np.int64).tobytes(), start)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        rule, got = "must be off for what needs all images in memory at once", f"{len(self):,} images on disk"
        raise InvalidValueError("ImageData", "stream", rule, got, "Leave out {stream}, or take fewer rows.")


def taken(x: Any, rows: Any) -> Any:
    """`x[rows]` of an array; of images on disk the same rows, still on disk."""
    return x.take(rows) if isinstance(x, StoredImages) else x[rows]


def crc32_of_rows(x: Any, start: int) -> int:
    """The CRC-32 of an array, or what stands for it of images on disk."""
    return x.crc32(start) if isinstance(x, StoredImages) else zlib.crc32(np.ascontiguousarray(x).data, start)


def ahead(x: Any, make: Callable[..., Made], calls: Sequence[tuple[Any, ...]], rows_of_call: int) -> Iterator[Made]:
    """`make(*call)` of each call, in order; of images on disk, threads make them ahead of their turn.

    Args:
      x: the images, or an array.
      make: makes one batch, by any thread.
      calls: the arguments of each call.
      rows_of_call: the number of rows of the largest call, by which it is decided how many calls are made ahead.
    Raises:
      MissingPackageError: if grain is not installed and images are on disk.
    """
    if not isinstance(x, StoredImages):
        return (make(*call) for call in calls)
    grain = reader()
    fitting = AHEAD_BYTES / max(1, rows_of_call * int(np.prod(x.event_shape)))
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=int(np.clip(fitting, 2, 2 * THREADS)))
    numbered = grain.MapDataset.range(len(calls)).map(lambda number: make(*calls[number]))
    return iter(numbered.to_iter_dataset(options))


def reader() -> Any:
    """The package that reads images ahead; raises `MissingPackageError` if it is not installed."""
    try:
        import grain
    except ImportError as error:
        fix = "Run `pip install grain`, or leave out {stream}."
        raise MissingPackageError("load", "stream", "needs grain, to read images ahead", error, fix) from error
    return grain
