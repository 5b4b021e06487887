"""HEPMASS: particle collisions, as in the MAF paper, from files that the user fetches."""

from pathlib import Path

import numpy as np

from jflows.data.protocols.maf_paper import FILES_FIX, LICENCE, split_validation, unreadable
from jflows.data.protocols.tables import PaperTable, Splits

MAX_REPEATS = 5  # of a column's smallest value; more, and the column is taken for discrete


def read(train_path: Path, test_path: Path) -> Splits:
    """Particle collisions of mass 1000, the signal only; 21 of 27 columns are continuous.

    The last training tenth is "validation". Columns of the test file that the training file lacks are passed over.
    """
    signal = []
    for path in (train_path, test_path):
        try:
            with train_path.open() as file:
                columns = range(len(file.readline().split(",")))
            rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
        except (ValueError, OSError) as error:
            raise unreadable(path, "a table of numbers with commas and a header", error) from error
        signal.append(rows[rows[:, 0] == 1, 1:])
    train, test = signal
    keep = [not is_discrete(column) for column in train.T]
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    train, test = (((part - mean) / std)[:, keep] for part in (train, test))
    train, validation = split_validation(train)
    return {"train": train, "validation": validation, "test": test}


def is_discrete(column: np.ndarray) -> bool:
    """Whether the smallest value comes more than 5 times."""
    return int(np.count_nonzero(column == column.min())) > MAX_REPEATS


DATA = PaperTable(
    name="hepmass",
    title="HEPMASS, particle collisions, 21 columns",
    licence=LICENCE,
    credit="Cite Baldi et al. 2016 (UCI repository), and Papamakarios et al. 2017, arXiv:1705.07057.",
    columns=tuple(f"x{i}" for i in range(21)),
    protocol=(
        "The test file is the test split, and the last tenth of the training file is the validation split; columns are "
        "standardised over the training file."
    ),
    files=("hepmass/1000_train.csv", "hepmass/1000_test.csv"),
    files_fix=FILES_FIX,
    prepare_seconds=60,
    read=read,
)
