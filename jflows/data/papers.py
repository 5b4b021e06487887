"""Tables that no package registry holds, from the files published with the paper on masked autoregressive flows.

Papamakarios et al. 2017, arXiv:1705.07057, appendix D; the files are at https://zenodo.org/record/1161203. Unpack
data.tar.gz and give its folder `data` as `manual_dir`. Each reader takes the rows and columns that the code of the
paper takes, by the same rules and in the same order. Read next: `jflows/data/tables.py`, which names these data sets.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jflows.errors import DataError, MissingPackageError

Splits = Mapping[str, np.ndarray]  # split -> rows [num, dim]

TEST_FRACTION = VALIDATION_FRACTION = 0.1
MAX_CORRELATION = 0.98
MAX_REPEATS = 5  # of a column's smallest value; more, and the column is taken for discrete


def read_gas(path: Path) -> Splits:
    """GAS: readings of 16 chemical sensors in a mixture of ethylene and CO; 8 are left.

    Of any two columns with a correlation above 0.98 the first is dropped; rows stay in the order of time.
    """
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing("pandas", path, error) from error
    try:
        # A pickle runs code: it is trusted as much as any program that the user puts on this machine.
        frame = pandas.read_pickle(path)
        names, values = [str(name) for name in frame.columns], np.asarray(frame, np.float64)
    except Exception as error:  # whatever a damaged pickle raises
        raise _unreadable(path, "a pickled table", error) from error
    keep = [i for i, name in enumerate(names) if name not in ("Time", "Meth", "Eth")]
    x = drop_correlated(values[:, keep])
    return split_tenths((x - x.mean(axis=0)) / x.std(axis=0, ddof=1))


def read_hepmass(train_path: Path, test_path: Path) -> Splits:
    """HEPMASS: particle collisions of mass 1000, the signal only; 21 of 27 columns are continuous.

    The last training tenth is "validation". Columns of the test file that the training file lacks are passed over.
    """
    signal = []
    for path in (train_path, test_path):
        try:
            with train_path.open() as file:
                columns = range(len(file.readline().split(",")))
            rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns, ndmin=2)
        except (ValueError, OSError) as error:
            raise _unreadable(path, "a table of numbers with commas and a header", error) from error
        signal.append(rows[rows[:, 0] == 1, 1:])
    train, test = signal
    keep = [not is_discrete(column) for column in train.T]
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    train, test = (((part - mean) / std)[:, keep] for part in (train, test))
    num = len(train) - int(VALIDATION_FRACTION * len(train))
    return {"train": train[:num], "validation": train[num:], "test": test}


def read_miniboone(path: Path) -> Splits:
    """MINIBOONE: neutrino events in 43 columns; outliers and discrete columns are removed in the file already."""
    try:
        parts = split_tenths(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise _unreadable(path, "an array [num, dim] written by numpy", error) from error
    return standardise(parts)


def read_bsds300(path: Path) -> Splits:
    """BSDS300: patches of 8x8 of natural images, 63 numbers each, as they are in the file."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing("h5py", path, error) from error
    try:
        with h5py.File(path, "r") as file:
            return {split: np.asarray(file[split]) for split in ("train", "validation", "test")}
    except (OSError, KeyError) as error:
        raise _unreadable(path, "an HDF5 file with `train`, `validation` and `test`", error) from error


def drop_correlated(x: np.ndarray) -> np.ndarray:
    """Drops the first column that has a correlation above 0.98 with another, until there is none."""
    while True:
        correlated = (np.corrcoef(x, rowvar=False) > MAX_CORRELATION).sum(axis=1) > 1  # with itself, always
        if not correlated.any():
            return x
        x = np.delete(x, np.flatnonzero(correlated)[0], axis=1)


def is_discrete(column: np.ndarray) -> bool:
    """Whether the smallest value comes more than 5 times."""
    return int(np.count_nonzero(column == column.min())) > MAX_REPEATS


def split_tenths(x: np.ndarray) -> dict[str, np.ndarray]:
    """The last tenth of the rows is "test"; of the others, the last tenth is "validation"."""
    rest, test = np.split(x, [len(x) - int(TEST_FRACTION * len(x))])
    train, validation = np.split(rest, [len(rest) - int(VALIDATION_FRACTION * len(rest))])
    return {"train": train, "validation": validation, "test": test}


def standardise(parts: Splits) -> Splits:
    """Brings each column to mean 0 and variance 1 over "train" and "validation" together."""
    known = np.concatenate([parts["train"], parts["validation"]])
    mean, std = known.mean(axis=0), known.std(axis=0)
    return {split: (x - mean) / std for split, x in parts.items()}


def _missing(package: str, path: Path, error: ImportError) -> MissingPackageError:
    return MissingPackageError(
        "load", package, f"is needed to read {path.name}", error, f"Run `pip install {package}`."
    )


def _unreadable(path: Path, what: str, error: Exception) -> DataError:
    got = f"{type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}"
    return DataError("load", str(path), f"must be {what}", got, "Fetch the file again.")
