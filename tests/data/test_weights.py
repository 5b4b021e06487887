"""Weights of rows: statistics by whole-number weights are those of repeated rows, and every operation carries them."""

import numpy as np
import pytest

from jflows.data import (
    ImageData,
    NoData,
    TableData,
    TrainBatches,
    eval_batches,
    hide_labels,
    kinds,
    load,
    only_classes,
    statistics,
    weights,
)
from jflows.data.domains import Domains
from jflows.data.reading import Reading
from jflows.errors import DataError, InvalidTypeError, InvalidValueError

RANDOM = np.random.RandomState(0)
WEIGHT = np.array([3, 0, 1, 2, 0, 5, 1, 1])
X, CONTEXT = RANDOM.randn(8, 2) + 10, RANDOM.randn(8, 3)
IMAGES = RANDOM.randint(0, 256, (8, 2, 3, 2)).astype(np.uint8)


def table(weight=WEIGHT, **options):
    return TableData("made", X, context=CONTEXT, weight=weight, **options)


@pytest.mark.parametrize("scale", [1, 1000, 1e-300, 1e300])
@pytest.mark.parametrize("chunk", [2**22, 3])
def test_statistics_are_those_of_repeated_rows_at_any_scale(chunk, scale, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK_VALUES", chunk)
    weight, repeated = WEIGHT * scale, np.repeat(np.arange(8), WEIGHT)
    pairs = [
        (table(weight), TableData("made", X[repeated], context=CONTEXT[repeated])),
        (ImageData("made", IMAGES, weight=weight), ImageData("made", IMAGES[repeated])),
        (NoData(CONTEXT, weight), NoData(CONTEXT[repeated])),
    ]
    for weighted, plain in pairs:
        for name in ("mean", "deviation", "context_mean", "context_deviation"):
            found, wanted = getattr(weighted.statistics(), name), getattr(plain.statistics(), name)
            assert (found is None) == (wanted is None)
            if found is not None:
                np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_row_of_weight_0_never_counts():
    x = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0]])
    data = TableData("made", x, weight=[1, 2, 0])
    with pytest.raises(DataError, match="must all vary.*got 'x1', which is 5 in every row"):
        data.check_varies()
    assert len(data.counted()) == 2 and data.effective_size == pytest.approx(1.8)
    batches = TrainBatches(data, 4)
    assert batches.rows_per_epoch == 2 and batches.epoch(1) == 2
    assert set((batches.at(0, 5).index % 3).ravel().tolist()) == {0, 1}  # numbers of rows in the data
    np.testing.assert_allclose(sorted(set(batches.at(0).weight.ravel().tolist())), [2 / 3, 4 / 3], rtol=1e-6)


def test_weights_in_batches_have_mean_1_and_padding_has_0():
    weight = np.concatenate([batch.weight for batch in eval_batches(table(), 5)])
    np.testing.assert_allclose(weight[:8], WEIGHT * 6 / 13, rtol=1e-6)
    assert weight.dtype == np.float32 and weight[8:].tolist() == [0, 0]
    np.testing.assert_array_equal(weight, np.concatenate([b.weight for b in eval_batches(table(WEIGHT * 1000), 5)]))


def test_weights_go_along_with_their_rows():
    label = np.array([0, 1, 0, 1, 0, 1, 2, 2])
    data = table(label=label)
    np.testing.assert_array_equal(data.take(np.array([5, 0])).weight, [5, 3])
    np.testing.assert_array_equal(only_classes(data, (2, 0)).weight, WEIGHT[[0, 2, 4, 6, 7]])
    hidden = hide_labels(data, 1, seed=1)
    np.testing.assert_array_equal(hidden.weight, WEIGHT)
    assert (WEIGHT[hidden.label >= 0] > 0).all()  # labels are kept of rows that count
    share = hide_labels(data, 1, share=0.5, seed=1)
    assert 0.3 < share.weight[share.label >= 0].sum() / share.weight.sum() < 0.7
    assert "weights of 4.12195 effective rows" in repr(data)
    assert ImageData("made", IMAGES, weight=WEIGHT).reduced(3).weight.tolist() == WEIGHT.tolist()


def test_rows_are_drawn_by_weight():
    drawn = table().drawn_by_weight(26, seed=3)
    assert drawn.weight is None
    np.testing.assert_allclose(np.sort(drawn.x[:, 0]), np.sort(np.repeat(X[:, 0], 2 * WEIGHT)), rtol=1e-6)
    assert set(weights.draw(WEIGHT / 7, 1000, 0).tolist()) == set(np.flatnonzero(WEIGHT).tolist())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: table([1, 2]),
            r"TableData 'made': `weight` must hold numbers of shape \(8,\).*got dtype int64, shape",
        ),
        (lambda: table(np.full(8, True)), "got dtype bool"),
        (lambda: table(-WEIGHT), r"must be finite and not negative; got -3 in row 0 \(6 bad rows\)"),
        (lambda: table(np.where(WEIGHT == 5, np.nan, 1)), "got nan in row 5"),
        (lambda: table(np.where(WEIGHT == 5, np.inf, 1)), "got inf in row 5"),
        (lambda: table(0 * WEIGHT), "must be positive in at least one row; got 0 in all 8 rows"),
        (lambda: table().take(np.array([1, 4])), "got 0 in all 2 rows"),
        (lambda: ImageData("made", IMAGES, weight=WEIGHT[:3]), "ImageData 'made': `weight` must hold numbers"),
        (lambda: NoData(weight=[1.0]), "NoData: `weight` must be None without contexts"),
        (lambda: table(context_columns=("a", "b")), r"`context_columns` must be different names.*\(3,\)"),
        (lambda: table(context_columns=("a", "x0", "b")), "none that of a column of x"),
    ],
)
def test_weights_that_mean_nothing_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


@pytest.fixture
def folder(tmp_path):
    rows = np.column_stack([X, CONTEXT[:, :1], WEIGHT])
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="a,b,c,w", comments="", fmt="%.9g")
    np.savetxt(tmp_path / "u.csv", rows[:4, ::-1], delimiter=",", header="w,c,b,a", comments="", fmt="%.9g")
    np.save(tmp_path / "t.npy", rows)
    of_test = {"test_weight": WEIGHT[:3], "test_context": CONTEXT[:3]}
    np.savez(tmp_path / "t.npz", train=X, test=X[:3], train_weight=WEIGHT, context=CONTEXT, **of_test)
    np.savez(tmp_path / "images.npz", x=IMAGES, weight=WEIGHT + 1)
    return tmp_path


def test_columns_become_weights_and_contexts(folder):
    found = load(folder / "t.csv", "all", context=("c",), weight="w")
    assert found.columns == ("a", "b") and found.context_columns == ("c",)
    np.testing.assert_allclose(found.x, X, rtol=1e-6)
    np.testing.assert_allclose(found.context, CONTEXT[:, :1], rtol=1e-6)
    np.testing.assert_array_equal(found.weight, WEIGHT)
    chosen = load(folder / "t.csv", "all", columns=("b",), context=("c",), weight="w")
    assert chosen.columns == ("b",) and chosen.context_shape == (1,)
    assert load(folder / "t.npy", "all", weight="x3").weight.tolist() == WEIGHT.tolist()
    halves = load(folder / "t.csv", "train", weight="w"), load(folder / "t.csv", "test", weight="w")
    assert sum(half.weight.sum() for half in halves) == WEIGHT.sum()
    both = load(folder / "t.csv", "test", test_data=folder / "u.csv", context=("c",), weight="w")
    assert both.weight.tolist() == WEIGHT[:4].tolist() and both.context_columns == ("c",)


def test_npz_files_hold_weights(folder):
    assert load(folder / "t.npz", "all").weight.tolist() == [*WEIGHT, *WEIGHT[:3]]
    assert load(folder / "t.npz", "test").weight.tolist() == WEIGHT[:3].tolist()
    split = load(folder / "images.npz", "train")
    assert len(split.weight) == len(split) == 6


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "t.csv",
            {"weight": "v"},
            InvalidValueError,
            r"`weight` must name a column of t\.csv, found in it once; got 'v'",
        ),
        ("t.csv", {"context": ("c", "d")}, InvalidValueError, "`context` must name columns of.*It has a, b, c, w"),
        ("t.csv", {"columns": ("a",), "weight": "v"}, InvalidValueError, "`weight` must name a column of.*got 'v'"),
        ("t.csv", {"columns": ("a", "w"), "weight": "w"}, InvalidValueError, "one role; got 'w' twice"),
        ("t.csv", {"context": ("w",), "weight": "w"}, InvalidValueError, "one role; got 'w' twice"),
        ("t.csv", {"context": "c"}, InvalidTypeError, "must be names of columns; got 'c'"),
        ("t.csv", {"weight": 3}, InvalidTypeError, r"must be names of columns; got \(3,\)"),
        ("t.csv", {"weight": "a", "context": ("b", "c", "w")}, DataError, "at least 2 rows and 1 column"),
        ("t.csv", {"weight": "c"}, DataError, "`weight` must be finite and not negative"),
        ("t.npz", {"weight": "w"}, InvalidValueError, r"`weight` is for tables in text, \.parquet and \.npy files"),
        ("two_moons", {"context": ("x0",)}, InvalidValueError, "`context` is for tables in text"),
    ],
)
def test_bad_choices_of_roles(folder, name, options, error, message):
    with pytest.raises(error, match=message):
        load(folder / name if "." in name else name, "train", **options)


def test_a_row_of_weight_0_may_lie_outside_of_a_domain():
    x = np.exp(np.random.default_rng(0).normal(size=(20, 2)))
    x[3, 0] = -1
    reading = Reading(kinds.TABLE, (2,), domains=Domains(positive=(0, 1)))
    weight = (np.arange(20) != 3).astype(float)
    reading.check(TableData("a", x, weight=weight), "fit")
    x[5, 1] = -2
    with pytest.raises(DataError, match="column 'x1'` must be positive; got -2 in row 5"):
        reading.check(TableData("a", x, weight=weight), "fit")
