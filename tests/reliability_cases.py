"""What `jflows.data.load` must do with each kind of input: the right outcome, written down before it was run.

Here are the files of other programs, which are in tests/fixtures, whose `make.py` had them written. Read next:
`reliability_texts.py`, which has those written by hand; `reliability.py`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fixtures.truth import COLUMNS, NUM, pixels, truth

T, PIXELS, GRAY = truth(), pixels(), pixels(1)
X = ("x0", "x1", "x2")


class Read(NamedTuple):
    """The data that must come out: values within `tolerance`, columns, and words of what is told."""

    values: np.ndarray
    columns: tuple[str, ...] = COLUMNS
    told: str = ""
    label: tuple[int, ...] | None = None
    tolerance: float = 0.0


class Refused(NamedTuple):
    """The pattern of the line that must come out."""

    pattern: str


class Case(NamedTuple):
    """One kind of input: what it is, who wrote it, its fixture, its content or its maker, and what must come of it."""

    what: str
    writer: str
    source: str | tuple[str, bytes] | Callable[[Path], Path]
    right: Read | Refused
    options: tuple[tuple[str, Any], ...] = ()


def _cases(writer: str, folder: str, *rows: tuple) -> Iterator[Case]:
    for what, name, right, *options in rows:
        yield Case(what, writer, f"{folder}/{name}", right, tuple(options[0].items()) if options else ())


COUNTED = Read(T, told="counts the rows, left out")
NAMED_ROWS = Read(T, told="names of rows left out")
THIN = [("no-break", "thousands_no_break.csv"), ("narrow no-break", "thousands_narrow.tsv")]
PANDAS = _cases(
    "pandas",
    "pandas",
    ("CSV with the index", "index.csv", COUNTED),
    ("CSV without the index", "plain.csv", Read(T)),
    ("CSV with semicolons and decimal commas", "german.csv", Read(T, told="separator=semicolon, decimal=comma")),
    ("TSV", "tabs.tsv", Read(T, told="separator=tab")),
    ("CSV in gzip", "packed.csv.gz", Read(T)),
    ("CSV in bzip2", "packed.csv.bz2", Refused("bzip2.*Unpack it")),
    ("CSV whose columns are called 0, 1, 2", "numbered.csv", Refused("readable in one way.*got 2 readings")),
    ("the same, with `header=True`", "numbered.csv", Read(T, ("0", "1", "2")), {"header": True}),
    ("CSV without header", "headless.csv", Read(T, X)),
    ("CSV without header, with the index", "headless_index.csv", Refused("counts the rows.*[Cc]hoose columns")),
    ("the same, with `columns`", "headless_index.csv", Read(T, ("x1", "x2", "x3")), {"columns": (1, 2, 3)}),
    ("CSV of exponents", "exponents.csv", Read(T)),
    ("CSV with every cell in quotes", "quoted.csv", Read(T)),
    ("TSV in UTF-16", "utf16.txt", Read(T, told="separator=tab")),
    ("CSV with a name in UTF-8", "umlaut.csv", Read(T, ("Größe", "b", "c"))),
    ("CSV with a name in Windows-1252", "latin1.csv", Refused("must be text in UTF-8")),
    ("CSV with one name twice", "twice.csv", Refused("must be 3 different names")),
    ("the same, with `columns`", "twice.csv", Read(T[:, :2], ("a", "b")), {"columns": (0, 1)}),
    ("CSV with two rows of headers", "two_headers.csv", Refused("must hold numbers, not text.*'a' in row 0")),
    ("CSV with missing cells", "missing.csv", Refused("column 'a'` must have no missing value.*'' in row 5")),
    ("CSV of one column with a missing cell", "missing_alone.csv", Refused("must have no missing value.*row 5")),
    ("CSV with a column of True and False", "flags.csv", Refused("not truth values.*'False' in row 0")),
    ("CSV with dates", "days.csv", Refused("not dates or times.*'2024-02-27' in row 0")),
    ("CSV with text of two lines", "newlines.csv", Refused("column 'note'` must hold numbers, not text")),
    ("the same, with `columns`", "newlines.csv", Read(T), {"columns": COLUMNS}),
    ("CSV with 1,000.5", "thousands.csv", Read(T, told="commas between thousands")),
    ("CSV with 1,000, which may be 1", "thousands_open.csv", Refused("one way.*decimal=point.* or .*decimal=comma")),
    (
        "the same, with `decimal`",
        "thousands_open.csv",
        Read(np.column_stack([T[:, 1], T[:, 2].round()]), ("b", "c")),
        {"decimal": "point"},
    ),
    ("CSV with 5%", "percent.csv", Refused("column 'share'` must hold numbers, not percentages.*'2%' in row 0")),
    ("`to_string`, aligned by blanks", "printed.txt", NAMED_ROWS),
    ("web page, `to_html`", "page.html", Refused("web page")),
    ("web page that is called .csv", "page.csv", Refused("web page")),
    ("Parquet", "plain.parquet", Read(T)),
    ("Parquet with an index that counts", "index.parquet", COUNTED),
    ("Parquet with an index of numbers", "index_of_numbers.parquet", Refused("must have a name")),
    ("Parquet with categories", "kinds.parquet", Refused("column 'kind'` must hold numbers, not categories")),
    ("Parquet with dates", "days.parquet", Refused("column 'day'` must hold numbers, not dates or times")),
    ("Parquet with nullable whole numbers, one missing", "nullable.parquet", Refused("no missing value.*row 0")),
    (
        "Parquet with nullable whole numbers, all there",
        "nullable_full.parquet",
        Read(np.column_stack([T, np.arange(NUM)]), (*COLUMNS, "n")),
    ),
    ("Parquet with True and False", "flags.parquet", Refused("column 'flag'` must hold numbers, not truth values")),
    ("Feather", "frame.feather", Refused("Feather.*to_parquet")),
    ("JSON", "frame.json", Refused("JSON.*to_csv")),
    ("pickle", "frame.pkl", Refused("pickle.*to_csv")),
    ("Stata", "frame.dta", Refused("Stata.*to_csv")),
    ("Excel workbook, by openpyxl", "book.xlsx", Refused("Excel.*CSV UTF-8.*to_csv")),
)
POLARS = _cases(
    "polars",
    "polars",
    ("CSV", "plain.csv", Read(T)),
    ("CSV with a byte-order mark and Windows line ends", "windows.csv", Read(T)),
    ("CSV with semicolons and decimal commas", "decimal_comma.csv", Read(T, told="separator=semicolon, decimal=comma")),
    ("text with bars", "bars.txt", Read(T, told="separator=bar")),
    ("CSV with a missing cell", "missing.csv", Refused("column 'b'` must have no missing value.*'' in row 0")),
    (
        "CSV with a column that counts and has a name",
        "row_index.csv",
        Read(np.column_stack([np.arange(NUM), T]), ("index", *COLUMNS)),
    ),
    ("Parquet", "plain.parquet", Read(T)),
    ("Parquet with decimals", "decimals.parquet", Read(T[:, [0, 2]], ("a", "decimals"))),
    ("Parquet in float32", "single.parquet", Read(T[:, [0, 0]], ("a", "single"))),
    ("Parquet in uint8", "small.parquet", Read(T[:, [0, 1]], ("a", "small"))),
    ("Parquet with categories", "kinds.parquet", Refused("column 'kinds'` must hold numbers, not categories")),
    ("Parquet with lists", "lists.parquet", Refused("column 'lists'` must hold numbers, not lists")),
    ("Parquet with structures", "structs.parquet", Refused("column 'structs'` must hold numbers, not structures")),
    ("Parquet with True and False", "flags.parquet", Refused("column 'flags'` must hold numbers, not truth values")),
    ("Parquet with a null", "nulls.parquet", Refused("column 'nulls'` must have no missing value.*null in row 0")),
    ("Parquet with times", "times.parquet", Refused("column 'times'` must hold numbers, not dates or times")),
    ("Parquet with text", "words.parquet", Refused("column 'words'` must hold numbers, not text")),
    ("the same, with `columns`", "words.parquet", Read(T[:, :1], ("a",)), {"columns": ("a",)}),
    ("Arrow", "frame.arrow", Refused("Arrow.*to_parquet|Arrow.*write_parquet")),
    ("JSON lines", "frame.ndjson", Refused("JSON.*to_csv")),
)
ARROW = _cases(
    "pyarrow",
    "arrow",
    ("CSV", "plain.csv", Read(T)),
    ("Parquet with one name twice", "twice.parquet", Refused("must be 3 different names")),
    ("the same, with `columns`", "twice.parquet", Read(T[:, [0, 2]], ("a", "b")), {"columns": (0, 2)}),
    ("Parquet in float16", "half.parquet", Read(T)),
    ("Parquet with a dictionary of numbers", "dictionary.parquet", Read(T[:, [0, 1, 2, 1]], (*COLUMNS, "n"))),
    ("Parquet without rows", "empty.parquet", Refused("at least 2 rows")),
    ("Parquet with an index called index, by fastparquet", "fastparquet.parquet", COUNTED),
    ("Parquet that is called .csv", "parquet_in_truth.csv", Refused("Parquet.*[Rr]ename it")),
)
NUMPY = _cases(
    "numpy",
    "numpy",
    ("`savetxt`", "plain.txt", Read(T, X, "separator=blanks")),
    ("`savetxt` with names in a comment", "named.csv", Read(T, told="names in a comment")),
    ("`savetxt` with a header", "header.csv", Read(T)),
    ("`savetxt` of whole numbers", "whole.dat", Read(np.floor(T[:, 1:]), X[:2])),
    ("`savetxt` of one column with three decimals", "column.txt", Read(T[:, :1], X[:1])),
    ("`savetxt` of complex numbers", "complex.txt", Refused("must hold numbers, not complex numbers")),
    ("`savetxt` in gzip", "packed.txt.gz", Read(T, X)),
    (".npy", "plain.npy", Read(T, X)),
    (".npy, big-endian and in the order of Fortran", "fortran.npy", Read(T, X)),
    (".npy of one axis", "one_axis.npy", Refused(r"must be \[num, dim\]; got shape \(24,\).*x\[:, None\]")),
    (".npy of records", "records.npy", Refused("records.*structured_to_unstructured")),
    (".npy of objects", "objects.npy", Refused("without pickles.*astype")),
    (".npy of truth values", "flags.npy", Refused("must hold real numbers; got dtype bool")),
    (".npy of complex numbers", "complex.npy", Refused("must hold real numbers; got dtype complex128")),
    (".npy of dates", "days.npy", Refused("must hold real numbers; got dtype datetime64")),
    (".npz of a table with names", "plain.npz", Read(T)),
    (".npz with parts", "parts.npz", Read(T, X)),
    (".npz of an array without name", "positional.npz", Refused(r"must have an array `x`.*'arr_0'.*np\.savez")),
    (
        ".npz with a key that means nothing",
        "unknown_key.npz",
        Refused("must have no key but.*'lable'.*Rename or remove"),
    ),
    (".npz of images with labels", "images.npz", Read(PIXELS, (), label=(0, 1, 1, 0))),
    (".npz of images, channels first", "channels_first.npz", Refused("must have its channels last.*moveaxis")),
    (".npz of images in [0, 1]", "shares.npz", Refused("must hold integers.*dtype float64.*round")),
    (".npz of a sparse matrix, by scipy", "sparse.npz", Refused("must have an array `x`.*got keys")),
    ("MATLAB, by scipy", "frame.mat", Refused("MATLAB.*np.savez")),
    ("HDF5, by h5py", "frame.h5", Refused("HDF5.*np.savez|HDF5.*to_csv")),
)
R = _cases(
    "R",
    "r",
    ("`write.csv` without row names", "plain.csv", Read(T)),
    ("`write.csv`", "row_names.csv", COUNTED),
    ("`write.csv2` without row names", "german.csv", Read(T, told="separator=semicolon, decimal=comma")),
    ("`write.csv2`", "german_row_names.csv", COUNTED),
    ("`write.table`", "table.txt", NAMED_ROWS),
    ("`write.table` with tabs, without quotes", "unquoted.tsv", NAMED_ROWS),
    ("`write.table` with `col.names = NA`", "corner.tsv", COUNTED),
    ("`write.table` without any names", "headless.txt", Read(T, X)),
    ("`write.csv` with text as row names", "cars.csv", NAMED_ROWS),
    ("`write.table` with text as row names", "cars.txt", NAMED_ROWS),
    ("`write.csv` with NA", "missing.csv", Refused("column 'b'` must have no missing value.*'NA' in row 5")),
    ("`write.csv` with Inf", "infinite.csv", Refused("must be finite.*(Inf|infinity).* in row 5")),
    ("`write.csv` with a column of TRUE and FALSE", "flags.csv", Refused("not truth values.*'FALSE' in row 0")),
    ("`write.csv` with a factor", "factor.csv", Refused("column 'kind'` must hold numbers, not text")),
    ("`format` with blanks between thousands", "thousands_blanks.csv", Read(T, told="blanks between thousands")),
    *((f"`format` with {w} blanks", name, Read(T, told="blanks between thousands")) for w, name in THIN),
    ("`format` with 1'000.5", "thousands_swiss.csv", Read(T, told="apostrophes between thousands")),
    ("`format` with 1.000,5", "thousands_points.csv", Read(T, told="points between thousands")),
    ("`format` with 1,000.5", "thousands_commas.csv", Read(T, told="commas between thousands")),
    ("`print` into a file", "printed.txt", NAMED_ROWS),
    ("`saveRDS`", "frame.rds", Refused("R.*write.csv")),
    ("`save`", "frame.RData", Refused("R.*write.csv")),
)
PILLOW = _cases(
    "Pillow",
    "pillow",
    ("PNG in colour", "colour_png", Read(PIXELS, ())),
    ("PNG in gray", "gray_png", Read(GRAY, ())),
    ("BMP in gray", "gray_bmp", Read(GRAY, ())),
    ("TIFF in colour", "colour_tiff", Read(PIXELS, ())),
    ("WebP without loss", "lossless_webp", Read(PIXELS, ())),
    ("PNG with an alpha channel that is opaque", "opaque_png", Read(PIXELS, ())),
    ("PNG with an alpha channel that is not", "transparent_png", Refused("must be opaque.*[Ff]latten")),
    ("PNG in gray with an opaque alpha channel", "gray_alpha_png", Read(GRAY, ())),
    ("PNG with a palette", "palette_png", Read(GRAY.repeat(3, axis=-1), ())),
    ("JPEG in CMYK", "cmyk_jpg", Refused("must be gray or RGB.*CMYK.*Convert")),
    ("TIFF in CMYK", "cmyk_tiff", Refused("must be gray or RGB.*CMYK.*Convert")),
    ("PNG of one bit", "bits_png", Read(255 * (GRAY > 100), ())),
    ("PNG of 16 bits in gray", "deep_png", Refused("must have 8 bits per channel")),
    ("TIFF of floats", "floats_tiff", Refused("must have 8 bits per channel.*'F'")),
    ("GIF that moves", "animated_gif", Refused("must hold one image; got 4 frames")),
    ("PNG that moves", "animated_png", Refused("must hold one image; got 4 frames")),
    ("TIFF of several pages", "animated_tiff", Refused("must hold one image; got 4 frames")),
    ("JPEG that EXIF turns", "turned_jpg", Read(np.rot90(GRAY, -1, (1, 2)), (), tolerance=3)),
    ("PNGs of several sizes", "sizes", Refused(r"must have the shape of 0\.png, \(4, 4, 1\).*set size")),
    ("folders named 1, 9, 10", "classes", Read(
        np.concatenate([GRAY // 4 + 128, GRAY // 4 + 64, GRAY // 4]), (), label=(0,) * 4 + (1,) * 4 + (2,) * 4)),
)  # fmt: skip
LUMA = np.round(PIXELS @ [0.212656, 0.715158, 0.072186])[..., None]
MAGICK = _cases(
    "ImageMagick",
    "magick",
    ("PNG of 16 bits in colour", "deep_png", Refused("must have 8 bits per channel")),
    ("GIF with a palette", "palette_gif", Read(PIXELS, ())),
    ("PNG with a palette", "palette_png", Read(PIXELS, ())),
    ("PNG in gray", "gray_png", Read(LUMA, (), tolerance=1)),
    ("PGM", "pgm", Read(LUMA, (), tolerance=1)),
    ("PPM as text", "plain_ppm", Read(PIXELS, ())),
    ("PPM of 16 bits", "deep_ppm", Refused("must have 8 bits per channel")),
    ("BMP", "bmp", Read(PIXELS, ())),
    ("TIFF with LZW", "lzw_tiff", Read(PIXELS, ())),
    ("TIFF of 16 bits in colour", "deep_tiff", Refused("must have 8 bits per channel")),
    ("JPEG in CMYK", "cmyk_jpg", Refused("must be gray or RGB.*CMYK.*Convert")),
    ("PNG that is half transparent", "clear_png", Refused("must be opaque.*[Ff]latten")),
    ("PNG that is interlaced", "interlaced_png", Read(PIXELS, ())),
    ("GIF that moves", "animated_gif", Refused("must hold one image; got 4 frames")),
)

CASES = (*PANDAS, *POLARS, *ARROW, *NUMPY, *R, *PILLOW, *MAGICK)
