"""Rows that a test of a flow takes: of a flow with one latent space, without weights, so many as are asked for."""

import numpy as np

from jflows.data import Data
from jflows.errors import DataError, InvalidValueError
from jflows.flows import Density

LEAST_ROWS = 20


def check_testable(where: str, density: Density, rows: Data) -> None:
    """Raises `InvalidValueError` unless the density has one latent space, and rows count alike; nothing is computed."""
    if not density.encodes:
        rule = "must be that of a flow: a mixture of flows has no single latent space"
        raise InvalidValueError(where, "run", rule, None, "Try `jflows evaluate`.")
    if not rows.kind.has_rows:
        raise InvalidValueError(where, "run", "must be that of data, or {data} must name some", "a run without data")
    if rows.weight is not None:
        rule, fix = "must be none, as the tests count all rows alike", "Pass {weight=none}."
        raise InvalidValueError(where, "weight", rule, "rows with weights", fix)


def chosen_rows(where: str, rows: Data, num: int, seed: int) -> Data:
    """`num` rows by the seed, in their order; raises unless there are so many, and at least 20."""
    if len(rows) < LEAST_ROWS:
        fix = "Name other data by {data}."
        raise DataError(where, "data", f"must have at least {LEAST_ROWS} rows", f"{len(rows)} of {rows.name!r}", fix)
    if not LEAST_ROWS <= num <= len(rows):
        rule = f"must be {LEAST_ROWS} to {len(rows)}, as {rows.name!r} has {len(rows)} rows here"
        raise InvalidValueError(where, "num", rule, num, "Ask for fewer, or name other data by {data}.")
    return rows.take(np.sort(np.random.RandomState(seed % 2**32).permutation(len(rows))[:num]))


def check_finite(where: str, values: np.ndarray, rows: Data, what: str) -> None:
    """Raises `DataError` unless values [num, ...] of all rows are finite."""
    bad = int((~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).sum())
    if bad:
        rule, fix = f"must have {what} that are finite", "Choose another {checkpoint}, or train anew."
        raise DataError(where, "data", rule, f"{bad:,} rows of {len(values):,} without in {rows.name!r}", fix)
