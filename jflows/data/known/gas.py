"""GAS: chemical sensors in a mixture of gases, as in the MAF paper, from a file that the user fetches."""

from pathlib import Path

import numpy as np

from jflows.data.protocols.maf_paper import FILES_FIX, LICENCE, TENTHS, missing_package, split_tenths, unreadable
from jflows.data.protocols.tables import PaperTable, Splits

MAX_CORRELATION = 0.98


def read(path: Path) -> Splits:
    """Readings of 16 chemical sensors in a mixture of ethylene and CO; 8 are left.

    Of any two columns with a correlation above 0.98 the first is dropped; rows stay in the order of time.
    """
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_package("pandas", path, error) from error
    try:
        # A pickle runs code: it is trusted as much as any program that the user puts on this machine.
        frame = pandas.read_pickle(path)
        names, values = [str(name) for name in frame.columns], np.asarray(frame, np.float64)
    except Exception as error:  # whatever a damaged pickle raises
        raise unreadable(path, "a pickled table", error) from error
    keep = [i for i, name in enumerate(names) if name not in ("Time", "Meth", "Eth")]
    x = drop_correlated(values[:, keep])
    return split_tenths((x - x.mean(axis=0)) / x.std(axis=0, ddof=1))


def drop_correlated(x: np.ndarray) -> np.ndarray:
    """Drops the first column that has a correlation above 0.98 with another, until there is none."""
    while True:
        correlated = (np.corrcoef(x, rowvar=False) > MAX_CORRELATION).sum(axis=1) > 1  # with itself, always
        if not correlated.any():
            return x
        x = np.delete(x, np.flatnonzero(correlated)[0], axis=1)


DATA = PaperTable(
    name="gas",
    title="GAS, chemical sensors, 8 columns",
    licence=LICENCE,
    credit="Cite Fonollosa et al. 2015 (UCI repository), and Papamakarios et al. 2017, arXiv:1705.07057.",
    columns=tuple(f"x{i}" for i in range(8)),
    protocol=f"{TENTHS}, in the order of time; columns are standardised over all rows.",
    files=("gas/ethylene_CO.pickle",),
    files_fix=FILES_FIX,
    prepare_seconds=20,
    read=read,
)
