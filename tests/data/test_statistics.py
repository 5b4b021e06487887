"""Statistics of all rows: exact in float64, relative in what counts as constant; and the short reprs."""

import numpy as np
import pytest

from jflows.data import ImageData, NoData, TableData, statistics
from jflows.errors import DataError

RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize("chunk", [2**22, 7, 1])
def test_columns_of_a_table_and_its_context(chunk, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK_VALUES", chunk)
    x = (RANDOM.randn(50, 3) * [1e-9, 1, 1e6] + [0, 1e3, -1e6]).astype(np.float32)
    context = (5000 + 100 * RANDOM.randn(50, 2, 2)).astype(np.float32)
    found = TableData("made", x, context=context).statistics()
    for value, expected in zip(
        (found.mean, found.deviation, found.context_mean, found.context_deviation),
        (x.astype(float).mean(0), x.astype(float).std(0), context.astype(float).mean(0), context.astype(float).std(0)),
        strict=True,
    ):
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_large_offset_does_not_cancel():
    x = np.stack([np.arange(1000) + 1e7, np.arange(1000) / 1000], axis=-1)
    found = TableData("made", x).statistics()
    np.testing.assert_allclose(found.deviation, x.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("chunk", [2**22, 40])
def test_channels_of_images(chunk, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK_VALUES", chunk)
    x = RANDOM.randint(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    x[..., 1] = 77
    found = ImageData("made", x).statistics()
    np.testing.assert_allclose(found.mean, x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, x.std(axis=(0, 1, 2)), rtol=1e-12)
    assert found.deviation[1] == 0 and found.context_mean is None and found.context_deviation is None
    assert ImageData("made", x).reduced(5).statistics().mean[1] == 77 // 8


def test_contexts_without_data_and_labels_as_contexts():
    contexts = RANDOM.randn(20, 3)
    found = NoData(contexts).statistics()
    assert found.mean is None and found.deviation is None
    np.testing.assert_allclose(found.context_mean, contexts.mean(axis=0), rtol=1e-5)
    nothing = NoData().statistics()
    assert nothing.mean is nothing.deviation is nothing.context_mean is nothing.context_deviation is None
    assert NoData(np.arange(9) % 3).statistics().context_mean is None  # labels are not standardised
    assert NoData(np.zeros(9, int)).statistics().context_mean is None
    assert NoData(np.arange(6).reshape(3, 2)).statistics().context_mean.tolist() == [2, 3]


@pytest.mark.parametrize(
    "column",
    [np.zeros(50), np.full(50, 7.0), (1e6 + 0.01 * RANDOM.randn(50)).astype(np.float32), np.full(50, 1e-30)],
    ids=["zero", "seven", "less than the rounding of float32", "tiny"],
)
def test_constant_columns_are_named(column):
    data = TableData("made", np.stack([np.arange(50.0), column], axis=-1), columns=("a", "b"))
    message = (
        r"TableData 'made': `columns` must all vary, or the density is infinite; got 'b', which is .* in every row"
    )
    with pytest.raises(DataError, match=message):
        data.statistics()
    with pytest.raises(DataError, match=message):
        data.check_varies()


@pytest.mark.parametrize("column", [1e-9 * np.arange(50), 1e-30 * np.arange(50), np.eye(50)[0], 5e3 + np.arange(50)])
def test_columns_that_vary_pass_whatever_their_size(column):
    TableData("made", np.stack([np.arange(50.0), column], axis=-1)).check_varies()


def test_constant_contexts_are_named():
    x = np.arange(10.0).reshape(5, 2)
    context = np.stack([np.arange(5.0), np.full(5, 3.0)], axis=-1)
    with pytest.raises(DataError, match="'made': `context` must vary in every entry.*; got entry 1 is 3 in every row"):
        TableData("made", x, context=context).statistics()
    with pytest.raises(DataError, match=r"got entry \(1, 0\) is 3 in every row"):
        NoData(context[:, :, None]).statistics()
    with pytest.raises(DataError, match="must vary in every entry, to be standardised; got 3 in every row"):
        NoData(context[:, 1]).statistics()
    TableData("made", x, context=context).check_varies()  # a question about x alone


def test_images_and_no_data_always_vary():
    ImageData("made", np.zeros((3, 2, 2, 1), np.uint8)).check_varies()
    NoData().check_varies()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            TableData("t", np.zeros((20000, 2)), np.arange(20000) % 2),
            "TableData('t', 20,000 rows x 2 columns, 2 classes)",
        ),
        (
            TableData("t", np.zeros((2, 1)), context=np.zeros((2, 3))),
            "TableData('t', 2 rows x 1 column, context of shape (3,))",
        ),
        (
            ImageData("i", np.zeros((3, 28, 28, 1), np.uint8), np.array([0, -1, 2]), partly_labelled=True),
            "ImageData('i', 3 images of 28x28x1, 8 bits, 3 classes, labelled in part)",
        ),
        (NoData(), "NoData()"),
        (NoData(np.zeros((5, 2))), "NoData(5 visits an epoch, context of shape (2,))"),
    ],
)
def test_reprs_are_short(data, expected):
    assert repr(data) == expected


def test_every_kind_states_the_same_facts():
    facts = ("kind", "name", "x", "label", "num_classes", "partly_labelled", "num_bits", "columns", "context")
    table = TableData("t", np.zeros((4, 2)), context=np.zeros((4, 3)))
    for data in (table, ImageData("i", np.zeros((3, 2, 2, 1), np.uint8), num_bits=4), NoData()):
        assert all(hasattr(data, fact) for fact in facts)
        assert data.take(np.array([0, 1]) if data.x is not None else np.array([0])).kind == data.kind
        assert data.reduced(None) is data
    assert (table.event_shape, table.context_shape, table.num_bits, table.columns) == ((2,), (3,), None, ("x0", "x1"))
    assert table.reduced(3) is table
    assert (NoData().event_shape, NoData().context_shape) == ((), None)
