"""Batches of images or of rows of a table, each a pure function of (seed, step), so that a run can resume anywhere.

Training reads an endless stream of visits 0, 1, 2, ...: visit v is row `permutation(seed, v // num)[v % num]`. Batch
`step` holds visits step * batch_size onwards, so no batch is ragged and an epoch's remainder goes to the next.
Evaluation reads rows in order and fills up the last batch with rows of weight 0. This module uses numpy only.

The weight of a row in a batch is its weight in the data over the mean weight of all rows that count, so 1 for data
without weights. Training leaves rows of weight 0 out of its visits.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jflows.data.base import Data, check_is_data
from jflows.data.dataset import reduce_bits
from jflows.data.reading import Reading
from jflows.data.stored import ahead
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, check_positive, kind_of
from jflows.typing import Batch

WORD = 2**32
MUTATION = 0x6D757461  # the stream of random numbers that mutates images, beside that of mirroring


class TrainBatches:
    """Training batches of `data`, addressed by step.

    Every row is visited once an epoch, in an order drawn from (seed, epoch); the order, the visit numbers and which
    visits are mirrored do not depend on the batch size. A batch may be larger than the data.

    Args:
      data: the training split, or `NoData`.
      batch_size: number of examples in a step, over all devices.
      seed: seed of the order and of mirroring, an int >= 0.
      reading: how a density wants the data, given by `flow.reading`. The data are checked to fit, images of more bits
        are reduced to `reading.num_bits` by floor(x / 2^k), as Glow does, and `reading.context` decides what the
        context of a batch is. None hands over x as it is, with the context that the data have, if any; labels are
        handed over only to a reading that asks for them.
      mirror: whether to flip each visit of an image left to right with probability 1/2.
      mutate: share of the numbers of an image that each visit replaces by draws from all levels.
    Raises:
      DataError: if the data do not fit the reading; see `Reading.check`.
      InvalidTypeError: if `data` is not `Data`, or `reading` is not a `Reading`.
      InvalidValueError: if batch_size < 1, seed is not in 0..2^64 - 1, mutate is not in [0, 1), or mirror or mutate is
        given for other data than images.
    Example:
      >>> from jflows.data import ImageData
      >>> batches = TrainBatches(ImageData("ramp", np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)), batch_size=4)
      >>> batches.at(step=0, count=3).index  # visits 0..5 are the first epoch, 6..11 the second
      array([[ 5,  2,  0,  4],
             [ 3,  1,  9, 10],
             [ 8,  7,  6, 11]], dtype=uint32)
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seed: int = 0,
        reading: Reading | None = None,
        mirror: bool = False,
        mutate: float = 0.0,
    ):
        self._source = _Source("TrainBatches", data, batch_size, reading)
        if not isinstance(seed, int | np.integer) or not 0 <= seed < WORD**2:
            raise InvalidValueError("TrainBatches", "seed", "must be an int in 0..2^64 - 1", seed)
        if not 0 <= mutate < 1:
            raise InvalidValueError("TrainBatches", "mutate", "must lie in [0, 1)", mutate)
        for name, given in (("mirror", mirror), ("mutate", mutate)):
            if given and not data.kind.has_pixels:
                raise InvalidValueError("TrainBatches", name, "is for images", f"{given} with {data!r}", "Drop it.")
        self.data, self.batch_size, self.seed, self.mirror, self.mutate = data, batch_size, seed, mirror, mutate
        self._counted = None if data.weight is None or data.weight.all() else np.flatnonzero(data.weight)
        self.rows_per_epoch = len(data) if self._counted is None else len(self._counted)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> permutation, of the last two epochs used

    def at(self, step: int, count: int = 1, rows: np.ndarray | None = None) -> Batch:
        """The batches of steps `step` .. `step + count - 1`, stacked.

        Args:
          rows: ascending positions in a batch, of the rows to make; a process that needs no others passes its own.
        Shapes:
          x: [count, batch_size, *data.event_shape], uint8 of images and float32 of tables, None of `NoData`; context:
          [count, batch_size, *context_shape], int32 [count, batch_size] of labels, or None; weight: float32
          [count, batch_size]; index: uint32 [count, batch_size], epoch * num + row, modulo 2^32. With `rows`, their
          number takes the place of batch_size. gradient: as x, or None.
        Raises:
          InvalidValueError: if step < 0 or count < 1.
        """
        if step < 0:
            raise InvalidValueError("TrainBatches.at", "step", "must be an int >= 0", step)
        check_positive("TrainBatches.at", "count", count)
        num, places = self.rows_per_epoch, np.arange(self.batch_size) if rows is None else rows
        starts = np.arange(step, step + count, dtype=np.int64) * self.batch_size
        visits = (starts[:, None] + places).ravel()
        epochs = visits // num
        found = np.zeros_like(visits)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1 if num > 1 else 0):
            chosen = epochs == epoch
            found[chosen] = self._order(epoch)[visits[chosen] % num]
        found = found if self._counted is None else self._counted[found]
        index = epochs * len(self.data) + found
        mirrored = _coin(self.seed, index) if self.mirror else None
        mutated = _Mutation(self.mutate, self.seed, index) if self.mutate else None
        return self._source.batch(found, (count, len(places)), index, mirrored, mutated)

    def along(self, calls: Sequence[tuple[int, int]], rows: np.ndarray | None = None) -> Iterator[Batch]:
        """`at(step, count, rows)` of each (step, count), in order; images on disk are read ahead by threads.

        Raises:
          MissingPackageError: if images are on disk and grain is not installed.
        """
        most = max((count for _, count in calls), default=1) * (self.batch_size if rows is None else len(rows))
        return ahead(self.data.x, lambda step, count: self.at(step, count, rows), calls, most)

    def epoch(self, step: int) -> float:
        """The number of epochs before `step`, a fraction."""
        return step * self.batch_size / self.rows_per_epoch

    def _order(self, epoch: int) -> np.ndarray:
        found = self._orders.get(epoch)  # once: another thread may replace the dictionary
        if found is None:
            # RandomState: its stream is frozen for all numpy versions, so an upgrade does not change a resumed run.
            words = [*_words(self.seed), *_words(epoch)]
            order = np.random.RandomState(words).permutation(self.rows_per_epoch)
            self._orders = {e: kept for e, kept in self._orders.items() if e == epoch - 1} | {epoch: order}
            return order
        return found


def eval_batches(data: Data, batch_size: int, reading: Reading | None = None) -> Iterator[Batch]:
    """All rows of `data` once, in order, in batches of one size; the last is filled up with row 0 at weight 0.

    Args:
      data: images or a table.
      batch_size: number of rows in a batch; of fewer rows, it is the next power of two of their number.
      reading: how a density wants the data, see `TrainBatches`: pass `flow.reading`, or
        `flow.reading.with_labels()` for reports that compare with labels.
    Shapes:
      x: [batch_size, *data.event_shape], uint8 or float32; context: [batch_size, *context_shape], int32 [batch_size] of
      labels, or None; weight: float32 [batch_size]; index: uint32 [batch_size], the row.
    Raises:
      DataError, InvalidTypeError, InvalidValueError: for the reasons given at `TrainBatches`, and for `NoData`.
    Example:
      >>> from jflows.data import ImageData
      >>> data = ImageData("three", np.zeros((3, 1, 1, 1), np.uint8))
      >>> [batch.weight.tolist() for batch in eval_batches(data, 2)]
      [[1.0, 1.0], [1.0, 0.0]]
    """
    source = _Source("eval_batches", data, batch_size, reading)
    if not data.kind.has_rows:
        raise DataError("eval_batches", "data", "must hold rows to be scored", repr(data), "Pass images or a table.")

    # Rows that fill up a batch cost as much as others: of few rows, the batch is the next power of two.
    batch_size = min(batch_size, 1 << (len(data) - 1).bit_length())

    def batch_from(start: int) -> Batch:
        rows = np.arange(start, start + batch_size)
        padding = rows >= len(data)
        rows[padding] = 0
        batch = source.batch(rows, (batch_size,), rows)
        return batch._replace(weight=np.where(padding, np.float32(0), batch.weight))  # pyright: ignore[reportArgumentType]

    return ahead(data.x, batch_from, [(start,) for start in range(0, len(data), batch_size)], batch_size)


class _Source:
    """Rows of data as a reading wants them."""

    def __init__(self, where: str, data: Data, batch_size: int, reading: Reading | None):
        check_is_data(where, "data", data)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
            raise InvalidTypeError(where, "batch_size", "must be a whole number", repr(batch_size))
        check_positive(where, "batch_size", batch_size)
        if not (reading is None or isinstance(reading, Reading)):
            raise InvalidTypeError(where, "reading", "must be a Reading", kind_of(reading), "Write flow.reading.")
        if reading is not None:
            reading.check(data, where)
        self.data, self.num_bits = data, None if reading is None else reading.num_bits
        self.context = data.context if reading is None else reading.context_of(data)
        self.weight = data.relative_weight.astype(np.float32)

    def batch(
        self,
        rows: np.ndarray,
        shape: tuple[int, ...],
        index: np.ndarray,
        mirrored: np.ndarray | None = None,
        mutated: "_Mutation | None" = None,
    ) -> Batch:
        """The batch of these rows, brought to a leading shape; images of the `mirrored` rows are flipped."""
        context, gradient = self.context, self.data.gradient
        fields: Any = {  # typed as jax arrays, and numpy arrays take their place
            "x": self._x(rows, shape, mirrored, mutated),
            "context": None if context is None else context[rows].reshape(*shape, *context.shape[1:]),
            "weight": self.weight[rows].reshape(shape),
            "index": (index % WORD).astype(np.uint32).reshape(shape),
            "gradient": None if gradient is None else gradient[rows].reshape(*shape, *gradient.shape[1:]),
        }
        return Batch(**fields)

    def _x(
        self, rows: np.ndarray, shape: tuple[int, ...], mirrored: np.ndarray | None, mutated: "_Mutation | None"
    ) -> np.ndarray | None:
        if self.data.x is None:
            return None
        x = self.data.x[rows]
        if mirrored is not None:
            x[mirrored] = x[mirrored, :, ::-1]
        if self.num_bits is not None and self.data.num_bits is not None:
            x = reduce_bits(x, self.num_bits, self.data.num_bits)
        if mutated is not None:
            x = mutated(x, self.num_bits or self.data.num_bits or 8)
        return x.reshape(*shape, *self.data.event_shape)


class _Mutation(NamedTuple):
    """Replaces a share of the numbers of images by draws from all levels; a function of (seed, visit) alone."""

    share: float
    seed: int
    visit: np.ndarray

    def __call__(self, x: np.ndarray, num_bits: int) -> np.ndarray:
        """Integers 0..2^num_bits - 1, [num, *event_shape] -> the same."""
        size = x[0].size
        place = self.visit.astype(np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
        bits = _hash(self.seed, place, MUTATION).reshape(x.shape)
        replaced = (bits >> np.uint64(32)) < self.share * WORD
        return np.where(replaced, (bits % np.uint64(2**num_bits)).astype(x.dtype), x)


def _words(value: int) -> tuple[int, int]:
    """A non-negative int as two 32-bit words, which is what `RandomState` takes."""
    return value % WORD, value // WORD % WORD


def _coin(seed: int, visit: np.ndarray) -> np.ndarray:
    """One fair coin per visit: the top bit of a hash of (seed, visit)."""
    return (_hash(seed, visit.astype(np.uint64)) >> np.uint64(63)).astype(bool)


def _hash(seed: int, number: np.ndarray, stream: int = 0) -> np.ndarray:
    """64 bits per number: SplitMix64 (Steele et al. 2014) of (seed, number); streams do not depend on each other."""
    golden = 0x9E3779B97F4A7C15

    def mix(value: np.ndarray) -> np.ndarray:
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))

    # An array, not a scalar: uint64 arrays wrap silently, scalars warn.
    start = mix(np.array([(seed + 1) * golden % 2**64 ^ stream], np.uint64))
    return mix(start + number * np.uint64(golden))
