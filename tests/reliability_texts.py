"""What `jflows.data.load` must do with texts written by hand, and with paths; see `reliability_cases.py`."""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.fixtures.truth import NUM
from tests.reliability_cases import COUNTED, Case, Read, Refused, T, X


def _text(rows: Any = None, header: str = "a,b,c", separator: str = ",", end: str = "\n") -> str:
    lines = [separator.join(f"{v:g}" for v in row) for row in (T if rows is None else rows)]
    return "".join(line + end for line in ([header] if header else []) + lines)


def _cell(cell: str, row: int = 5) -> str:
    """The table with this cell in column b of one row."""
    lines = _text().splitlines()
    first, _, last = lines[row + 1].split(",")
    lines[row + 1] = f"{first},{cell},{last}"
    return "\n".join(lines) + "\n"


def _comma(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


def _zip(name: str, content: str) -> bytes:
    with zipfile.ZipFile(found := io.BytesIO(), "w") as file:
        file.writestr(name, content)
    return found.getvalue()


LINES = _text().splitlines()
GZ = gzip.compress(_text().encode(), mtime=0)
WIDE = np.arange(2.0 * 10_000).reshape(2, 10_000) ** 2 % 1009
MANY = "a\tb\n" + "".join(f"{i}\t{i * i}\n" for i in range(300))
NOT = "column 'b'` must hold numbers, not "
EXCEL = "as Excel writes it"


def _by_hand(*rows: tuple) -> Iterator[Case]:
    for what, name, content, right, *rest in rows:
        options, writer = (dict(rest[0]) if rest and isinstance(rest[0], dict) else {}), "by hand"
        writer = next((each for each in rest if isinstance(each, str)), writer)
        source = (name, content.encode() if isinstance(content, str) else content)
        yield Case(what, writer, source, right, tuple(options.items()))


TEXT = _by_hand(
    ("CSV UTF-8", "t.csv", b"\xef\xbb\xbf" + _text(end="\r\n").encode(), Read(T), EXCEL),
    ("CSV of a German Excel", "t.csv", _comma(_text(end="\r\n")), Read(T, told="decimal=comma"), EXCEL),
    ("CSV with `sep=;`", "t.csv", "sep=;\r\n" + _comma(_text(end="\r\n")), Read(T, told="semicolon"), EXCEL),
    ("CSV with a byte-order mark and `sep=;`", "t.csv", "\ufeffsep=;\r\n" + _comma(_text(end="\r\n")), Read(T), EXCEL),
    ("Unicode text", "t.txt", _text(separator="\t", header="a\tb\tc", end="\r\n").encode("utf-16"), Read(T), EXCEL),
    ("UTF-16 without its mark", "t.csv", _text().encode("utf-16-le"), Refused("must be text in UTF-8.*NUL")),
    ("UTF-32", "t.csv", _text().encode("utf-32"), Refused("must be text in UTF-8")),
    ("line ends of three kinds", "t.csv", "\r".join(LINES[:9]) + "\r\n" + "\n".join(LINES[9:]), Read(T)),
    ("empty lines between", "t.csv", "\n\n".join(LINES) + "\n\n\n", Read(T)),
    ("no line end at the end", "t.csv", _text().rstrip(), Read(T)),
    ("blanks after commas", "t.csv", _text().replace(",", ", "), Read(T)),
    ("whole numbers with blanks after commas", "t.csv", _text(T[:, 1:2].repeat(2, 1) * [1, 3], "a, b", ", "),
     Read(T[:, 1:2] * [1, 3], ("a", "b"))),
    ("three decimals everywhere", "t.csv", "".join(f"{i + 1}.{i + 100},{i % 7 + 1}.{900 - i}\n" for i in range(NUM)),
     Read(np.array([[i + 1 + (i + 100) / 1000, i % 7 + 1 + (900 - i) / 1000] for i in range(NUM)]), X[:2])),
    ("zero bytes", "t.csv", "", Refused("must hold a table; got an empty file")),
    ("empty lines only", "t.csv", "\n \n\n", Refused("must hold a table; got empty lines")),
    ("a header only", "t.csv", "a,b,c\n", Refused("must have at least 2 rows of numbers; got 0")),
    ("one row", "t.csv", "a,b\n1,2\n", Refused("at least 2 rows")),
    ("one column", "t.csv", _text(T[:, :1], "a"), Read(T[:, :1], ("a",))),
    ("one column with an empty line between", "t.csv", _text(T[:5, :1], "a") + "\n" + _text(T[5:, :1], ""),
     Refused("must have no missing value.*'' in row 5")),
    ("10,000 columns", "t.csv", _text(WIDE, ",".join(f"c{i}" for i in range(10_000))),
     Read(WIDE, tuple(f"c{i}" for i in range(10_000)))),
    ("a row too long", "t.csv", _cell("1,2"), Refused("must have 3 cells in every row; got 4 in row 5")),
    ("a row too short", "t.csv", "\n".join([*LINES[:6], "1,2", *LINES[6:]]), Refused("3 cells.*got 2 in row 5")),
    ("rows longer than the header", "t.csv", _text(header="a,b"), Refused("header of 3 names.*got 2")),
    ("rows with one comma at the end more", "t.csv", _text(end=",\n", header="a,b,c"), Read(T)),
    ("a column at the end that counts, without name", "t.csv", _text(np.column_stack([T, range(NUM)]), "a,b,c,"),
     COUNTED),
    ("names in other alphabets", "t.csv", _text(header="身高,вес,عمر"), Read(T, ("身高", "вес", "عمر"))),
    ("a missing cell as a dot", "t.csv", _cell("."), Refused("column 'b'` must have no missing value.*'.' in row 5")),
    ("-999 in words: NULL", "t.csv", _cell("NULL"), Refused("must have no missing value.*'NULL' in row 5")),
    ("#N/A of Excel", "t.csv", _cell("#N/A"), Refused("must have no missing value.*'#N/A' in row 5"), EXCEL),
    ("#DIV/0! of Excel", "t.csv", _cell("#DIV/0!"), Refused(NOT + "errors of a spreadsheet.*'#DIV/0!'"), EXCEL),
    ("nan", "t.csv", _cell("nan"), Refused("must have no missing value.*'nan' in row 5")),
    ("inf", "t.csv", _cell("inf"), Refused("must be finite.*'inf' in row 5")),
    ("1e400", "t.csv", _cell("1e400"), Refused("must be finite.*'1e400' in row 5")),
    ("1e39, too large for float32", "t.csv", _cell("1e39"), Refused("must be finite in float32; got 1e\\+39 in row 5")),
    ("hexadecimal", "t.csv", _cell("0x1F"), Refused(NOT + "hexadecimal numbers.*'0x1F'")),
    ("exponents of Fortran", "t.csv", _cell("1.5D+02"), Refused(NOT + "exponents of Fortran.*'1.5D.02'")),
    ("TRUE", "t.csv", _cell("TRUE"), Refused(NOT + "truth values.*'TRUE'")),
    ("a price", "t.csv", _cell("$12.50"), Refused(NOT + "amounts of money.*'.12.50'")),
    ("a price in euros", "t.csv", _comma(_cell("12.50 €")), Refused(NOT + "amounts of money.*'12,50 €'")),
    ("a percentage", "t.csv", _cell("12.5 %"), Refused(NOT + "percentages.*'12.5 %'")),
    ("a unit", "t.csv", _cell("12.5 kg"), Refused(NOT + "numbers with a unit.*'12.5 kg'")),
    ("brackets for minus", "t.csv", _cell("(12.5)"), Refused(NOT + "numbers in brackets.*'.12.5.'")),
    ("a typographic minus", "t.csv", _cell("\u221212.5"), Refused(NOT + "numbers with a dash for a minus")),
    ("1_000", "t.csv", _cell("1_000"), Refused(NOT + "text.*'1_000'")),
    ("a fraction", "t.csv", _cell("1/2"), Refused(NOT + "fractions.*'1/2'")),
    ("German dates", "t.csv", _cell("27.02.2024"), Refused(NOT + "dates or times.*'27.02.2024'")),
    ("times of day", "t.csv", _cell("12:30"), Refused(NOT + "dates or times.*'12:30'")),
    ("a decimal comma in quotes far down", "t.csv", _cell('"1,5"'), Refused("as the (first|other) lines|" + NOT)),
    ("1,23,456 as in India", "t.csv", _cell('"1,23,456"'), Refused("column 'b'` must hold numbers.*'1,23,456'")),
    ("a row of units", "t.csv", "\n".join([LINES[0], "m,s,kg", *LINES[1:]]), Refused("not text.*'m' in row 0")),
    ("a row of sums", "t.csv", _text() + "Total,1,2\n", Refused("column 'a'` must hold numbers, not text.*row 24")),
    ("a title above the header", "t.csv", "My table\n\n" + _text(), Refused("cells in every row|first line")),
    ("two tables", "t.csv", _text() + "\n" + _text(), Refused("must hold numbers, not text.*'a' in row 24")),
    ("a byte-order mark between two files", "t.csv", _text() + "\ufeff" + _text(), Refused("not text.*in row 24")),
    ("comments by #", "t.csv", "# one\n" + _text(), Read(T)),
    ("comments by %, of MATLAB", "t.txt", "% one\n" + _text(header="", separator=" "), Refused("comments.*#")),
    ("comments by //", "t.csv", "// one\n" + _text(), Refused("comments.*#")),
    ("a row that # takes out", "t.csv", "\n".join([*LINES[:5], "#1,2,3", *LINES[5:]]),
     Read(T, told="1 line of comments")),
    ("a column of colours", "t.csv", "".join(["k,a,b\n", *(f"#ff000{i % 9},{i}.5,{i * i}\n" for i in range(NUM))]),
     Refused("24 lines? .*begin with #")),
    ("a header that begins with #", "t.csv", "#a,b,c\n" + _text(header=""), Read(T, told="names in a comment")),
    ("a text with a line that begins with #", "t.csv",
     "a,b,n\n" + "".join(f'{i}.5,{i * i},"x\n# ""y"", z"\n' for i in range(NUM)),
     Read(np.array([[i + 0.5, i * i] for i in range(NUM)]), ("a", "b")), {"columns": ("a", "b")}),
    ("a quote that never ends", "t.csv", _cell('"1'), Refused("quot")),
    ("whole numbers beyond 2^53", "t.csv", _cell(f"{2**53 + 1}", 0), Refused("float64 can hold.*in row 0")),
    ("no names, and a column that counts", "t.csv", _text(np.column_stack([range(NUM), T]), ""), Refused("an index")),
    ("one column that pandas called 0", "t.csv", "0\n" + _text(T[:, :1], ""),
     Refused("2 readings: .*header=True .0 = -3.25")),
    ("prose in a comment above numbers as names", "t.csv", "# a, b, c\n" + _text(header="0,1,2"),
     Refused("got 2 readings")),
    ("one column with a tab at each end", "t.txt", _text(T[:, :1], "a", end="\t\n"), Read(T[:, :1], ("a",))),
    ("one column of 1 234,5", "t.csv", "a\n" + "".join(f"{i + 1} {234 + i},5\n" for i in range(NUM)),
     Refused("2 readings: separator=blanks.*separator=line.*a = 1234.5")),
    ("whole numbers, and 1.234 in row 300", "t.tsv", MANY + "1.234\t5\n",
     Refused("readable in one way only.*'1.234' in row 300")),
    ("whole numbers, and 0.234 in row 300", "t.tsv", MANY + "0.234\t5\n",
     Read(np.array([*((i, i * i) for i in range(300)), (0.234, 5)]), ("a", "b"))),
    ("a title above columns of blanks", "t.txt", "My table\n" + _text(header="", separator=" "),
     Refused("header of 3 names")),
    ("bytes of zero at the end", "t.csv", _text() + "\0" * 30, Refused("NUL")),
    ("table of Markdown", "t.txt", "| a | b |\n|---|---|\n" + "".join(f"| {i}.5 | {i * i} |\n" for i in range(NUM)),
     Refused("Markdown|must hold numbers|cells in every row")),
    ("LIBSVM", "t.txt", "".join(f"1 1:{i}.5 2:{i * i}\n" for i in range(NUM)), Refused("must hold numbers, not ")),
    ("ARFF", "t.arff", "@relation r\n@attribute a real\n@data\n1\n2\n", Refused("ARFF")),
    ("a web page in place of a download", "t.csv", "<!DOCTYPE html>\n<html>404</html>\n", Refused("web page")),
    ("pointer of Git LFS", "t.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Refused("Git LFS")),
    ("JSON that is called .csv", "t.csv", '[{"a": 1}, {"a": 2}]', Refused("JSON")),
    ("JSON lines that are called .txt", "t.txt", '{"a": 1}\n{"a": 2}\n', Refused("JSON lines.*lines=True")),
    ("an array as numpy prints it", "t.txt", "[[1. 2.]\n [3. 4.]]\n", Refused("as numpy prints it.*np.savetxt")),
    ("a zip archive that is called .csv", "t.csv", _zip("t.csv", _text()), Refused("zip archive.*Unpack it")),
    ("an Excel workbook that is called .csv", "t.csv", _zip("xl/workbook.xml", ""), Refused("Excel.*CSV UTF-8")),
    ("gzip that is called .csv", "t.csv", GZ, Refused(r"gzip.*[Rr]ename it")),
    ("text that is called .csv.gz", "t.csv.gz", _text(), Refused("gzip.*[Rr]ename it")),
    ("gzip cut short", "t.csv.gz", GZ[:-12], Refused("must be a whole gzip file")),
    ("CSV that is called .parquet", "t.parquet", _text(), Refused("Parquet.*text.*[Rr]ename it")),
    ("CSV that is called .npy", "t.npy", _text(), Refused(r"\.npy.*text.*[Rr]ename it")),
    ("CSV that is called .npz", "t.npz", _text(), Refused(r"\.npz.*text.*[Rr]ename it")),
    ("CSV that is called .xls", "t.xls", _text(), Refused("Excel.*CSV UTF-8|text.*[Rr]ename it")),
    ("a picture that is called .csv", "t.csv", b"\x89PNG\r\n\x1a\n" + bytes(30), Refused("PNG image")),
    ("a zip of a CSV", "t.zip", _zip("t.csv", _text()), Refused("zip archive.*Unpack it")),
    ("a suffix of no format", "t.xyz", _text(), Refused("must be one of|suffix")),
    ("no suffix", "table", _text(), Refused("must be one of|suffix")),
)  # fmt: skip


def _places(*rows: tuple) -> Iterator[Case]:
    for what, make, right in rows:
        yield Case(what, "by hand", make, right)


def _directory(name: str, *files: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        for file in files:
            (folder / name / file).write_text(_text())
        return folder / name

    return make


def _link(to: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "real.csv").write_text(_text())
        (folder / "t.csv").symlink_to(folder / to)
        return folder / "t.csv"

    return make


def _circle(folder: Path) -> Path:
    (folder / "images").mkdir()
    for name in "abc":
        (folder / "images" / name).symlink_to(folder / "images")
    return folder / "images"


PLACES = _places(
    ("a path that leads nowhere", lambda folder: folder / "t.csv", Refused("must be an existing file or folder")),
    ("a link to a CSV", _link("real.csv"), Read(T)),
    ("a link that leads nowhere", _link("gone.csv"), Refused("must be an existing file or folder")),
    ("a link to itself", _link("t.csv"), Refused("must be an existing file or folder")),
    ("a folder with links to itself", _circle, Refused("must hold images.*got none")),
    ("a folder that is called .csv", _directory("t.csv"), Refused("must hold images.*got none")),
    ("a folder of CSV files", _directory("t.csv", "part-0.csv"), Refused("but part-0.csv.*name a file")),
    ("a name of 5,000 letters", lambda folder: folder / ("x" * 5000), Refused("must be readable.*too long")),
)

TEXTS = (*TEXT, *PLACES)
