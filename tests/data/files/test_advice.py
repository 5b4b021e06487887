"""Every refusal of a file says what helps, and it does: a case breaks a rule, does as it is told, and reads on."""

import ast
import dataclasses
import gzip
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jflows.data
from jflows.data import load
from jflows.errors import JflowsError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")
ROOM = Path(jflows.data.__file__).parent
NUM = 20
X = np.random.RandomState(0).randn(NUM, 2).round(3)
PIXELS = np.random.RandomState(0).randint(0, 256, (4, 4, 4, 1)).astype(np.uint8)
ROWS = [f"{a},{b}" for a, b in X]
GOOD = "\n".join(["a,b", *ROWS]) + "\n"


@dataclasses.dataclass(frozen=True)
class Advice:
    """A refusal: `make` writes the files and returns the path with options; `follow` does what the error says."""

    what: str
    make: Callable[[Path], tuple[Path, dict[str, Any]]]
    says: str
    follow: Callable[[Path, Path], tuple[Path, dict[str, Any]]]


def written(path: Path, content: Any) -> Path:
    """Writes text, bytes, or what a function of the path writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one(what: str, name: str, content: Any, says: str, mended: Any, **options: Any) -> Advice:
    """One file, which is mended by options, by another content, or by both name and content."""

    def follow(folder: Path, path: Path) -> tuple[Path, dict[str, Any]]:
        if isinstance(mended, dict):
            return path, {**options, **mended}
        name, content = mended if isinstance(mended, tuple) else (path.name, mended)
        return (path.rename(folder / name) if content is None else written(folder / name, content)), options

    return Advice(what, lambda folder: (written(folder / name, content), options), says, follow)


def replaced(cell: str, row: int = 3) -> str:
    lines = GOOD.splitlines()
    lines[row + 1] = f"{cell},{lines[row + 1].split(',')[1]}"
    return "\n".join(lines) + "\n"


def array(x: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, x)

    return write


def arrays(**named: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **named)

    return write


def arrow(**named: Any) -> Callable[[Path], None]:
    return lambda path: parquet.write_table(pyarrow.table(named), path)


def picture(x: Any, mode: str | None = None, **options: Any) -> Callable[[Path], None]:
    image = Image.fromarray(np.asarray(x).squeeze())
    return lambda path: (image if mode is None else image.convert(mode)).save(path, **options)


def folder_of(what: str, files: dict[str, Any], says: str, change: Callable[[Path], Any], **options: Any) -> Advice:
    """A folder of images; `change` mends it, and may return other options."""

    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        for name, content in files.items():
            written(folder / "f" / name, content)
        return folder / "f", options

    def follow(folder: Path, path: Path) -> tuple[Path, dict[str, Any]]:
        found = change(path)
        if isinstance(found, dict) and "file" in found:
            return path / found["file"], {}
        return path, found if isinstance(found, dict) else {"split": "all"}

    return Advice(what, make, says, follow)


def pair(what: str, train: tuple[str, Any], test: tuple[str, Any], says: str, mended: Any, **options: Any) -> Advice:
    """Two files, of which the second is mended, or both by options."""

    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        other = written(folder / test[0], test[1])
        return written(folder / train[0], train[1]), {"split": "test", "test_data": other, **options}

    def follow(folder: Path, path: Path) -> tuple[Path, dict[str, Any]]:
        if isinstance(mended, dict):
            return path, {"split": "test", "test_data": folder / test[0], **mended}
        return path, {"split": "test", "test_data": written(folder / mended[0], mended[1])}

    return Advice(what, make, says, follow)


def alpha(level: int) -> Callable[[Path], None]:
    image = Image.fromarray(PIXELS[0].repeat(3, axis=-1)).convert("RGBA")
    image.putalpha(level)
    return lambda path: image.save(path)


TWICE = pyarrow.table([X[:, 0], X[:, 1], X[:, 0]], names=["a", "b", "b"])
LEAVE_OUT = {"columns": ("b",)}
TEXTS = [
    one("text", "t.csv", replaced("red"), r"not text; .*Leave it out by columns", LEAVE_OUT),
    one("a date", "t.csv", replaced("2024-01-01"), r"not dates or times; .*Leave it out", LEAVE_OUT),
    one("a missing value", "t.csv", replaced("NA"), r"drop or fill such rows", replaced("0.5")),
    one("infinity", "t.csv", replaced("inf"), r"must be finite; .*Leave it out", LEAVE_OUT),
    one("a large whole number", "t.csv", replaced(f"{2**53 + 1}"), r"or leave it out by columns", LEAVE_OUT),
    one("another decimal mark", "t.csv", "a;b\n" + "1;2\n" * 250 + "1,5;3\n", "State decimal", {"decimal": "comma"}),
    one("a late mark", "t.csv", "a;b\n" + "1;2\n" * 250 + "1,234;3\n", "state decimal", {"decimal": "point"}),
    one("a row too long", "t.csv", GOOD + "1,2,3\n", "Repair this row", GOOD + "1,2\n"),
    one("a title", "t.csv", "Title\n" + GOOD, "Remove lines above the header", GOOD),
    one("nothing", "t.csv", "", "Name a file with rows of numbers", ("good.csv", GOOD)),
    one("other comments", "t.csv", "% a b c\n" + GOOD, "or begin them with #", "# % a b c\n" + GOOD),
    one("a hash in every row", "t.csv", "k,a\n" + "".join(f"#{i},{i * i}.5\n" for i in range(NUM)), "Quote cells that",
        "k,a\n" + "".join(f'"#{i}",{i * i}.5\n' for i in range(NUM)), columns=("a",)),
    one("a header alone", "t.csv", "a,b\n", "Add some", GOOD),
    one("an open quotation", "t.csv", replaced('"1'), "Repair it", replaced('"1"')),
    one("a quotation inside", "t.csv", "a,n\n" + '1.5,"x"y"\n' * 4, "one inside a cell is written twice",
        "a,n\n" + "".join(f'{i}.5,"x""y"\n' for i in range(4)), columns=("a",)),
    one("one number or two", "t.csv", "".join(f"1,{76 + i}\n" for i in range(9)), "state separator, decimal or header",
        {"decimal": "comma"}),
    one("a late quotation", "t.csv", "a,n\n" + '1.5,"x"\n2.5,"x"\n' * 200 + '3.5,"x"y"\n', "one inside a cell is writ",
        "a,n\n" + '1.5,"x"\n2.5,"x"\n' * 200 + '3.5,"x""y"\n', columns=("a",)),
    one("Latin 1", "t.csv", GOOD.replace("a", "ä").encode("cp1252"), "iconv -f windows-1252 -t utf-8",
        GOOD.replace("a", "ä")),
    one("UTF-32", "t.csv", GOOD.encode("utf-32"), "iconv -f utf-32 -t utf-8", GOOD),
    one("UTF-16 without mark", "t.csv", GOOD.encode("utf-16-le"), "iconv -f utf-16 -t utf-8", GOOD),
    one("NUL bytes at the end", "t.csv", GOOD + "\0" * 10, "write it anew", GOOD),
    one("NUL bytes far down", "t.csv", GOOD * 1 + "\n".join(ROWS * 40) + "\n" + "\0" * 10, "write it anew", GOOD),
    one("gzip that is cut", "t.csv.gz", gzip.compress(GOOD.encode())[:-9], "Fetch or write it anew",
        gzip.compress(GOOD.encode())),
    one("no gzip", "t.csv.gz", GOOD, r"Rename it to t\.csv\.", ("t.csv", None)),
    one("gzip without suffix", "t.csv", gzip.compress(GOOD.encode()), r"Rename it to t\.csv\.gz", ("t.csv.gz", None)),
    one("Parquet by another name", "t.csv", arrow(a=X[:, 0]), r"Rename it to t\.parquet", ("t.parquet", None)),
    one(".npy by another name", "t.csv", array(X), r"Rename it to t\.npy", ("t.npy", None)),
    one("no known suffix", "t.xyz", GOOD, r"rename it to t\.xyz\.csv", ("t.xyz.csv", None)),
    one("a suffix of another program", "t.xlsx", "PK", r"to_csv\('t\.csv', index=False\)", ("t.csv", GOOD)),
    one("one name twice", "t.csv", "a,a\n" + "\n".join(ROWS), "Rename it in the file, or choose", {"columns": (0,)}),
    one("one name twice, renamed", "t.csv", "a,a\n" + "\n".join(ROWS), "Rename it in the file, or choose", GOOD),
    one("one column twice", "t.csv", GOOD, "must not repeat a column", {"columns": ("a", 1)}, columns=("a", 0)),
    one("no column", "t.csv", GOOD, "must be names or positions, such as", {"columns": ("a", "b")}, columns=()),
    one("an unknown column", "t.csv", GOOD, "It has a, b", {"columns": ("a", "b")}, columns=("a", "bb")),
    one("an unknown context", "t.csv", GOOD, "It has a, b", {"context": ("b",)}, context=("c",)),
    one("an unknown weight among some", "t.csv", GOOD, "It has a, b", {"context": ("b",)}, columns=("a",),
        context=("c",)),
    one("a context by position", "t.csv", GOOD, r"Write context=\('a', 'b'\)", {"context": ("b",)}, context=(1,)),
    one("two roles", "t.csv", GOOD, "List those of x alone", {"columns": ("a",)}, columns=("a", "b"), context=("b",)),
    one("an index of numbers", "t.csv", ",a\n" + "\n".join(ROWS), "or choose columns by columns", {"columns": (0,)}),
    one("a count among no names", "t.csv", "".join(f"{i},{i * i}.5,1.{i}\n" for i in range(NUM)),
        "Choose columns by col",
        {"columns": (1, 2)}),
]  # fmt: skip
OTHERS = [
    one("categories in Parquet", "t.parquet", arrow(a=X[:, 0], b=["x"] * NUM), "Leave it out by columns",
        {"columns": ("a",)}),
    one("null in Parquet", "t.parquet", arrow(a=X[:, 0], b=[None, *X[1:, 1]]), "Leave it out by col",
        {"columns": ("a",)}),
    one("Parquet with one name twice", "t.parquet", lambda path: parquet.write_table(TWICE, path),
        "choose columns by pos",
        {"columns": (0, 2)}),
    one("text in Parquet's place", "t.parquet", GOOD, r"Rename it to t\.csv", ("t.csv", None)),
    one("text in .npy's place", "t.npy", GOOD, r"Rename it to t\.csv", ("t.csv", None)),
    one("text in .npz's place", "t.npz", GOOD, r"Rename it to t\.csv", ("t.csv", None)),
    one(".npz in .npy's place", "t.npy", arrays(x=X), r"Rename it to t\.npz", ("t.npz", None)),
    one("one axis", "t.npy", array(X[:, 0]), r"Save x\[:, None\]", array(X[:, :1])),
    one("images in .npy", "t.npy", array(PIXELS), "Put images into an .npz file", ("t.npz", arrays(x=PIXELS))),
    one("records", "t.npy", array(np.zeros(9, [("a", float)])), "structured_to_unstructured", array(X)),
    one("objects", "t.npy", array(X.astype(object)), r"np\.save\(path, x\.astype\(float\)\)", array(X)),
    one("objects in .npz", "t.npz", arrays(x=X.astype(object)), r"Save plain arrays of numbers", arrays(x=X)),
    one("no key", "t.npz", arrays(images=PIXELS), r"np\.savez\(path, x=images\)", arrays(x=PIXELS)),
    one("an unknown key", "t.npz", arrays(x=X, lable=np.arange(NUM)), "Rename or remove", arrays(x=X,
        label=np.arange(NUM))),
    one("validation rows", "t.npz", arrays(train=X[:9], test=X[9:], x_val=X),
        "Append the validation rows to the training rows",
        arrays(train=X, test=X[9:]), split="all", num_validation=0),
    one("too few names", "t.npz", arrays(x=X, columns=["a"]), "must name its 2 columns", arrays(x=X, columns=["a",
        "b"])),
    one("two arrays for one", "t.npz", arrays(x=X, train=X), "one array for one thing; got 'x' and 'train'",
        arrays(x=X)),
    one("a share of bits", "t.npz", arrays(x=PIXELS, num_bits=2.5), "one whole number", arrays(x=PIXELS, num_bits=8)),
    one("columns of images", "t.npz", arrays(x=PIXELS), "Drop it", {"columns": None}, columns=("a",)),
    one("a context of images", "t.npz", arrays(x=PIXELS, context=PIXELS), "Leave it out", arrays(x=PIXELS)),
    one("another shape to test", "t.npz", arrays(train=X, test=X[:, :1]), "Bring them to one shape", arrays(train=X,
        test=X)),
    one("labels of one part", "t.npz", arrays(train=X, test=X, train_label=np.arange(NUM)),
        "Add or remove `test_label`",
        arrays(train=X, test=X)),
    one("an option of another format", "t.npz", arrays(x=X), "is for folders of images, .* Drop it", {"size": None},
        size=3),
]  # fmt: skip
TWO = {"0.png": picture(PIXELS[0]), "1.png": picture(PIXELS[1])}
CLASSES = {f"{part}/a/{name}": content for part in ("train", "test") for name, content in TWO.items()}
DEEP = np.arange(16, dtype=np.uint16).reshape(4, 4) * 999
FRAMES = {"save_all": True, "append_images": [Image.fromarray(PIXELS[1].squeeze())]}


def over(name: str, content: Any) -> Callable[[Path], Any]:
    return lambda path: written(path / name, content)


def moved(name: str, to: str) -> Callable[[Path], Any]:
    def move(path: Path) -> None:
        (path / to).parent.mkdir(parents=True, exist_ok=True)
        (path / name).rename(path / to)

    return move


FOLDERS = [
    folder_of("no image", {"t.csv": GOOD}, "name a file if you mean one", lambda path: {"file": "t.csv"}),
    folder_of("two training folders", {**CLASSES, "training/a/0.png": TWO["0.png"]},
        "must hold one folder of the train",
              lambda path: shutil.rmtree(path / "training")),
    folder_of("half of the splits", {"train/a/0.png": TWO["0.png"]}, "Add or rename one", over("test/a/0.png",
        TWO["1.png"])),
    folder_of("more than splits", {**CLASSES, "0.png": TWO["0.png"]}, "Move the rest",
        lambda path: (path / "0.png").unlink()),
    folder_of("images beside classes", {**TWO, "a/0.png": TWO["0.png"]}, "Move the loose images into a class folder",
              lambda path: [(path / name).rename(path / "a" / f"x{name}") for name in TWO]),
    folder_of("too deep", {"a/b/0.png": TWO["0.png"], "a/b/1.png": TWO["1.png"]}, "or name the folder above them",
              lambda path: [(path / "a/b" / name).rename(path / "a" / name) for name in TWO]),
    folder_of("a class of the test part alone", {**CLASSES, "test/b/0.png": TWO["0.png"]}, "the same class folders",
              over("train/b/0.png", TWO["0.png"]), split="test"),
    folder_of("validation twice", {**CLASSES, "val/a/0.png": TWO["0.png"]}, "Drop it, or move these images to training",
              moved("val/a/0.png", "train/a/9.png"), num_validation=1),
    folder_of("no size", TWO, r"a positive int or \(height, width\)", lambda path: {"size": 3, "split": "all"}, size=0),
    folder_of("two sizes", {**TWO, "2.png": picture(PIXELS[0][:3])}, "or set size", lambda path: {"size": 3,
        "split": "all"},
              split="all"),
    folder_of("gray and colour", {**TWO, "2.png": picture(PIXELS[0], "RGB")}, "all images to gray or all to colour",
              over("2.png", picture(PIXELS[0])), split="all"),
    folder_of("several frames", {"0.png": TWO["0.png"], "1.gif": picture(PIXELS[0], **FRAMES)}, "Save each as an image",
              lambda path: (path / "1.gif").unlink() or over("1.png", TWO["1.png"])(path), split="all"),
    folder_of("CMYK", {"0.jpg": picture(PIXELS[0], "CMYK")}, "Convert it by a colour profile",
              over("0.jpg", picture(PIXELS[0], "RGB")), split="all"),
    folder_of("16 bits", {"0.png": picture(DEEP)}, "Convert it to 8 bits", over("0.png", TWO["0.png"]), split="all"),
    folder_of("not opaque", {"0.png": alpha(9)}, "Flatten it onto a background", over("0.png", alpha(255)),
        split="all"),
    folder_of("a damaged image", {**TWO, "2.png": b"\x89PNG"}, "Remove it", lambda path: (path / "2.png").unlink(),
        split="all"),
]  # fmt: skip
TRAIN = ("t.npz", arrays(x=X))
PAIRS = [
    pair("one file twice", ("t.csv", GOOD), ("t.csv", GOOD), "must be another file", ("u.csv", GOOD)),
    pair("a part of its own", ("t.npz", arrays(train=X, test=X)), ("u.npz", arrays(x=X)), "Drop test_data",
         {"test_data": None}),
    pair("images for a table", TRAIN, ("u.npz", arrays(x=PIXELS)), "must hold table", ("u.npz", arrays(x=X))),
    pair("other columns", ("t.csv", GOOD), ("u.csv", GOOD.replace("b", "c")), "by columns", {"columns": ("a",)}),
    pair("other shapes", ("t.npz", arrays(x=PIXELS)), ("u.npz", arrays(x=PIXELS[:, :2])), "Bring both to one form",
         ("u.npz", arrays(x=PIXELS))),
    pair("labels of one", TRAIN, ("u.npz", arrays(x=X, label=np.arange(NUM))), "exactly if the training data do",
         ("u.npz", arrays(x=X))),
]  # fmt: skip


def classes(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name in ("train/a/0.png", "train/b/0.png", "test/c/0.png"):
        written(folder / name, TWO["0.png"])
    return folder / "train", {"split": "test", "test_data": folder / "test"}


def same_classes(folder: Path, path: Path) -> tuple[Path, dict[str, Any]]:
    (folder / "test/c").rename(folder / "test/b")
    return path, {"split": "test", "test_data": folder / "test"}


PAIRS.append(Advice("another class", classes, "Give both folders the same class folders", same_classes))


def table(what: str, content: Any, says: str, mended: str = "file,glasses\n0.png,yes\n") -> Advice:
    """A folder with a table of attributes, which is mended by another content."""

    def make(folder: Path) -> tuple[Path, dict[str, Any]]:
        for name, image in TWO.items():
            written(folder / "f" / name, image)
        if content is not None:
            written(folder / "a.csv", content)
        return folder / "f", {"attributes": folder / "a.csv"}

    def follow(folder: Path, path: Path) -> tuple[Path, dict[str, Any]]:
        return path, {"attributes": written(folder / "a.csv", mended)}

    return Advice(what, make, says, follow)


TABLES = [
    table("no table", None, "must be an existing .csv file"),
    table("no names", "0.png,yes\n1.png,no\n", "Write a first line such as `file,smiling,age`"),
    table("one name twice", "file,a,a\n0.png,1,0\n", "must have different names", "file,a,b\n0.png,1,0\n"),
    table("no rows", "file,a\n", "Add them below the names"),
    table("a short row", "file,a,b\n0.png,1\n", "must have 3 cells in each row", "file,a,b\n0.png,1,\n"),
    table("no such image", "file,a\nzebra.jpg,1\n", "Remove this row, or write the path", "file,a\n1.png,1\n"),
    table("an image twice", "file,a\n0.png,1\n0.png,0\n", "must have one row for one image"),
    table("another encoding", "file,größe\n0.png,1\n".encode("latin-1"), "must be a table of text in UTF-8"),
    table("an open value", "file,a\n0.png,maybe\n", "Leave the cell empty", "file,a\n0.png,\n"),
]
ADVICE = [*TEXTS, *OTHERS, *FOLDERS, *PAIRS, *TABLES]


def attempt(advice: Advice, folder: Path) -> str:
    """Breaks the rule, follows the advice, and returns the error."""
    path, options = advice.make(folder)
    with pytest.raises(JflowsError) as caught:
        load(path, **{"split": "all", **options})
    assert len(str(caught.value).splitlines()) == 1
    mended, options = advice.follow(folder, path)
    load(mended, **{"split": "all", **{name: value for name, value in options.items() if value is not None}})
    return str(caught.value)


@pytest.mark.parametrize("advice", ADVICE, ids=[advice.what for advice in ADVICE])
def test_following_the_advice_works(tmp_path, advice):
    text = attempt(advice, tmp_path)
    assert re.search(advice.says, text), text


# Refusals that no file can provoke: what this machine lacks, and arguments that are no path.
ELSEWHERE = ("is needed to read", "needs Pillow")


def refusals() -> dict[tuple[str, int, int], str]:
    """Where errors about files are made: file, first and last line."""
    found = {}
    for path in [*sorted((ROOM / "files").glob("*.py")), ROOM / "pair.py"]:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = ("DataError", "InvalidValueError", "InvalidTypeError", "bad_column", "MissingPackageError")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                source = ast.get_source_segment(text, node) or ""
                if not any(words in source for words in ELSEWHERE):
                    found[str(path), node.lineno, node.end_lineno or node.lineno] = source
    return found


def test_every_refusal_is_among_the_cases(tmp_path, monkeypatch):
    seen = set()
    make = JflowsError.__init__

    def noted(self, *args, **options):
        frame = sys._getframe(1)
        while frame is not None:
            seen.add((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        make(self, *args, **options)

    monkeypatch.setattr(JflowsError, "__init__", noted)
    for number, advice in enumerate(ADVICE):
        (tmp_path / str(number)).mkdir()
        attempt(advice, tmp_path / str(number))
    lines = lambda place: {(place[0], line) for line in range(place[1], place[2] + 1)}
    missing = [
        f"{Path(place[0]).name}:{place[1]} {text}" for place, text in refusals().items() if not lines(place) & seen
    ]
    assert not missing, "no case tries the advice of\n" + "\n".join(missing)
