"""Text tables as people and programs write them: each is read right, told, or refused with advice that works."""

import gzip
import re

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import DataError

NUM = 20
ROWS = range(NUM)
A, B = np.arange(NUM) + 0.5, np.arange(NUM) * 2.0


def lines(make, header=None):
    return "".join(f"{line}\n" for line in ([] if header is None else [header]) + [make(i) for i in ROWS])


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def columns_of(path, **options):
    """Names and sorted values of all rows."""
    parts = [load(path, split, **options) for split in ("train", "test")]
    assert parts[0].read_as == parts[1].read_as
    return parts[0].columns, np.sort(np.concatenate([part.x for part in parts]), axis=0), parts[0].read_as


FORMS = {
    "comma": ("t.csv", lines(lambda i: f"{i}.5,{2 * i}", "a,b"), "separator=comma, decimal=point, header=True"),
    "semicolon": ("t.csv", lines(lambda i: f"{i}.5;{2 * i}", "a;b"), "separator=semicolon"),
    "commas inside quotes": ("t.csv", lines(lambda i: f'"{i},5";{2 * i}', '"a";"b"'), "decimal=comma"),
    "Excel says the separator": ("t.csv", "sep=;\n" + lines(lambda i: f"{i},5;{2 * i}", "a;b"), "separator=semicolon"),
    "tab": ("t.tsv", lines(lambda i: f"{i}.5\t{2 * i}", "a\tb"), "separator=tab"),
    "bar": ("t.txt", lines(lambda i: f"{i}.5|{2 * i}", "a|b"), "separator=bar"),
    "numpy.savetxt": ("t.txt", lines(lambda i: f"{i + 0.5:.18e} {2 * i:.18e}", "# a b"), "names in a comment"),
    "aligned by blanks": ("t.dat", lines(lambda i: f"  {i}.5   {2 * i}  ", " a   b"), "separator=blanks"),
    "comments": ("t.csv", "# by hand\n#\n" + lines(lambda i: f"{i}.5,{2 * i}", "a,b"), "separator=comma"),
    "R's write.table": ("t.txt", lines(lambda i: f'"{i + 1}" {i}.5 {2 * i}', '"a" "b"'), "names of rows left out"),
    "R's write.table with commas": ("t.csv", lines(lambda i: f'"r{i}",{i}.5,{2 * i}', '"a","b"'), "names of rows"),
    "index of pandas": ("t.csv", lines(lambda i: f"{i},{i}.5,{2 * i}", ",a,b"), "counts the rows, left out"),
    "trailing separator": ("t.csv", lines(lambda i: f"{i}.5,{2 * i},", "a,b,"), "separator=comma"),
    "upper case": ("T.CSV", lines(lambda i: f"{i}.5,{2 * i}", "a,b"), "separator=comma"),
    "gzip": ("t.csv.gz", gzip.compress(lines(lambda i: f"{i}.5,{2 * i}", "a,b").encode()), "separator=comma"),
    "UTF-16 of Excel": ("t.txt", lines(lambda i: f"{i}.5\t{2 * i}", "a\tb").encode("utf-16"), "separator=tab"),
    "Windows line ends": ("t.csv", lines(lambda i: f"{i}.5,{2 * i}\r", "a,b\r"), "separator=comma"),
    "exponents": ("t.csv", lines(lambda i: f"{10 * i + 5}e-1,+{2 * i}.", "a,b"), "separator=comma"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_right_and_told(tmp_path, form):
    name, content, told = FORMS[form]
    columns, x, read_as = columns_of(written(tmp_path / name, content))
    assert columns == ("a", "b") and told in read_as
    np.testing.assert_array_equal(x, np.stack([A, B], axis=-1))


def test_names_may_hold_separators(tmp_path):
    assert load(written(tmp_path / "t.tsv", lines(lambda i: f"{i}.5\t{2 * i}", "a, b\tc, d"))).columns == (
        "a, b",
        "c, d",
    )


def test_thousands(tmp_path):
    path = written(tmp_path / "t.csv", lines(lambda i: f'"{i + 1},234.5",{2 * i}', "a,b"))
    _, x, read_as = columns_of(path)
    np.testing.assert_array_equal(x[:, 0], 1000 * np.arange(1, NUM + 1) + 234.5)
    assert read_as.endswith("commas between thousands")


# A file that can be read in two ways, and the first row of column 0 by each of them.
OPEN = {
    "one number or two": (lines(lambda i: f"{1 + i % 3},{76 + i}"), {1.0, np.float32(1.76)}),
    "numbers or names": (lines(lambda i: f"{i}.5,{i * i}", "0,1"), {0.0, 0.5}),
    "years": (lines(lambda i: f"{i}.5,{i * i}", "2010,2011"), {2010.0, 0.5}),
    "one number or one name": (lines(lambda i: f"{i + 3.5}", "0"), {0.0, 3.5}),
    "one number or one year": (lines(lambda i: f"{i}.5", "2010"), {2010.0, 0.5}),
    "thousands or decimals": (lines(lambda i: f'"{i + 1},234",{2 * i}', "a,b"), {1234.0, np.float32(1.234)}),
    "points between thousands": (lines(lambda i: f"{i + 1}.234;{2 * i}", "a;b"), {1234.0, np.float32(1.234)}),
}


@pytest.mark.parametrize("form", OPEN)
def test_what_is_open_is_refused_and_every_reading_can_be_stated(tmp_path, form):
    content, wanted = OPEN[form]
    path = written(tmp_path / "t.csv", content)
    with pytest.raises(
        DataError, match=rf"must be readable in one way only; .*; got {len(wanted)} readings: "
    ) as caught:
        load(path)
    found = set()
    for reading in str(caught.value).split("readings: ")[1].split(" or "):
        stated = dict(re.findall(r"(separator|decimal|header)=(\w+)", reading))
        options = {**stated, "header": stated["header"] == "True"}
        values = columns_of(path, **options)[1][:, 0]
        found.add(values.max() if values.max() == 2010 else values.min())
    assert found == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lines(lambda i: f'"s",{i},{2 * i},3', "id,a,b"),
            "must begin with a header of 4 names, .*; got 3 in the first line, 'id'",
        ),
        (lines(lambda i: f"{i},{2 * i}", "a,b") + "1,2,3\n", "must have 2 cells in every row; got 3 in row 20"),
        (lines(lambda i: f"{i * i},{i},{2 * i}", ",a,b"), "column 0 from 0` must have a name; got a column of numbers"),
        (
            lines(lambda i: f"{i},{1_000 if i else '1_000'}", "a,b"),
            r"must hold numbers, not text; got '1_000' in row 0",
        ),
        ("a,b\n" * 2, "column 'a'` must hold numbers"),
        ("a,b\n", r"must have at least 2 rows of numbers; got 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load(written(tmp_path / "t.csv", content))


def test_a_number_of_another_form_far_down_is_named(tmp_path):
    content = "a;b\n" + "".join(f"{i};{2 * i}\n" for i in range(300)) + "1,5;2\n"
    with pytest.raises(DataError, match=r"must hold numbers as the first lines do, .*; got '1,5' in row 300\. State"):
        load(written(tmp_path / "t.csv", content))
    assert load(tmp_path / "t.csv", decimal="comma").x[:, 0].max() == 299


def test_a_broken_archive_is_named(tmp_path):
    whole = gzip.compress(lines(lambda i: f"{i}.5,{2 * i}", "a,b").encode())
    with pytest.raises(DataError, match="must be a whole gzip file"):
        load(written(tmp_path / "t.csv.gz", whole[:-12]))


@pytest.mark.parametrize("option", [{"separator": ";"}, {"decimal": "."}])
def test_words_are_checked(tmp_path, option):
    (name,) = option
    with pytest.raises(ValueError, match=rf"load: `{name}` must be one of "):
        load(written(tmp_path / "t.csv", lines(lambda i: f"{i},{i * i}", "a,b")), **option)
