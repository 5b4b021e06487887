"""The user's own tables: .csv, .tsv, .parquet, and .npy, good and bad."""

import sys

import numpy as np
import pytest

from jflows.data import TableData, load
from jflows.errors import DataError, InvalidValueError, MissingPackageError

NUM = 20
X = np.random.RandomState(0).randn(NUM, 3).round(4)


def write(path, lines, encoding="utf-8"):
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def csv_lines(x=X, header="a,b,c", separator=","):
    return [*([header] if header else []), *(separator.join(map(str, row)) for row in x)]


def all_rows(path, **options):
    parts = [load(path, split, num_validation=4, **options) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert all(isinstance(part, TableData) and part.name == path.name for part in parts)
    return parts[0].columns, np.concatenate([part.x for part in parts])


def same_rows(found, expected):
    expected = expected.astype(np.float32)
    return np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


@pytest.mark.parametrize(
    ("name", "lines", "columns"),
    [
        ("t.csv", csv_lines(), ("a", "b", "c")),
        ("t.csv", csv_lines(header=""), ("x0", "x1", "x2")),
        ("t.csv", csv_lines(header="a;b;c d", separator=";"), ("a", "b", "c d")),
        ("t.csv", csv_lines(header='"a, with comma","b",c'), ("a, with comma", "b", "c")),
        ("t.tsv", csv_lines(header="a\tb\tc", separator="\t"), ("a", "b", "c")),
        ("t.csv", ["a,b,c", "", *(", ".join(f'"{v}"' if i else str(v) for i, v in enumerate(r)) for r in X)], None),
    ],
    ids=["header", "none", "semicolon", "quoted header", "tab", "quoted cells, blank line"],
)
def test_csv_forms(tmp_path, name, lines, columns):
    if columns is None:
        lines = [line.replace(", ", ",") for line in lines]
    found, x = all_rows(write(tmp_path / name, lines))
    assert found == (columns or ("a", "b", "c"))
    assert same_rows(x, X)


def test_byte_order_mark_and_one_column(tmp_path):
    path = write(tmp_path / "t.csv", csv_lines(X[:, :1], "a"), encoding="utf-8-sig")
    assert load(path).columns == ("a",)


def test_columns_are_chosen_by_name_or_position_in_order(tmp_path):
    lines = ["id,a,kind,b", *(f"{i},{a},cat,{b}" for i, (a, b, _) in enumerate(X))]
    path = write(tmp_path / "t.csv", lines)
    columns, x = all_rows(path, columns=("b", 1))
    assert columns == ("b", "a") and same_rows(x, X[:, [1, 0]])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            ("a", "bb"),
            r"names or positions of the 3 columns of t\.csv, once each; got 'bb'\. Did you mean b\? It has a, b, c",
        ),
        ((3,), "got 3. It has a, b, c"),
        ((True,), "got True"),
        (("a", 0), r"must not repeat a column; got \('a', 0\)"),
        ((), r"must be names or positions, such as \('a', 'b'\); got \(\)"),
        ("ab", "must be names or positions"),
    ],
)
def test_bad_choices_of_columns(tmp_path, columns, expected):
    with pytest.raises(InvalidValueError, match=f"`columns` .*{expected}"):
        load(write(tmp_path / "t.csv", csv_lines()), columns=columns)


def replaced(row, line):
    lines = csv_lines()
    lines[row + 1] = line
    return lines


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            replaced(5, "1,red,3"),
            r"t\.csv, column 'b'` must hold numbers, not text; got 'red' in row 5\. Leave",
        ),
        (replaced(5, "1,,3"), r"column 'b'` must have no missing value; .*; got '' in row 5"),
        (replaced(5, "1,NA,3"), "must have no missing value; .*; got 'NA' in row 5"),
        (replaced(5, "1,nan,3"), "must have no missing value; .*; got 'nan' in row 5"),
        (replaced(5, "1,inf,3"), "column 'b'` must be finite; got 'inf' in row 5"),
        (replaced(5, "1,2"), "must have 3 cells in every row; got 2 in row 5"),
        (replaced(5, "1,2,3,4,"), "must have 3 cells in every row; got 5 in row 5"),
        (
            csv_lines(X * [1, 0, 1]),
            r"'t\.csv': `columns` must all vary, or the density is infinite; got 'b', which is -?0 in every row",
        ),
        (csv_lines(1e9 + X), "`x` must keep its values apart in float32; got column 'a' with 1 different values of 20"),
        (csv_lines(header="a,b,b"), r"`columns` must be 3 different names"),
        (["a,b,c"], "must have at least 2 rows of numbers; got 0"),
        ([""], "must hold a table; got empty lines"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_csv_files_are_explained(tmp_path, lines, expected):
    with pytest.raises(DataError, match=expected):
        load(write(tmp_path / "t.csv", lines))


def test_rows_are_counted_without_the_header_and_blank_lines(tmp_path):
    with pytest.raises(DataError, match="column 'x1'` must hold numbers.*got 'red' in row 2"):
        load(write(tmp_path / "t.csv", ["1,2", "", "3,4", "5,red"]))


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "t.csv").write_bytes("größe,b\n1,2\n3,4\n".encode("latin1"))
    with pytest.raises(DataError, match="must be text in UTF-8; got"):
        load(tmp_path / "t.csv")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    kind = pyarrow.array(["x", "y"] * (NUM // 2))
    columns = {"a": X[:, 0], "kind": kind, "b": X[:, 1].astype(np.float32), "n": np.arange(NUM)}
    columns |= {"coded": kind.dictionary_encode(), "flag": np.arange(NUM) > 3}
    columns["holes"] = pyarrow.array([None if i == 6 else float(i) for i in range(NUM)])
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    names, x = all_rows(tmp_path / "t.parquet", columns=("n", "b", "a"))
    assert names == ("n", "b", "a") and same_rows(x, np.column_stack([np.arange(NUM), X[:, 1], X[:, 0]]))
    for name, what, kind in (
        ("kind", "text or bytes", "string"),
        ("coded", "categories", "dictionary<.*"),
        ("flag", "truth values", "bool"),
    ):
        with pytest.raises(DataError, match=f"column '{name}'` must hold numbers, not {what}; got type {kind}"):
            load(tmp_path / "t.parquet", columns=("a", name))
    with pytest.raises(DataError, match="column 'holes'` must have no missing value; .*; got null in row 6"):
        load(tmp_path / "t.parquet", columns=("a", "holes"))
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:100])
    with pytest.raises(DataError, match="must be a whole Parquet file; got"):
        load(tmp_path / "t.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(
        MissingPackageError, match=r"`pyarrow` is needed to read t\.parquet; .*Run `pip install pyarrow`"
    ):
        load(tmp_path / "t.parquet")


def test_npy(tmp_path):
    np.save(tmp_path / "t.npy", X)
    names, x = all_rows(tmp_path / "t.npy", columns=(2, "x0"))
    assert names == ("x2", "x0") and same_rows(x, X[:, [2, 0]])
    np.save(tmp_path / "t.npy", X[None])
    with pytest.raises(DataError, match=r"must be \[num, dim\]; got shape \(1, 20, 3\)"):
        load(tmp_path / "t.npy")
    (tmp_path / "t.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"must be a whole \.npy file without pickles; got"):
        load(tmp_path / "t.npy")


def test_values_that_float32_cannot_tell_apart_are_refused(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("time,x\n" + "".join(f"{1_700_000_000 + i},{i % 7}\n" for i in range(200)))
    with pytest.raises(
        DataError, match="`x` must keep its values apart in float32; got column 'time' with 3 different"
    ):
        load(path)
    assert load(path, columns=("x",)).x.shape == (180, 1)
