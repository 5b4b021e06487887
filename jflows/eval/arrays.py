"""What users hand over as an array: real numbers, or an error in the words of this library."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidValueError

MOST = 1e15  # in size: float32, in which devices compute, holds the sum of the squares of 1e8 such numbers


def real_array(where: str, argument: str, values: Any, rule: str = "must be real numbers") -> np.ndarray:
    """The values as a NumPy array of their own type: bool, an integer or a float; objects that convert are float64.

    Raises:
      InvalidValueError: if they are complex, dates, durations, text, or rows of different lengths; it has `rule`, and
        their dtype.
    """
    try:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError) as error:
        got = "objects that are no numbers, or rows of different lengths"
        raise InvalidValueError(where, argument, rule, got) from error
    is_number = array.dtype == bool or any(jnp.issubdtype(array.dtype, kind) for kind in (np.integer, np.floating))
    if not is_number or array.dtype.kind == "m":  # NumPy counts durations as integers
        raise InvalidValueError(where, argument, rule, f"{array.dtype} of shape {array.shape}")
    return array


def real_numbers(where: str, argument: str, values: Any, rule: str = "must be real numbers") -> np.ndarray:
    """The values as float64; raises as `real_array` does."""
    return real_array(where, argument, values, rule).astype(np.float64)


def spread_of(rows: np.ndarray, ddof: int = 0) -> np.ndarray:
    """The standard deviations of columns [num, dim]; exactly 0 of constant ones, which rounding would miss."""
    return np.where(rows.max(axis=0) > rows.min(axis=0), rows.std(axis=0, ddof=ddof), 0.0)


def bad_rows(flat: np.ndarray) -> str:
    """What is wrong with rows [num, dim], dim >= 1, that have NaN, infinite numbers or larger ones than 1e15; or ""."""
    ends = flat.max(axis=1).astype(np.float64), flat.min(axis=1).astype(np.float64)
    size = np.maximum(ends[0], -ends[1])  # NaN if an entry is
    for fine, what in ((np.isfinite(size), "NaN or infinite entries"), (size <= MOST, f"entries beyond {MOST:g}")):
        bad = np.flatnonzero(~fine)
        if bad.size:
            return f"{what} in {bad.size:,} of {len(flat):,} rows, the first of which is row {bad[0]}"
    return ""
