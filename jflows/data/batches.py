"""Batches of images or of rows of a table, each a pure function of (seed, step): nothing to save, resume anywhere.

Training reads an endless stream of visits 0, 1, 2, ...: visit v is row `permutation(seed, v // num)[v % num]`. Batch
`step` holds visits step * batch_size onwards, so no batch is ragged and an epoch's remainder goes to the next.
Evaluation reads rows in order and pads the last batch with weight 0. Only numpy is used here.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jflows.data.dataset import Data, ImageData, NoData, reduce_bits
from jflows.errors import DataError, InvalidValueError, check_choice, check_positive
from jflows.typing import Batch

WORD = 2**32


class TrainBatches:
    """Training batches of `data`, addressed by step.

    Every row is visited once an epoch, in an order drawn from (seed, epoch); the order, the visit numbers and which
    visits are mirrored do not depend on the batch size. A batch may be larger than the data.

    Args:
      data: the training split, or `NoData`.
      batch_size: global number of examples a step.
      seed: of order and mirroring, an int >= 0.
      num_bits: of images: keep only so many bits of each pixel; default all.
      mirror: of images: flip each visit left to right with probability 1/2.
      labels: whether `context` holds the labels; None means if the data have them. `NoData` give their own context.
    Raises:
      DataError: if labels are asked for and the data have none.
      InvalidValueError: if batch_size < 1, seed is not in 0..2^64 - 1, num_bits is not in 1..data.num_bits, or num_bits
        or mirror is given for a table.
    Example:
      >>> batches = TrainBatches(ImageData("ramp", np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)), batch_size=4)
      >>> batches.at(step=0, count=3).index  # visits 0..5 are the first epoch, 6..11 the second
      array([[ 5,  2,  0,  4],
             [ 3,  1,  9, 10],
             [ 8,  7,  6, 11]], dtype=uint32)
    """

    def __init__(
        self,
        data: Data | NoData,
        batch_size: int,
        seed: int = 0,
        *,
        num_bits: int | None = None,
        mirror: bool = False,
        labels: bool | None = None,
    ):
        check_positive("TrainBatches", "batch_size", batch_size)
        if not 0 <= seed < WORD**2:
            raise InvalidValueError("TrainBatches", "seed", "must be an int in 0..2^64 - 1", seed)
        self.data, self.batch_size, self.seed, self.mirror = data, batch_size, seed, mirror
        self._reduce = _reduction("TrainBatches", data, num_bits)
        if mirror and not isinstance(data, ImageData):
            raise InvalidValueError("TrainBatches", "mirror", "is for images, not for a table", mirror, "Drop it.")
        self._context = _context_of("TrainBatches", data, labels)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> permutation, of the last two epochs used

    def at(self, step: int, count: int = 1) -> Batch:
        """The batches of steps `step` .. `step + count - 1`, stacked.

        Shapes:
          x: [count, batch_size, *data.event_shape], uint8 of images and float32 of tables, None of `NoData`; context:
          int32 [count, batch_size] of labels, as the data have it, or None; weight: float32 [count, batch_size], all 1;
          index: uint32 [count, batch_size], epoch * num + row, modulo 2^32.
        Raises:
          InvalidValueError: if step < 0 or count < 1.
        """
        if step < 0:
            raise InvalidValueError("TrainBatches.at", "step", "must be an int >= 0", step)
        check_positive("TrainBatches.at", "count", count)
        num, shape = len(self.data), (count, self.batch_size)
        visits = np.arange(step * self.batch_size, (step + count) * self.batch_size, dtype=np.int64)
        epochs = visits // num
        rows = np.zeros_like(visits)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1 if num > 1 else 0):
            chosen = epochs == epoch
            rows[chosen] = self._order(epoch)[visits[chosen] % num]
        index = epochs * num + rows
        context = self._context
        return _batch(
            x=None if isinstance(self.data, NoData) else self._x(self.data, rows, index, shape),
            context=None if context is None else context[rows].reshape(*shape, *context.shape[1:]),
            weight=np.ones(shape, np.float32),
            index=(index % WORD).astype(np.uint32).reshape(shape),
        )

    def _x(self, data: Data, rows: np.ndarray, index: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        x = data.x[rows]
        if self.mirror:
            flipped = _coin(self.seed, index)
            x[flipped] = x[flipped, :, ::-1]
        return self._reduce(x).reshape(*shape, *data.event_shape)

    def epoch(self, step: int) -> float:
        """Epochs finished before `step`, a fraction."""
        return step * self.batch_size / len(self.data)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            # RandomState: its stream is frozen for all numpy versions, so an upgrade does not change a resumed run.
            words = [*_words(self.seed), *_words(epoch)]
            order = np.random.RandomState(words).permutation(len(self.data))
            self._orders = {e: kept for e, kept in self._orders.items() if e == epoch - 1} | {epoch: order}
        return self._orders[epoch]


def eval_batches(
    data: Data, batch_size: int, *, num_bits: int | None = None, labels: bool | None = None
) -> Iterator[Batch]:
    """All rows of `data` once, in order, in batches of one size; the last is filled up with row 0 at weight 0.

    Shapes:
      x: [batch_size, *data.event_shape], uint8 or float32; context: int32 [batch_size] of labels, as the data have it,
      or None; weight: float32 [batch_size]; index: uint32 [batch_size], the row.
    Raises:
      DataError, InvalidValueError: as `TrainBatches`, at the call.
    Example:
      >>> data = ImageData("three", np.zeros((3, 1, 1, 1), np.uint8))
      >>> [batch.weight.tolist() for batch in eval_batches(data, 2)]
      [[1.0, 1.0], [1.0, 0.0]]
    """
    check_positive("eval_batches", "batch_size", batch_size)
    reduce = _reduction("eval_batches", data, num_bits)
    context = _context_of("eval_batches", data, labels)

    def batches() -> Iterator[Batch]:
        for start in range(0, len(data), batch_size):
            rows = np.arange(start, start + batch_size)
            weight = (rows < len(data)).astype(np.float32)
            rows[rows >= len(data)] = 0
            yield _batch(
                x=reduce(data.x[rows]),
                context=None if context is None else context[rows],
                weight=weight,
                index=rows.astype(np.uint32),
            )

    return batches()


def _batch(x: Any, context: Any, weight: Any, index: Any) -> Batch:
    """`Any`: the fields are typed as jax arrays, and numpy arrays take their place."""
    return Batch(x, context, weight, index)


def _reduction(where: str, data: Data | NoData, num_bits: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """What brings rows of the data to `num_bits` bits, or leaves them alone."""
    if num_bits is None:
        return lambda x: x
    if not isinstance(data, ImageData):
        raise InvalidValueError(where, "num_bits", "is for images, not for a table", num_bits, "Drop it.")
    check_choice(where, "num_bits", num_bits, range(1, data.num_bits + 1))
    return functools.partial(reduce_bits, num_bits=num_bits, from_bits=data.num_bits)


def _context_of(where: str, data: Data | NoData, labels: bool | None) -> np.ndarray | None:
    """What each row is conditioned on: the context of the data if they have one, else their labels if wanted."""
    context = None if isinstance(data, ImageData) else data.context
    if isinstance(data, NoData) or (context is not None and not labels):
        return context
    return data.label if _check_labels_wanted(where, data, labels) else None


def _check_labels_wanted(where: str, data: Data, labels: bool | None) -> bool:
    if labels and data.label is None:
        fix = "Set labels=False, or add labels: class subfolders of a folder, key `label` of an .npz file."
        raise DataError(where, "labels", f"needs labels, and {data.name!r} has none", fix=fix)
    return data.label is not None if labels is None else labels


def _words(value: int) -> tuple[int, int]:
    """A non-negative int as two 32-bit words, which is what `RandomState` takes."""
    return value % WORD, value // WORD % WORD


def _coin(seed: int, visit: np.ndarray) -> np.ndarray:
    """One fair coin per visit: the top bit of SplitMix64 (Steele et al. 2014), a hash of (seed, visit)."""
    golden = 0x9E3779B97F4A7C15

    def mix(value: np.ndarray) -> np.ndarray:
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))

    # An array, not a scalar: uint64 arrays wrap silently, scalars warn.
    start = mix(np.array([(seed + 1) * golden % 2**64], np.uint64))
    return (mix(start + visit.astype(np.uint64) * np.uint64(golden)) >> np.uint64(63)).astype(bool)
