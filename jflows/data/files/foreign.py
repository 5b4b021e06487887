"""Files of other programs, known by their suffix or by their first bytes, and how to bring them into a form read here.

Read next: `jflows/data/load.py`; `jflows/data/files/csv.py`.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jflows.errors import DataError

LOOKED_AT = 4096  # bytes
BY_PANDAS = "Run pandas.{read}({name!r}).to_csv({stem!r}, index=False)."
IN_EXCEL = "Save it as CSV UTF-8 in Excel, or run pandas.read_excel({name!r}).to_csv({stem!r}, index=False)."
IN_R = "Run write.csv(x, {stem!r}, row.names=FALSE) in R."
AS_NPZ = "Save its arrays by np.savez({archive!r}, x=array)."
UNPACK = "Unpack it, and name the file that comes out."


class Foreign(NamedTuple):
    """What a file is, in words, and a template of what to do."""

    what: str
    fix: str


def _reader(what: str, name: str) -> Foreign:
    return Foreign(what, BY_PANDAS.replace("{read}", name))


_EXCEL = Foreign("an Excel workbook", IN_EXCEL)
_JSON = _reader("a JSON file", "read_json")
_LINES = Foreign("a file of JSON lines", "Run pandas.read_json({name!r}, lines=True).to_csv({stem!r}, index=False).")
_FEATHER = Foreign("a Feather or Arrow file", "Run pandas.read_feather({name!r}).to_parquet({parquet!r}).")
_R = Foreign("a file of R", IN_R)
_PAGE = Foreign(
    "a web page", "Fetch the file itself, or run pandas.read_html({name!r})[0].to_csv({stem!r}, index=False)."
)
_HDF = Foreign("an HDF5 file", AS_NPZ)
_ARFF = Foreign("an ARFF file", "Save it as CSV, such as by scipy.io.arff.loadarff({name!r}).")
_PICKLE = Foreign(
    "a pickle, which may run any code", "If you trust it, run pandas.read_pickle({name!r}).to_csv({stem!r})."
)
BY_SUFFIX: Mapping[str, Foreign] = MappingProxyType(
    {
        **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"), _EXCEL),
        **dict.fromkeys((".feather", ".arrow", ".ipc"), _FEATHER),
        ".json": _JSON,
        **dict.fromkeys((".ndjson", ".jsonl"), _LINES),
        **dict.fromkeys((".h5", ".hdf5", ".hdf"), _HDF),
        ".mat": Foreign("a MATLAB file", AS_NPZ),
        **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
        **dict.fromkeys((".pt", ".pth", ".safetensors", ".tfrecord"), Foreign("a file of tensors", AS_NPZ)),
        **dict.fromkeys((".rds", ".rdata", ".rda"), _R),
        ".dta": _reader("a Stata file", "read_stata"),
        ".sav": _reader("an SPSS file", "read_spss"),
        ".sas7bdat": _reader("a SAS file", "read_sas"),
        ".orc": _reader("an ORC file", "read_orc"),
        **dict.fromkeys((".db", ".sqlite", ".sqlite3"), Foreign("a database", "Write its table as CSV.")),
        **dict.fromkeys((".html", ".htm"), _PAGE),
        ".arff": _ARFF,
        **dict.fromkeys((".zip", ".tar", ".tgz", ".7z"), Foreign("a zip archive or the like", UNPACK)),
        **dict.fromkeys((".bz2",), Foreign("a bzip2 file", UNPACK)),
        **dict.fromkeys((".xz", ".zst", ".lz4"), Foreign("a compressed file", UNPACK)),
        **dict.fromkeys((".fits", ".fit"), Foreign("a FITS file", AS_NPZ)),
    }
)
_BY_BYTES: tuple[tuple[bytes, Foreign], ...] = (
    (b"\x1f\x8b", Foreign("a gzip file", "Rename it to {name}.gz.")),
    (b"BZh", BY_SUFFIX[".bz2"]),
    (b"\xfd7zXZ", BY_SUFFIX[".xz"]),
    (b"\x28\xb5\x2f\xfd", BY_SUFFIX[".zst"]),
    (b"PAR1", Foreign("a Parquet file", "Rename it to {parquet}.")),
    (b"\x93NUMPY", Foreign("a .npy file", "Rename it to {base}.npy.")),
    (b"\x89HDF", _HDF),
    (b"ARROW1", _FEATHER),
    (b"FEA1", _FEATHER),
    (b"\xd0\xcf\x11\xe0", _EXCEL),
    (b"\x89PNG", Foreign("a PNG image", "Put images into a folder, and name the folder.")),
    (b"\xff\xd8\xff", Foreign("a JPEG image", "Put images into a folder, and name the folder.")),
    (b"GIF8", Foreign("a GIF image", "Put images into a folder, and name the folder.")),
    (b"%PDF", Foreign("a PDF", "Name a file with rows of numbers.")),
    (b"SQLite format 3", BY_SUFFIX[".db"]),
    (b"MATLAB 5.0", BY_SUFFIX[".mat"]),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"RDX", _R),
    (b"version https://git-lfs", Foreign("a pointer of Git LFS", "Run git lfs pull, which fetches the file itself.")),
)
_BY_WORDS = (
    ("<!doctype html", _PAGE),
    ("<html", _PAGE),
    ("<table", _PAGE),
    ("<?xml", Foreign("an XML file", "Run pandas.read_xml({name!r}).to_csv({stem!r}, index=False).")),
    ("[{", _JSON),
    ('{"', _JSON),
    ("{\n", _JSON),
    ("@relation", _ARFF),
)


def check_suffix(path: Path, known: Iterable[str]) -> None:
    """Raises `DataError` about a file whose suffix is that of no format read here, with what it is if that is known."""
    found = BY_SUFFIX.get(path.suffix.lower()) or _by_content(path)
    rule, what = f"must be a {', '.join(known)} file, or a folder of images", f"suffix {path.suffix!r}"
    if found is not None:
        raise DataError("load", str(path), rule, found.what, _filled(found.fix, path))
    fix = (
        f"If it is a table of text, rename it to {path.name}.csv." if _is_text(path) else "Convert it to one of these."
    )
    raise DataError("load", str(path), rule, what, fix)


def check_is_text(path: Path) -> str:
    """Returns the encoding of a text file, packed by gzip or not, or raises `DataError` with what it is instead."""
    if path.suffix.lower() == ".gz":
        if _head(path)[:2] != b"\x1f\x8b":
            what, fix = _by_content(path) or _TEXT, f"Rename it to {path.stem}."
            raise DataError("load", str(path), "must be a gzip file", what.what, fix if what is _TEXT else what.fix)
        with gzip.open(path, "rb") as file:
            head = file.read(LOOKED_AT)
    else:
        head = _head(path)
        if found := _by_content(path):
            raise DataError("load", str(path), "must be a table of text", found.what, _filled(found.fix, path))
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise DataError("load", str(path), "must be text in UTF-8", "UTF-32", "Convert it by iconv -f utf-32 -t utf-8.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what Excel calls Unicode text
        return "utf-16"
    if b"\0" in head:
        every_second = head[:64].count(b"\0") > 20
        rule = "must be text in UTF-8" + ", or begin with the mark of UTF-16" * every_second
        fix = "Convert it by iconv -f utf-16 -t utf-8." if every_second else "It was cut off or damaged: write it anew."
        raise DataError("load", str(path), rule, "NUL bytes", fix)
    return "utf-8-sig"


def instead(path: Path, error: BaseException) -> tuple[str, str]:
    """What a binary file that cannot be read is instead, and what to do, for an error; `error` itself if unknown."""
    found = _by_content(path) or (_TEXT if path.stat().st_size and _is_text(path) else None)
    if path.stat().st_size == 0:
        return "an empty file", "Write it anew."
    if found is not None:
        return found.what, _filled(found.fix, path)
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip("."), "Write or fetch it anew."


_TEXT = Foreign("text", "Rename it to {base}.csv.")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LOOKED_AT)


def _is_text(path: Path) -> bool:
    head = _head(path)
    return b"\0" not in head and head.decode("utf-8", errors="ignore").encode() in (
        head,
        head[:-1],
        head[:-2],
        head[:-3],
    )


def _by_content(path: Path) -> Foreign | None:
    """What a file is by its first bytes; None for text, and for what is not known."""
    head = _head(path)
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    for start, found in _BY_BYTES:
        if head.startswith(start):
            return found
    words = head.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n").lower().replace("\r", "")
    if next((True for line in words.split("\n")[1:2] if set(line) <= set("|-: ") and "|--" in line), False):
        return Foreign("a table of Markdown", "Remove its second line, and the bars at both ends of each line.")
    first = words.partition("\n")[0].rstrip()
    if first.startswith("{") and first.endswith("}"):
        return _LINES
    if first.startswith("[["):
        return _JSON if "," in first else Foreign("an array as numpy prints it", "Save it by np.savetxt({name!r}, x).")
    return next((found for start, found in _BY_WORDS if words.startswith(start)), None)


def _zipped(path: Path) -> Foreign:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError, zlib.error):
        return Foreign("a damaged zip archive", "Fetch or write it anew.")
    if any(name.startswith("xl/") for name in names):
        return _EXCEL
    if names and all(name.endswith(".npy") for name in names):
        return Foreign("an .npz file", "Rename it to {base}.npz.")
    return Foreign("a zip archive", UNPACK)


def _filled(fix: str, path: Path) -> str:
    base = path.name.removesuffix(path.suffix)
    return fix.format(name=path.name, base=base, stem=f"{base}.csv", parquet=f"{base}.parquet", archive=f"{base}.npz")
