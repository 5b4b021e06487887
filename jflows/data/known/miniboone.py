"""MINIBOONE: neutrino events, as in the MAF paper, from a file that the user fetches."""

from pathlib import Path

import numpy as np

from jflows.data.protocols.maf_paper import FILES_FIX, LICENCE, TENTHS, split_tenths, standardise, unreadable
from jflows.data.protocols.tables import PaperTable, Splits


def read(path: Path) -> Splits:
    """Neutrino events in 43 columns; outliers and discrete columns are removed in the file already."""
    try:
        parts = split_tenths(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise unreadable(path, "an array [num, dim] written by numpy", error) from error
    return standardise(parts)


DATA = PaperTable(
    name="miniboone",
    title="MINIBOONE, neutrinos, 43 columns",
    licence=LICENCE,
    credit="Cite Roe et al. 2005 (UCI repository), and Papamakarios et al. 2017, arXiv:1705.07057.",
    columns=tuple(f"x{i}" for i in range(43)),
    protocol=f"{TENTHS}; columns are standardised over all rows but those of the test split.",
    files=("miniboone/data.npy",),
    files_fix=FILES_FIX,
    prepare_seconds=5,
    read=read,
)
