"""Images and tables in .npz files, good and bad."""

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import DataError, InvalidValueError

NUM = 20
X = np.random.RandomState(0).randn(NUM, 3).round(4)
IMAGES = np.random.RandomState(0).randint(0, 256, (NUM, 4, 4, 1)).astype(np.uint8)


def values(data):
    return data.x[:, 0, 0, 0].tolist()


def all_rows(path, **options):
    parts = [load(path, split, num_validation=4, **options) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert all(part.kind.has_columns and part.name == path.name for part in parts)
    return parts[0].columns, np.concatenate([part.x for part in parts])


def same_rows(found, expected):
    expected = expected.astype(np.float32)
    return np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def ramp(num, start=0):
    return np.broadcast_to(np.arange(start, start + num, dtype=np.uint8)[:, None, None, None], (num, 2, 2, 1))


def test_npz_with_x_alone_holds_out_a_tenth(tmp_path):
    np.savez(tmp_path / "a.npz", x=ramp(40), y=np.arange(40) % 3)
    train, test = load(tmp_path / "a.npz"), load(tmp_path / "a.npz", "test")
    assert (len(train), len(test), train.num_classes, test.num_classes) == (36, 4, 3, 3)
    assert sorted(values(train) + values(test)) == list(range(40))
    assert train.label is not None
    assert train.label.tolist() == [value % 3 for value in values(train)]


@pytest.mark.parametrize(
    "keys", [("train", "train_label", "test", "test_label"), ("x_train", "y_train", "x_test", "y_test")]
)
def test_npz_with_parts_keeps_their_order(tmp_path, keys):
    arrays = (ramp(10), np.arange(10), ramp(3, 10), np.arange(3))
    np.savez(tmp_path / "a.npz", **dict(zip(keys, arrays, strict=True)), num_bits=4)
    train = load(tmp_path / "a.npz", num_validation=4)
    validation = load(tmp_path / "a.npz", "validation", num_validation=4)
    test = load(tmp_path / "a.npz", "test")
    assert values(train) + values(validation) + values(test) == list(range(13))
    assert test.label is not None
    assert (test.num_bits, test.num_classes, test.label.tolist()) == (4, 10, [0, 1, 2])


@pytest.mark.parametrize(
    ("arrays", "split", "expected"),
    [
        ({"images": ramp(4)}, "train", r"must have an array `x`, or `train` and `test`; got keys \['images'\]"),
        ({"x": ramp(4)[..., 0]}, "train", r"a\.npz'.*must have rank 4.*x\[\.\.\., None\]"),
        ({"x": ramp(4) / 255}, "train", r"must hold integers.*\(x \* 255\)\.round\(\)\.astype\(np\.uint8\)"),
        ({"x": ramp(4), "num_bits": 1}, "train", r"must be in 0\.\.1 \(num_bits=1\); got values 2\.\.2 in row 2"),
        ({"x": ramp(4), "label": np.zeros(3, int)}, "train", r"must have shape \(4,\)"),
        ({"x": np.array([{}])}, "train", r"must be a whole \.npz file without pickles"),
        (
            {"train": ramp(4), "test": ramp(4)[:, :1]},
            "test",
            r"training data's shape \(2, 2, 1\); got shape \(1, 2, 1\)",
        ),
        ({"train": ramp(4), "test": ramp(4), "train_label": np.zeros(4, int)}, "test", "a label for both parts"),
    ],
)
def test_bad_npz_files_are_explained(tmp_path, arrays, split, expected):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=expected):
        load(tmp_path / "a.npz", split)


def test_damaged_npz_and_size(tmp_path):
    np.savez(tmp_path / "a.npz", x=ramp(40))
    raw = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(InvalidValueError, match=r"`size` is for folders of images, not for \.npz files"):
        load(tmp_path / "a.npz", size=3)
    flipped = raw[:200] + bytes([raw[200] ^ 1]) + raw[201:]
    for damaged in (raw[: len(raw) // 2], b"not a zip", b"", flipped):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"must be a whole \.npz file"):
            load(tmp_path / "a.npz")


def test_npz_with_one_array(tmp_path):
    np.savez(tmp_path / "t.npz", x=X, label=np.arange(NUM) % 3, columns=["a", "b", "c"])
    names, x = all_rows(tmp_path / "t.npz", columns=("c", "a"))
    assert names == ("c", "a") and same_rows(x, X[:, [2, 0]])
    data = load(tmp_path / "t.npz")
    assert data.num_classes == 3
    rows = [int(np.flatnonzero(X[:, 0].astype(np.float32) == value)[0]) for value in data.x[:, 0]]
    assert data.label.tolist() == [row % 3 for row in rows]


def test_npz_with_parts(tmp_path):
    np.savez(tmp_path / "t.npz", train=X[:15], test=X[15:])
    assert np.array_equal(load(tmp_path / "t.npz", num_validation=5).x, X[:10].astype(np.float32))
    assert np.array_equal(load(tmp_path / "t.npz", "test").x, X[15:].astype(np.float32))
    np.savez(tmp_path / "t.npz", train=X[:15], test=X[15:, :2])
    with pytest.raises(DataError, match=r"training data's shape \(3,\); got shape \(2,\)"):
        load(tmp_path / "t.npz", "test")
    np.savez(tmp_path / "t.npz", train=X[:15], test=np.ones((2, 3)))  # only training columns must vary
    assert len(load(tmp_path / "t.npz", "test")) == 2
    np.savez(tmp_path / "t.npz", x=X * [1, 1, 0])
    with pytest.raises(
        DataError, match=r"TableData 't\.npz': `columns` must all vary.*; got 'x2', which is -?0 in every row"
    ):
        load(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", x=X, columns=["a", "b"])
    with pytest.raises(DataError, match=r"must name its 3 columns in `columns`; got \['a', 'b'\]"):
        load(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 2, 2, 1), np.uint8))
    with pytest.raises(InvalidValueError, match="`columns` is for tables, not for images"):
        load(tmp_path / "t.npz", columns=(0,))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES, "x_val": IMAGES}, r"must have no key but .*; got 'x_val'\. Append the validation rows to"),
        ({"x": IMAGES, "lable": np.zeros(len(IMAGES))}, r"got 'lable'\. Rename or remove this array"),
        ({"x": IMAGES, "train": IMAGES}, "must have one array for one thing; got 'x' and 'train'"),
        ({"x": IMAGES, "num_bits": np.array([8, 8])}, "must have one whole number as `num_bits`"),
        ({"x": IMAGES, "context": np.zeros((len(IMAGES), 2))}, "must have no `context` beside images"),
        (
            {"x": np.zeros((20, 3, 8, 8), np.uint8)},
            r"must have its channels last, .*; got shape \(20, 3, 8, 8\)\. Move the",
        ),
    ],
)
def test_nothing_is_ignored(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "t.npz")


def test_contexts_and_a_number_of_bits_in_an_array(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 2))
    np.savez(tmp_path / "t.npz", train=x, test=x[:4], train_context=2 * x, test_context=2 * x[:4])
    for split in ("train", "test"):
        data = load(tmp_path / "t.npz", split)
        np.testing.assert_allclose(data.context, 2 * data.x, rtol=1e-6)
    np.savez(tmp_path / "i.npz", x=IMAGES % 32, num_bits=np.array([5]))
    assert load(tmp_path / "i.npz").num_bits == 5
