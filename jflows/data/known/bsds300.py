"""BSDS300: patches of natural images, as in the MAF paper, from a file that the user fetches."""

from pathlib import Path

import numpy as np

from jflows.data.protocols.maf_paper import FILES_FIX, LICENCE, missing_package, unreadable
from jflows.data.protocols.tables import PaperTable, Splits
from jflows.data.splits import SPLITS


def read(path: Path) -> Splits:
    """Patches of 8x8 of natural images, 63 numbers each, as they are in the file."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_package("h5py", path, error) from error
    try:
        with h5py.File(path, "r") as file:
            return {split: np.asarray(file[split]) for split in SPLITS}
    except (OSError, KeyError) as error:
        raise unreadable(path, "an HDF5 file with `train`, `validation` and `test`", error) from error


DATA = PaperTable(
    name="bsds300",
    title="BSDS300, image patches, 63 columns",
    licence=LICENCE,
    credit="Cite Martin et al. 2001, and Papamakarios et al. 2017, arXiv:1705.07057.",
    columns=tuple(f"x{i}" for i in range(63)),
    protocol="The splits are those of the file, and so is the scale.",
    files=("BSDS300/BSDS300.hdf5",),
    files_fix=FILES_FIX,
    prepare_seconds=20,
    read=read,
)
