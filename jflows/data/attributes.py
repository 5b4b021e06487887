"""Attributes of images: a truth value or a number for each image, under a name, by which latent directions are found.

An attribute never enters training. It is an array with one entry for each image: int8 of 1, 0 and -1 for truth values,
where -1 means that there is none, or float32 for numbers, where NaN means that there is none. Code that uses an
attribute leaves out images without a value by `has_value`, and says how many there were. Read next:
`jflows/data/files/attributes.py`, which reads them from a .csv file; `jflows/data/strokes.py`, which measures some.
"""

from collections.abc import Callable, Mapping

import numpy as np

from jflows.data.checks import as_array
from jflows.errors import DataError, kind_of

NO_VALUE = -1
"""The entry of a truth value that is not known."""

Attributes = Mapping[str, np.ndarray]
Measure = Callable[[np.ndarray], np.ndarray]
"""From images [num, height, width, channels] in [0, 1] to one number for each, float32 [num], NaN for none."""


def check_attributes(attributes: Attributes, where: str, num: int) -> dict[str, np.ndarray]:
    """Returns attributes as int8 or float32 [num], or raises `DataError` naming what is wrong."""
    kept = {}
    for name, values in attributes.items():
        argument = f"attributes[{name!r}]"
        if not isinstance(name, str) or not name.strip():
            raise DataError(where, "attributes", "must have names that are text", kind_of(name))
        array = as_array(values, where, argument)
        if array.shape != (num,) or array.dtype.kind not in "buif":
            got = f"dtype {array.dtype}, shape {array.shape}"
            raise DataError(where, argument, f"must hold truth values or numbers of shape ({num},)", got)
        if array.dtype.kind == "b" or array.dtype == np.int8:
            kept[name] = array.astype(np.int8)
            bad = np.flatnonzero(~np.isin(kept[name], (0, 1, NO_VALUE)))
            rule = f"must hold 1, 0 and {NO_VALUE} for no value, in int8"
        else:
            kept[name] = array.astype(np.float32)
            bad, rule = np.flatnonzero(np.isinf(kept[name])), "must be finite in float32, or NaN for no value"
        if bad.size:
            raise DataError(where, argument, rule, f"{array[bad[0]]} in row {bad[0]} ({bad.size} bad rows)")
    return kept


def has_value(values: np.ndarray) -> np.ndarray:
    """Which images have a value of an attribute: bool [num].

    Example:
      >>> has_value(np.array([1, -1, 0], np.int8)), has_value(np.array([0.5, np.nan]))
      (array([ True, False,  True]), array([ True, False]))
    """
    return ~np.isnan(values) if values.dtype.kind == "f" else values != NO_VALUE


def is_truth(values: np.ndarray) -> bool:
    """Whether an attribute holds truth values, not numbers."""
    return values.dtype.kind != "f"


def threshold_of(values: np.ndarray) -> float:
    """The number above which an image counts as having an attribute: the median of numbers, 0.5 of truth values.

    Images without a value are passed over.
    """
    return 0.5 if is_truth(values) else float(np.median(values[has_value(values)]))
