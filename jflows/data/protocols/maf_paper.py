"""Shared by the tables of the paper on masked autoregressive flows: splits in tenths, scaling, and errors about files.

Source: Papamakarios et al. 2017, arXiv:1705.07057, appendix D. Readers in `jflows/data/known/` take the rows and
columns that the code of the paper takes, by the same rules and in the same order.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jflows.errors import DataError, MissingPackageError

FILES_FIX = "Unpack data.tar.gz of https://zenodo.org/record/1161203 and set {manual_dir} to its folder `data`."
LICENCE = (
    "jflows does not distribute the data: the user fetches it under the terms of its source, and under those stated at "
    "https://zenodo.org/record/1161203."
)
TENTHS = "The last tenth of the rows is the test split; of the others, the last tenth is the validation split"
TEST_FRACTION = VALIDATION_FRACTION = 0.1


def split_tenths(x: np.ndarray) -> dict[str, np.ndarray]:
    """The last tenth of the rows is "test"; of the others, the last tenth is "validation"."""
    rest, test = np.split(x, [len(x) - int(TEST_FRACTION * len(x))])
    train, validation = split_validation(rest)
    return {"train": train, "validation": validation, "test": test}


def split_validation(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into all but the last tenth, and the last tenth."""
    train, validation = np.split(x, [len(x) - int(VALIDATION_FRACTION * len(x))])
    return train, validation


def standardise(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Brings each column to mean 0 and variance 1 over "train" and "validation" together."""
    known = np.concatenate([parts["train"], parts["validation"]])
    mean, std = known.mean(axis=0), known.std(axis=0)
    return {split: (x - mean) / std for split, x in parts.items()}


def missing_package(package: str, path: Path, error: ImportError) -> MissingPackageError:
    """Makes the error for a missing package that is needed to read a file."""
    return MissingPackageError(
        "load", package, f"is needed to read {path.name}", error, f"Run `pip install {package}`."
    )


def unreadable(path: Path, what: str, error: Exception) -> DataError:
    """Makes the error for a file that cannot be read."""
    got = f"{type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}"
    return DataError("load", str(path), f"must be {what}", got, "Fetch the file again.")
