"""Ionosphere: radar returns, scored in ten folds by the RNADE paper."""

from pathlib import Path

import numpy as np

from jflows.data.protocols.tables import TenFolds
from jflows.data.store.archives import Archive
from jflows.data.store.debian import members_of
from jflows.data.store.rda import read_real_columns

ARCHIVE = Archive(
    registry="debian",
    package="r-cran-mlbench",
    version="2.1-3-1",
    file_name="r-cran-mlbench_2.1-3-1_amd64.deb",
    sha256="2f1127f7b5e7d08703b13b52ef1976a0c355a7660d6ac575e29b87b13921bc06",
    megabytes=1.0,
)
COLUMNS = tuple(f"V{i}" for i in range(3, 35))


def read(path: Path) -> np.ndarray:
    """351 radar returns, 32 columns; the first two are discrete and left out, as in the paper."""
    raw = members_of(path)["./usr/lib/R/site-library/mlbench/data/Ionosphere.rda"]
    columns = read_real_columns(raw, "Ionosphere.rda")
    return np.column_stack([columns[name] for name in COLUMNS])


DATA = TenFolds(
    name="ionosphere",
    title="Ionosphere, radar returns, 32 columns, ten folds",
    licence="The package is under the GPL, version 2; the data come from the UCI repository.",
    credit="Cite Dua and Graff, UCI Machine Learning Repository, and Uria et al. 2013, arXiv:1306.0186.",
    columns=COLUMNS,
    archive=ARCHIVE,
    read=read,
)
