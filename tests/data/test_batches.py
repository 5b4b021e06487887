"""Batches: every row once an epoch, independent of batch size, resumable from any step."""

import jax
import numpy as np
import pytest

from jflows.data import ImageData, NoData, Reading, TableData, TrainBatches, eval_batches, kinds
from jflows.errors import DataError, InvalidTypeError, InvalidValueError

NUM = 23
PINNED_ROWS = [6, 10, 7, 13, 20, 21, 22, 8]
PINNED_MIRRORED = [10, 7, 21, 22, 5, 2, 1, 18, 4, 19, 15, 17, 14]


READING = Reading(kinds.IMAGES, (1, 2, 1), num_bits=8)
LABELLED = READING.with_labels(NUM)


def make_data(num=NUM, labels=True, num_bits=8):
    """Row r is the 1x2 image [2 r, 2 r + 1], so its content tells both the row and whether it is mirrored."""
    x = np.arange(2 * num, dtype=np.uint8).reshape(num, 1, 2, 1)
    return ImageData("made", x, np.arange(num) if labels else None, num_bits)


def visits(batches, num, step=0):
    """(index, row, mirrored) of at least `num` visits in order, from `step` on."""
    count = -(-num // batches.batch_size)
    batch = batches.at(step, count)
    x = np.asarray(batch.x).reshape(-1, 2)
    rows, mirrored = x.min(axis=1) // 2, x[:, 0] > x[:, 1]
    return list(zip(np.ravel(batch.index).tolist(), rows.tolist(), mirrored.tolist(), strict=True))[:num]


@pytest.mark.parametrize("batch_size", [1, 5, NUM, 50])
def test_every_row_once_in_each_epoch(batch_size):
    seen = visits(TrainBatches(make_data(), batch_size), 4 * NUM)
    orders = []
    for epoch in range(4):
        part = seen[epoch * NUM : (epoch + 1) * NUM]
        assert sorted(index for index, _, _ in part) == list(range(epoch * NUM, (epoch + 1) * NUM))
        assert all(row == index % NUM for index, row, _ in part)
        orders.append([row for _, row, _ in part])
    assert len({tuple(order) for order in orders}) == 4  # a new order each epoch


@pytest.mark.parametrize("batch_size", [2, 7, 100])
def test_visits_do_not_depend_on_batch_size_or_count(batch_size):
    reference = visits(TrainBatches(make_data(), 1, seed=3, mirror=True), 5 * NUM)
    assert visits(TrainBatches(make_data(), batch_size, seed=3, mirror=True), 5 * NUM) == reference


def test_any_step_is_the_same_from_a_fresh_start_in_any_order():
    make = lambda: TrainBatches(make_data(), 6, 1, LABELLED, mirror=True)
    stream = make()
    forward = [stream.at(step) for step in range(30)]
    backward = make()
    for step in [*range(29, -1, -1), 7]:
        jax.tree.map(np.testing.assert_array_equal, forward[step], make().at(step))
        jax.tree.map(np.testing.assert_array_equal, forward[step], backward.at(step))
    together = jax.tree.map(lambda *parts: np.concatenate(parts), *forward[4:13])
    jax.tree.map(np.testing.assert_array_equal, make().at(4, 9), together)


def test_shapes_and_dtypes():
    batch = TrainBatches(make_data(), 4, reading=LABELLED).at(0, 3)
    assert (batch.x.shape, batch.x.dtype) == ((3, 4, 1, 2, 1), np.uint8)
    assert batch.context is not None
    assert (batch.context.shape, batch.context.dtype) == ((3, 4), np.int32)
    assert (batch.weight.shape, batch.weight.dtype, batch.weight.min()) == ((3, 4), np.float32, 1)
    assert (batch.index.shape, batch.index.dtype) == ((3, 4), np.uint32)
    assert np.array_equal(batch.context, np.asarray(batch.index) % NUM)


def test_seed_changes_the_order_and_the_stream_is_pinned():
    first = [row for _, row, _ in visits(TrainBatches(make_data(), 8, seed=0), NUM)]
    other = [row for _, row, _ in visits(TrainBatches(make_data(), 8, seed=1), NUM)]
    assert first != other
    # Pinned: a change here means that no run made before can be resumed bit-identically.
    assert first[:8] == PINNED_ROWS
    mirrored = visits(TrainBatches(make_data(), 8, seed=0, mirror=True), NUM)
    assert [row for _, row, flag in mirrored if flag] == PINNED_MIRRORED


def test_mirroring_is_a_fair_coin_that_changes_between_epochs():
    seen = visits(TrainBatches(make_data(100), 100, mirror=True), 100 * 100)
    flags = np.zeros((100, 100), bool)
    for index, row, mirrored in seen:
        flags[index // 100, row] = mirrored
    # 10,000 fair coins: mean within 4 standard errors of 0.005; each row's and each epoch's within 5 of 0.05.
    assert abs(flags.mean() - 0.5) < 0.02
    assert np.abs(flags.mean(axis=0) - 0.5).max() < 0.25
    assert np.abs(flags.mean(axis=1) - 0.5).max() < 0.25
    assert not any(flag for _, _, flag in visits(TrainBatches(make_data(), 5), NUM))


def test_data_are_never_changed_by_mirroring():
    data = make_data()
    TrainBatches(data, NUM, mirror=True).at(0, 3)
    assert np.array_equal(data.x, make_data().x)


def test_late_steps_wrap_the_index_only():
    step = 2**33 // NUM * NUM  # batch size 1: a whole number of epochs
    seen = visits(TrainBatches(make_data(), 1), NUM, step=step)
    assert [index for index, _, _ in seen] == [(step + row) % 2**32 for _, row, _ in seen]
    assert sorted(row for _, row, _ in seen) == list(range(NUM))


def test_fewer_bits():
    reading = Reading(kinds.IMAGES, (1, 2, 1), num_bits=5)
    x = np.asarray(TrainBatches(make_data(), NUM, reading=reading).at(0).x)
    assert sorted(x.ravel().tolist()) == sorted((np.arange(2 * NUM) // 8).tolist())
    x = np.concatenate([np.asarray(batch.x) for batch in eval_batches(make_data(), NUM, reading)])
    assert np.array_equal(x, make_data().x // 8)
    assert np.array_equal(next(eval_batches(make_data(), NUM)).x, make_data().x)  # no reading: the bits of the data


def test_eval_batches_pad_with_weight_zero():
    batches = list(eval_batches(make_data(), 10, LABELLED))
    assert all(batch.x.shape == (10, 1, 2, 1) for batch in batches)
    index = np.concatenate([batch.index for batch in batches])
    weight = np.concatenate([batch.weight for batch in batches])
    assert index.tolist() == [*range(NUM), *[0] * 7]
    assert weight.tolist() == [1] * NUM + [0] * 7
    assert np.array_equal(batches[-1].x[-1], make_data().x[0])
    assert batches[-1].context is not None
    assert batches[-1].context.tolist() == [20, 21, 22, *[0] * 7]


def test_labels_are_handed_over_where_a_reading_asks_for_them():
    for reading in (None, READING):
        assert TrainBatches(make_data(), 4, reading=reading).at(0).context is None
        assert next(eval_batches(make_data(), 4, reading)).context is None
    batch = TrainBatches(make_data(), 4, reading=LABELLED).at(0)
    assert np.array_equal(batch.context, np.asarray(batch.index) % NUM)
    with pytest.raises(
        DataError, match=r"TrainBatches: `data` must have labels, .*; got 'made' without labels\. Add them"
    ):
        TrainBatches(make_data(labels=False), 4, reading=LABELLED)
    with pytest.raises(DataError, match="eval_batches: `data` must have labels"):
        eval_batches(make_data(labels=False), 4, LABELLED)


def test_no_data_give_visits_and_contexts():
    batch = TrainBatches(NoData(), 4).at(2, 2)
    assert batch.x is None and batch.context is None
    assert batch.index.tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]  # never the same twice: noise is drawn from it
    assert (batch.weight.shape, batch.weight.min()) == ((2, 4), 1)
    contexts = np.arange(3 * NUM).reshape(NUM, 3)
    for given, dtype in ((contexts, np.int32), (contexts / 2, np.float32)):
        seen = TrainBatches(NoData(given), 5).at(0, 2 * NUM)
        index = np.ravel(seen.index)
        assert seen.x is None and seen.context.dtype == dtype
        np.testing.assert_array_equal(seen.context.reshape(-1, 3), given[index % NUM])
        assert sorted(index.tolist()) == list(range(10 * NUM))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (["a"], r"NoData: `context` must hold numbers, \[num, \*context_shape\]; got dtype <U1, shape \(1,\)"),
        (np.zeros((0, 2)), r"must hold numbers, .*; got dtype float64, shape \(0, 2\)"),
        (np.array([[1.0], [np.nan], [1e300]]), r"must be finite in float32; got row 1 \(2 bad rows\). Remove these"),
    ],
)
def test_contexts_are_checked(context, message):
    with pytest.raises(DataError, match=message):
        NoData(context)


def test_bad_arguments():
    with pytest.raises(InvalidValueError, match="`batch_size` must be positive; got 0"):
        TrainBatches(make_data(), 0)
    with pytest.raises(InvalidValueError, match="`batch_size` must be positive; got 0"):
        eval_batches(make_data(), 0)
    with pytest.raises(InvalidValueError, match=r"`seed` must be an int in 0\.\.2\^64 - 1; got -1"):
        TrainBatches(make_data(), 1, seed=-1)
    with pytest.raises(InvalidValueError, match="`seed` must be an int"):
        TrainBatches(make_data(), 1, seed=1.5)
    for make in (TrainBatches, eval_batches):
        with pytest.raises(DataError, match=r"`data` must have at least the 9 bits .*; got 8 bits in 'made'"):
            make(make_data(), 1, reading=Reading(kinds.IMAGES, (1, 2, 1), num_bits=9))
        with pytest.raises(InvalidTypeError, match="`reading` must be a Reading; got int. Write flow.reading"):
            make(make_data(), 1, reading=8)
        with pytest.raises(InvalidTypeError, match="`batch_size` must be a whole number; got 2.0"):
            make(make_data(), 2.0)
        with pytest.raises(
            InvalidTypeError, match="`data` must be TableData, ImageData or NoData; got ndarray. Wrap arr"
        ):
            make(make_data().x, 2)
    with pytest.raises(DataError, match=r"eval_batches: `data` must hold rows to be scored; got NoData\(\)"):
        eval_batches(NoData(), 2)
    with pytest.raises(InvalidValueError, match="`step` must be an int >= 0; got -1"):
        TrainBatches(make_data(), 1).at(-1)
    with pytest.raises(InvalidValueError, match="`count` must be positive; got 0"):
        TrainBatches(make_data(), 1).at(0, 0)


def test_epoch_counts_visits():
    assert TrainBatches(make_data(), 46).epoch(3) == 6.0


def test_mutation_replaces_a_share_of_numbers_by_draws_from_all_levels():
    data = ImageData("flat", np.full((64, 8, 8, 1), 3, np.uint8), num_bits=4)
    whole = TrainBatches(data, 64, seed=5, mutate=0.25).at(0, 40)
    changed = whole.x != 3
    assert abs(changed.mean() - 0.25 * 15 / 16) < 0.005
    counts = np.bincount(whole.x[changed], minlength=16)
    assert counts[3] == 0 and len(counts) == 16 and counts[counts > 0].min() > 0.9 * counts.sum() / 15
    halves = TrainBatches(data, 32, seed=5, mutate=0.25)
    both = np.concatenate([halves.at(0).x[0], halves.at(1).x[0]])
    np.testing.assert_array_equal(both, whole.x[0])  # a function of the visit, not of the batch
    assert (TrainBatches(data, 64, seed=6, mutate=0.25).at(0).x != whole.x[:1]).any()
    assert (whole.x[0] != whole.x[1]).any() and (TrainBatches(data, 64, seed=5).at(0).x == 3).all()


@pytest.mark.parametrize(
    ("data", "mutate", "message"),
    [
        (TableData("rows", np.eye(3)), 0.1, "`mutate` is for images; got 0.1 with TableData"),
        (ImageData("one", np.zeros((1, 2, 2, 1), np.uint8)), 1.0, r"`mutate` must lie in \[0, 1\); got 1.0"),
    ],
)
def test_mutation_that_is_refused(data, mutate, message):
    with pytest.raises(InvalidValueError, match=message):
        TrainBatches(data, 1, mutate=mutate)
