"""`TableData`, its batches, and the options of `load` that are for some data only."""

import numpy as np
import pytest

from jflows.data import (
    KNOWN,
    ImageData,
    NoData,
    Reading,
    TableData,
    TrainBatches,
    WaveformData,
    eval_batches,
    kinds,
    load,
)
from jflows.errors import DataError, InvalidValueError

NUM, DIM = 11, 3


def rows(dtype=np.float64):
    return np.arange(NUM * DIM).reshape(NUM, DIM).astype(dtype)


def with_value(value, row=4, column=1):
    x = rows()
    x[row, column] = value
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_real_numbers_are_kept_as_float32(dtype):
    data = TableData("made", rows(dtype), np.arange(NUM) % 4)
    assert (len(data), data.event_shape, data.columns, data.num_classes) == (NUM, (DIM,), ("x0", "x1", "x2"), 4)
    assert data.x.dtype == np.float32 and np.array_equal(data.x, rows())
    assert TableData("made", rows(), columns=("a", "b", "c")).num_classes is None


@pytest.mark.parametrize(
    ("x", "columns", "expected"),
    [
        (
            np.zeros(4),
            (),
            r"TableData 'made': `x` must be \[num, dim\] with at least 2 rows.*got shape \(4,\)\. Reshape",
        ),
        (np.zeros((1, 4)), (), r"at least 2 rows and 1 column; got shape \(1, 4\)"),
        (np.zeros((4, 0)), (), r"got shape \(4, 0\)"),
        (np.array(5.0), (), r"got shape \(\)"),
        (np.zeros((4, 2), bool), (), "must hold real numbers; got dtype bool"),
        (np.array([["a"], ["b"]]), (), "must hold real numbers; got dtype <U1"),
        (rows(complex), (), "must hold real numbers; got dtype complex128"),
        (rows(), ("a", "b"), r"`columns` must be 3 different names, one for each column; got \('a', 'b'\)"),
        (rows(), ("a", "b", "a"), "must be 3 different names"),
        (
            with_value(np.nan),
            ("a", "b", "c"),
            r"must be finite in float32; got NaN in row 4, column 'b' \(1 bad values\)",
        ),
        (with_value(-np.inf), (), "got infinity in row 4, column 'x1'"),
        (with_value(1e39), (), r"got 1e\+39 in row 4, column 'x1'"),
    ],
)
def test_bad_tables_are_named(x, columns, expected):
    with pytest.raises(DataError, match=expected):
        TableData("made", x, columns=columns)


def test_bad_labels_are_named():
    with pytest.raises(DataError, match=r"TableData 'made': `label` must have shape \(11,\), one for each row"):
        TableData("made", rows(), np.zeros(3, int))


def test_batches_hold_rows_labels_and_visits():
    data = TableData("made", rows(), np.arange(NUM) % 4)
    batch = TrainBatches(data, 4, 1, Reading(kinds.TABLE, (DIM,)).with_labels()).at(2, 3)
    assert batch.x.shape == (3, 4, DIM) and batch.x.dtype == np.float32
    row = np.asarray(batch.index) % NUM
    assert np.array_equal(batch.x, rows()[row]) and np.array_equal(batch.context, row % 4)
    whole = TrainBatches(data, NUM).at(0)
    assert sorted(np.asarray(whole.index).ravel().tolist()) == list(range(NUM))
    last = list(eval_batches(data, 4))[-1]
    assert np.array_equal(last.x, rows()[[8, 9, 10, 0]]) and last.weight.tolist() == [1, 1, 1, 0]
    assert last.context is None


def test_options_of_images_are_refused():
    data = TableData("made", rows())
    with pytest.raises(InvalidValueError, match="`mirror` is for images; got True with TableData"):
        TrainBatches(data, 4, mirror=True)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("power", {"size": 8}, "`size` is for folders of images, not for 'power'; got 8. Drop it"),
        ("power", {"fold": 0}, "`fold` is for tables that papers score in ten folds, not for 'power'"),
        ("power", {"manual_dir": "."}, "`manual_dir` is for data whose files you must fetch yourself, not for 'power'"),
        ("power", {"num_validation": 5}, "must be 0 for 'power', which has validation rows of its own; got 5"),
        ("circles", {"num_validation": 5}, "must be 0 for 'circles'"),
        ("circles", {"columns": ("x0",)}, "`columns` is for tables in files, not for 'circles'"),
        ("digits", {"columns": ("x0",)}, "`columns` is for tables in files, not for 'digits'"),
        ("red_wine", {"manual_dir": "."}, "`manual_dir` is for data whose"),
    ],
)
def test_options_for_other_data_are_refused(name, options, expected):
    with pytest.raises(InvalidValueError, match=expected):
        load(name, **options)


def test_names_are_all_there_and_misspelt_ones_get_a_hint():
    tables = {name for name, known in KNOWN.items() if known.kind.has_columns}
    assert {"power", "gas", "hepmass", "miniboone", "bsds300", "red_wine", "ionosphere", "boston"} < tables
    with pytest.raises(DataError, match=r"got 'two_moon'\. Did you mean two_moons\?"):
        load("two_moon")


@pytest.mark.parametrize(
    ("x", "kept"),
    [
        (1_700_000_000.0 + np.arange(2000), "17 different values of 2000"),
        (2**40 + np.arange(50), "1 different values of 50"),
        (np.r_[0.0, 1e9 + np.arange(100) / 10], "2 different values of 101"),
    ],
)
def test_narrowing_that_makes_values_equal_is_refused(x, kept):
    columns = np.stack([np.arange(len(x)), x], axis=-1) if x.dtype.kind == "f" else x[:, None]
    with pytest.raises(DataError, match=rf"`x` must keep its values apart in float32; got column 'x\d' with {kept}"):
        TableData("t", columns)


@pytest.mark.parametrize("make", [lambda c: TableData("t", np.ones((len(c), 1)) * 0.5, context=c), lambda c: NoData(c)])
def test_narrowing_of_contexts_is_refused(make):
    with pytest.raises(DataError, match=r"`context` must hold integers that fit int32, .*; got 4294967295 in row 3"):
        make(np.array([[0], [1], [2], [2**32 - 1]], np.uint32))
    with pytest.raises(DataError, match="must hold integers that fit int32"):
        make(np.array([0, 2**31, 2**40], np.int64))
    with pytest.raises(
        DataError, match="`context` must keep its values apart in float32; got entry 1 with 1 different"
    ):
        make(np.stack([np.arange(9.0), 1e10 + np.arange(9)], axis=-1))
    assert make(np.array([[1], [2**31 - 1]], np.uint32)).context.dtype == np.int32


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda ragged: TableData("t", ragged), "x"),
        (lambda ragged: WaveformData("t", ragged), "x"),
        (lambda ragged: ImageData("t", ragged, 8), "x"),
        (lambda ragged: TableData("t", np.ones((2, 2)), label=ragged), "label"),
        (lambda ragged: TableData("t", np.ones((2, 2)), weight=ragged), "weight"),
        (lambda ragged: TableData("t", np.ones((2, 2)), context=ragged), "context"),
        (lambda ragged: TableData("t", np.ones((2, 2)), gradient=ragged), "gradient"),
    ],
)
def test_rows_of_unequal_lengths_are_refused(make, argument):
    with pytest.raises(
        DataError, match=f"`{argument}` must be an array, or sequences of equal lengths; got list of wh"
    ):
        make([[1, 2], [3]])
