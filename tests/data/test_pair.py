"""Two files as one data set: columns and classes by name, nothing held out, and what does not fit is refused."""

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import DataError, InvalidValueError

X = np.random.RandomState(0).randn(20, 2).round(4)


def table(path, x, header="a,b", separator=","):
    path.write_text("\n".join([header, *(separator.join(map(str, row)) for row in x)]) + "\n")
    return path


def images(path, values, folder=""):
    Image = pytest.importorskip("PIL.Image")
    (path / folder).mkdir(parents=True, exist_ok=True)
    for value in values:
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(path / folder / f"{value}.png")
    return path


def test_columns_are_found_by_name_and_nothing_is_held_out(tmp_path):
    train, test = table(tmp_path / "train.csv", X), table(tmp_path / "t.txt", X[:5, ::-1], "b;a", ";")
    parts = [load(train, split, test_data=test, num_validation=4) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 4, 5] and all(part.columns == ("a", "b") for part in parts)
    np.testing.assert_array_equal(parts[2].x, X[:5].astype(np.float32))
    own = np.concatenate([part.x for part in parts[:2]])
    assert not np.array_equal(own, X.astype(np.float32))  # shuffled, so that a sorted file has a fair validation part
    np.testing.assert_array_equal(np.sort(own, axis=0), np.sort(X.astype(np.float32), axis=0))
    assert "semicolon" in parts[2].read_as and "comma" in parts[0].read_as
    np.testing.assert_array_equal(load(train, "all", test_data=test).x, np.concatenate([X, X[:5]]).astype(np.float32))


def test_files_of_two_formats_may_have_other_columns_if_some_are_chosen(tmp_path):
    train = table(tmp_path / "train.csv", np.concatenate([X, X[:, :1]], axis=1), "a,b,c")
    np.savez(tmp_path / "test.npz", x=np.concatenate([X[:, ::-1], X], axis=1), columns=["b", "a", "d", "e"])
    test = load(train, "test", test_data=tmp_path / "test.npz", columns=(0, "b"), separator="comma")
    np.testing.assert_array_equal(test.x, X.astype(np.float32))


def test_a_constant_column_is_no_fault_of_test_rows(tmp_path):
    train, test = table(tmp_path / "a.csv", X), table(tmp_path / "b.csv", np.ones((3, 2)))
    assert len(load(train, "test", test_data=test)) == len(load(test, "all")) == 3
    with pytest.raises(DataError, match="must all vary"):
        load(test, "train", test_data=train)


def test_classes_of_folders_are_matched_by_name(tmp_path):
    for value, name in enumerate(["ant", "bee", "cow"]):
        images(tmp_path / "a", [value, value + 10], name)
    images(tmp_path / "b", [7], "cow")
    test = load(tmp_path / "a", "test", test_data=tmp_path / "b")
    assert test.label.tolist() == [2] and test.class_names == ("ant", "bee", "cow")
    assert load(tmp_path / "a", test_data=tmp_path / "b").num_classes == 3
    images(tmp_path / "b", [8], "dog")
    with pytest.raises(DataError, match=r"must have no class that a lacks \(ant, bee, cow\); got dog\. Give both"):
        load(tmp_path / "a", "test", test_data=tmp_path / "b")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "a,c",
            r"must have the columns of a\.csv, a, b, in any order, and no others; got a, c\. Rename them, or choose",
        ),
        ("a,b,c", r"and no others; got a, b, c\. Rename them, or choose columns that both have by columns"),
    ],
)
def test_other_columns_are_refused_and_choosing_helps(tmp_path, header, message):
    train = table(tmp_path / "a.csv", X)
    x = np.concatenate([X, X], axis=1)[:, : len(header.split(","))]
    with pytest.raises(DataError, match=message):
        load(train, "test", test_data=table(tmp_path / "b.csv", x, header))
    assert load(train, "test", test_data=tmp_path / "b.csv", columns=("a",)).columns == ("a",)


def test_arrays_must_be_alike(tmp_path):
    save = lambda name, **arrays: np.savez(tmp_path / f"{name}.npz", **arrays)
    pixels = np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4, 1)
    save("images", x=pixels)
    save("labelled", x=pixels, label=np.arange(20) % 3)
    save("more", x=pixels, label=np.arange(20) % 4)
    save("small", x=pixels[:, :2])
    save("bits", x=pixels % 16, num_bits=4)
    save("table", x=X)
    save("wide", x=np.concatenate([X, X], axis=1), context=X)
    save("context", x=X, context=X)
    save("parts", train=X, test=X)
    for train, test, message in (
        ("images", "labelled", "must have labels exactly if the training data do"),
        ("labelled", "more", r"must be in 0\.\.2"),
        ("images", "small", r"must have event_shape=\(4, 4, 1\), as images\.npz has; got event_shape=\(2, 4, 1\)"),
        ("images", "bits", "must have num_bits=8, as images.npz has; got num_bits=4"),
        ("images", "table", "must hold images, as images.npz has; got table"),
        ("table", "context", "must have context_shape=None, as table.npz has"),
        ("parts", "table", r"parts\.npz` must have no test part of its own beside test_data; got one\. Drop test_data"),
        ("table", "parts", "must have no test part of its own"),
        ("table", "table", "`test_data` must be another file than the training data"),
    ):
        with pytest.raises(DataError, match=message):
            load(tmp_path / f"{train}.npz", "test", test_data=tmp_path / f"{test}.npz")


def test_a_second_file_is_for_files(tmp_path):
    train = table(tmp_path / "a.csv", X)
    with pytest.raises(InvalidValueError, match="`test_data` is for data in files and folders, not for 'two_moons'"):
        load("two_moons", test_data=train)
    with pytest.raises(DataError, match="`test_data` must be an existing file or folder"):
        load(train, test_data=tmp_path / "b.csv")
    with pytest.raises(InvalidValueError, match="`size` is for folders of images, not for these files"):
        load(train, test_data=table(tmp_path / "c.csv", X), size=3)
