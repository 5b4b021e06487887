"""Wherever data meet a density: what fits passes, what does not is refused in words, and never scored."""

import dataclasses

import numpy as np
import pytest

from jflows.data import ImageData, NoData, Reading, TableData, TrainBatches, check_batch_values, eval_batches, kinds
from jflows.errors import DataError, InvalidTypeError
from jflows.typing import Batch

NUM = 6
IMAGES = Reading(kinds.IMAGES, (2, 2, 1), num_bits=5)
TABLE = Reading(kinds.TABLE, (3,))
LABELLED = IMAGES.with_labels(4)
CONDITIONAL = Reading(kinds.TABLE, (3,), context="vectors", context_shape=(2,))
SCALAR = Reading(kinds.TABLE, (3,), context="vectors", context_shape=())


def images(num_bits=8, label=None, **options):
    x = np.arange(NUM * 4).reshape(NUM, 2, 2, 1) % 2**num_bits
    return ImageData("made", x, label, num_bits, **options)


def table(**options):
    return TableData("rows", np.arange(NUM * 3.0).reshape(NUM, 3), **options)


LABELS = np.arange(NUM) % 4
CONTEXT = np.arange(NUM * 2.0).reshape(NUM, 2)


@pytest.mark.parametrize(
    ("reading", "data"),
    [
        (IMAGES, images()),
        (IMAGES, images(5, LABELS)),
        (LABELLED, images(8, LABELS)),
        (LABELLED, images(8, np.array([0, -1, 3, -1, -1, 1]), partly_labelled=True)),
        (IMAGES.with_labels(), images(8, np.arange(NUM))),
        (TABLE, table()),
        (TABLE, table(label=LABELS)),
        (CONDITIONAL, table(context=CONTEXT)),
        (SCALAR, table(context=CONTEXT[:, 0])),
        (Reading(kinds.NONE, ()), images()),
        (Reading(kinds.NONE, ()), table()),
        (IMAGES, NoData()),
        (CONDITIONAL, NoData(CONTEXT)),
        (LABELLED, NoData(LABELS)),
    ],
)
def test_data_that_fit(reading, data):
    reading.check(data, "here")
    batch = TrainBatches(data, 4, reading=reading).at(0)
    taken = batch._replace(**{name: getattr(batch, name)[0] for name in ("weight", "index")})
    taken = taken._replace(**{n: None if getattr(batch, n) is None else getattr(batch, n)[0] for n in ("x", "context")})
    if data.kind.has_rows:
        check_batch_values(taken, reading, "here")
    if reading.num_bits is not None and batch.x is not None:
        assert batch.x.max() < 2**reading.num_bits
    expected = {"none": None, "labels": (4,), "vectors": (4, *(reading.context_shape or ()))}[reading.context]
    assert (None if taken.context is None else taken.context.shape) == expected


@pytest.mark.parametrize(
    ("reading", "data", "expected"),
    [
        (
            IMAGES,
            table(),
            "here: `data` must be images for this density; got a table, 'rows'. Choose data of this kind",
        ),
        (TABLE, images(), "must be a table for this density; got images, 'made'"),
        (
            Reading(kinds.IMAGES, (2, 2, 3), 8),
            images(),
            r"must have the shape .*, \(2, 2, 3\); got shape \(2, 2, 1\) of 'made'",
        ),
        (
            Reading(kinds.TABLE, (4,)),
            table(),
            r"must have the shape of the density's data, \(4,\); got shape \(3,\) of 'rows'",
        ),
        (
            IMAGES,
            images(4),
            "must have at least the 5 bits .*; got 4 bits in 'made'. Build the flow with num_bits=4, or ch",
        ),
        (
            LABELLED,
            images(),
            "must have labels, which are the context of this density; got 'made' without labels. Add them: cl.*ImageD",
        ),
        (
            LABELLED,
            images(label=np.arange(NUM)),
            r"must have labels in 0\.\.3 for this density; got labels 0\.\.5 in 'made'",
        ),
        (LABELLED, NoData(), "must have labels, .*; got 'no data' without labels"),
        (LABELLED, NoData(CONTEXT), "must have labels"),
        (LABELLED, NoData(LABELS + 1), r"got labels 1\.\.4 in 'no data'\. Number the classes from 0"),
        (
            TABLE.with_labels(4),
            table(label=LABELS, context=CONTEXT),
            "must have no context .*, which takes labels; got a con",
        ),
        (
            TABLE,
            table(context=CONTEXT),
            r"takes nothing; got a context of shape \(2,\) in 'rows'. Drop it: dataclasses\.re",
        ),
        (TABLE, NoData(CONTEXT), "must have no context for this density, which takes nothing"),
        (
            CONDITIONAL,
            table(),
            r"must have a context of shape \(2,\) .*; got 'rows' without one\. Write .*c of shape \[num, 2\]",
        ),
        (CONDITIONAL, table(label=LABELS), "must have a context of shape"),
        (
            CONDITIONAL,
            table(context=CONTEXT[:, 0]),
            r"must have a context of shape \(2,\) .*; got shape \(\) in 'rows'",
        ),
        (SCALAR, table(context=CONTEXT), r"must have a context of shape \(\) for this density; got shape \(2,\)"),
        (CONDITIONAL, NoData(), "must have a context of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused_everywhere(reading, data, expected):
    with pytest.raises(DataError, match=expected):
        reading.check(data, "here")
    with pytest.raises(DataError, match="TrainBatches: `data` must"):
        TrainBatches(data, 4, reading=reading)
    with pytest.raises(DataError, match="eval_batches: `data` must"):
        eval_batches(data, 4, reading)


def test_arrays_are_no_data():
    with pytest.raises(
        InvalidTypeError, match="here: `data` must be TableData, ImageData or NoData; got ndarray. Wrap"
    ):
        IMAGES.check(np.zeros((4, 2, 2, 1)), "here")


def test_more_bits_are_reduced_and_never_scored_raw():
    assert images().x.max() > 2**3 - 1
    for batch in eval_batches(images(), 4, dataclasses.replace(IMAGES, num_bits=3)):
        rows = np.asarray(batch.index)
        assert np.array_equal(batch.x, images().x[rows] // 32)


def batch(x, context=None, weight=None, index=None):
    num = len(x) if np.ndim(x) else 1
    weight = np.ones(num, np.float32) if weight is None else weight
    return Batch(x, context, weight, np.arange(num, dtype=np.uint32) if index is None else index)


PIXELS = np.zeros((4, 2, 2, 1), np.uint8)
ROWS = np.zeros((4, 3))


def with_value(array, value, row=2, dtype=None):
    changed = array.astype(dtype or array.dtype)
    changed[row].flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("made", "reading"),
    [
        (batch(PIXELS), IMAGES),
        (batch(PIXELS.astype(np.int64)), IMAGES),
        (batch(with_value(PIXELS, 31)), IMAGES),
        (batch(with_value(PIXELS, 255), weight=np.array([1, 1, 0, 1.0])), IMAGES),  # padding may hold anything
        (batch(ROWS), TABLE),
        (batch(ROWS.astype(np.float16)), TABLE),
        (batch(ROWS.astype(np.int32)), TABLE),
        (batch(with_value(ROWS, np.nan), weight=np.array([1, 1, 0, 1])), TABLE),
        (batch(PIXELS, np.array([-1, 0, 3, 1])), LABELLED),
        (batch(ROWS, ROWS[:, :2]), CONDITIONAL),
        (batch(ROWS, ROWS[:, 0]), SCALAR),
        (batch(PIXELS), Reading(kinds.NONE, ())),
    ],
)
def test_batches_that_fit(made, reading):
    check_batch_values(made, reading, "here")


def test_bfloat16_rows_are_real_numbers():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    check_batch_values(batch(ROWS.astype(ml_dtypes.bfloat16)), TABLE, "here")
    with pytest.raises(DataError, match="must be finite in float32; got nan in row 2, column 0"):
        check_batch_values(batch(with_value(ROWS, np.nan, dtype=ml_dtypes.bfloat16)), TABLE, "here")


@pytest.mark.parametrize(
    ("made", "reading", "expected"),
    [
        (
            batch(with_value(PIXELS, 200)),
            IMAGES,
            r"here: `x` must hold integers in 0\.\.31, .*; got values 0\.\.200 in row 2 \(1 bad rows\)\. Let",
        ),
        (batch(with_value(PIXELS, -1, dtype=np.int8)), IMAGES, r"got values -1\.\.0 in row 2"),
        (
            batch(with_value(PIXELS, 256, dtype=int)),
            dataclasses.replace(IMAGES, num_bits=8),
            r"in 0\.\.255.*got values 0\.\.256",
        ),
        (
            batch(PIXELS / 255),
            dataclasses.replace(IMAGES, num_bits=8),
            r"must hold integers in 0\.\.255, .*; got dtype float64\. Convert it: \(x \* 255\)",
        ),
        (batch(PIXELS.astype(bool)), IMAGES, "must hold integers .*got dtype bool"),
        (batch(PIXELS[..., 0]), IMAGES, r"`x` must have shape \(4, 2, 2, 1\) in a batch of 4; got shape \(4, 2, 2\)"),
        (batch(np.zeros((4, 2, 2, 3), np.uint8)), IMAGES, r"must have shape \(4, 2, 2, 1\)"),
        (batch(None, weight=np.ones(4), index=np.arange(4)), IMAGES, r"`x` must have shape .*; got None"),
        (
            batch(PIXELS[None], weight=np.ones(1)),
            IMAGES,
            r"TrainBatches\.at gives \[count, batch, \.\.\.\], one batch for ea",
        ),
        (
            batch(PIXELS, index=np.arange(3)),
            IMAGES,
            r"`weight` must be finite and at least 0 \(padding\), of shape \(3,\); got shape \(4,\)",
        ),
        (
            batch(PIXELS, index=np.arange(4.0)),
            IMAGES,
            r"`index` must be integers \[batch\], .*; got float64 of shape \(4,\)",
        ),
        (batch(PIXELS, index=np.zeros((0,), int)), IMAGES, "`index` must be integers"),
        (batch(PIXELS, weight=np.full(4, -0.5)), IMAGES, r"`weight` must be finite and at least 0 .*; got -0\.5"),
        (batch(PIXELS, weight=np.full(4, np.nan)), IMAGES, r"`weight` must be finite .*; got nan"),
        (batch(PIXELS, weight=np.array([1, np.nan, 1, 1])), IMAGES, "`weight` must be .*; got nan"),
        (
            batch(with_value(ROWS, np.inf)),
            TABLE,
            r"`x` must be finite in float32; got inf in row 2, column 0 \(1 bad values\)",
        ),
        (batch(with_value(ROWS, 1e300)), TABLE, r"got 1e\+300 in row 2, column 0"),
        (batch(ROWS.astype(complex)), TABLE, "must hold real numbers; got dtype complex128"),
        (batch(ROWS.astype(str)), TABLE, "must hold real numbers"),
        (batch(ROWS.astype(bool)), TABLE, "must hold real numbers; got dtype bool"),
        (batch(PIXELS, np.arange(4)), IMAGES, r"`context` must be None, as this density takes none; got shape \(4,\)"),
        (batch(PIXELS), LABELLED, r"`context` must have shape \(4,\) in a batch of 4; got None"),
        (
            batch(PIXELS, np.array([0, 4, 1, 2])),
            LABELLED,
            r"`context` must hold integers in -1\.\.3.*; got values 4\.\.4 in row 1",
        ),
        (batch(PIXELS, np.array([0, -2, 1, 2])), LABELLED, r"got values -2\.\.-2 in row 1"),
        (batch(PIXELS, np.zeros(4)), LABELLED, "must hold integers in .*; got dtype float64"),
        (batch(PIXELS, np.eye(4)), LABELLED, r"`context` must have shape \(4,\) .*; got shape \(4, 4\)"),
        (batch(ROWS, ROWS), CONDITIONAL, r"`context` must have shape \(4, 2\)"),
        (
            batch(ROWS, with_value(ROWS[:, :2], np.nan)),
            CONDITIONAL,
            "`context` must be finite in float32; got nan in row 2",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(made, reading, expected):
    with pytest.raises(DataError, match=expected):
        check_batch_values(made, reading, "here")


def test_arrays_are_no_batches():
    with pytest.raises(
        InvalidTypeError, match="`batches` must hold batches of type .*; got ndarray. Write jflows.data.eval"
    ):
        check_batch_values(PIXELS, IMAGES, "here")
