"""Attributes of a folder of images, from a .csv file, good and bad."""

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import DataError, InvalidValueError
from jflows.runs.data import DataConfig

Image = pytest.importorskip("PIL.Image")
NAMES = [f"{person}/{number}.png" for person in ("ann", "bob") for number in range(4)]
HEAD = "file,glasses,age\n"


@pytest.fixture
def folder(tmp_path):
    for value, name in enumerate(NAMES):
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 10 * value, np.uint8)).save(tmp_path / "people" / name)
    return tmp_path / "people"


def write(folder, text, name="faces.csv"):
    (folder.parent / name).write_text(text)
    return folder.parent / name


def test_attributes_belong_to_their_images_in_every_split(folder):
    rows = [f"{name},{'yes' if value % 2 else 'no'},{value}" for value, name in enumerate(NAMES)]
    table = write(folder, HEAD + "\n".join(rows[::-1]))
    whole = load(folder, "all", attributes=table)
    assert whole.attributes["glasses"].tolist() == [0, 1] * 4 and whole.attributes["age"].tolist() == list(range(8))
    for split in ("train", "validation", "test"):
        data = load(folder, split, attributes=table, num_validation=2)
        value = data.x[:, 0, 0, 0] // 10
        assert data.attributes["age"].tolist() == value.tolist()
        assert data.attributes["glasses"].tolist() == (value % 2).tolist()


def test_images_without_a_row_and_empty_cells_have_no_value(folder):
    data = load(folder, "all", attributes=write(folder, "file;glasses;age\r\n./ann/1.png;TRUE;31\r\nbob/0.png;;NA\r\n"))
    assert data.attributes["glasses"].tolist() == [-1, 1, -1, -1, -1, -1, -1, -1]
    assert data.attributes["age"][1] == 31 and np.isnan(data.attributes["age"][[0, 4]]).all()


def test_a_table_inside_the_folder_is_no_file_that_is_passed_over(folder):
    table = write(folder, HEAD + "ann/0.png,1,2\n", "people/ann/faces.csv")
    assert load(folder, "all", attributes=table).attributes["glasses"][0] == 1  # a warning would be an error here


def test_the_recipe_of_a_run_names_the_table(folder, monkeypatch):
    write(folder, HEAD + "ann/0.png,1,2\n")
    monkeypatch.chdir(folder.parent)
    config = DataConfig(name="people", attributes="faces.csv").located()
    assert config.attributes == str(folder.parent / "faces.csv")
    assert config.load("train").attribute_names == ("glasses", "age")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "ann/9.png,1,2\n", r"rows of images of the folder only; got 'ann/9.png' in row 0\. Did you mean ann/"),
        (HEAD + "zebra,1,2\n", r"got 'zebra' in row 0\. Remove this row, or write the path of the image inside"),
        (HEAD + "ann/0.png,1,2\nann/0.png,0,2\n", "must have one row for one image; got two of 'ann/0.png'"),
        (HEAD + "ann/0.png,1\n", "must have 3 cells in each row; got 2 in row 0"),
        (
            HEAD + "ann/0.png,maybe,2\n",
            r"column 'glasses'` must hold truth values, such as yes and no, or numbers; got",
        ),
        (HEAD + "ann/0.png,1,inf\n", "column 'age'` must hold truth values, .* got 'inf'"),
        (HEAD, "must have a row for each image; got none"),
        ("image,glasses\nann/0.png,1\n", r"of which the first is `file`; got 'image,glasses'\. Write a first line"),
        ("file,a,a\nann/0.png,1,1\n", "must have different names of columns; got file, a, a"),
        ("", "must begin with a line of names"),
    ],
)
def test_bad_tables_are_named(folder, text, message):
    with pytest.raises(DataError, match=message):
        load(folder, attributes=write(folder, text))


def test_where_a_table_does_not_belong(folder, tmp_path):
    with pytest.raises(DataError, match=r"`attributes` must be an existing \.csv file; got '.*absent\.csv'"):
        load(folder, attributes=tmp_path / "absent.csv")
    table = write(folder, HEAD + "ann/0.png,1,2\n")
    with pytest.raises(InvalidValueError, match="`attributes` is for folders of images, not for 'two_moons'"):
        load("two_moons", attributes=table)
    with pytest.raises(
        InvalidValueError, match="`attributes` must be left out with test_data; .*as `train` and `test`"
    ):
        load(folder, test_data=folder / "ann", attributes=table)
    table.write_bytes(b"file,a\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="must be a table of text in UTF-8"):
        load(folder, attributes=table)
