"""Contexts of samples: given by name, as an array, or as the rows of a file.

Read next: `jflows/runs/trained.py`, whose `sample` takes them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jflows.data.load import options_of
from jflows.data.splits import ALL
from jflows.errors import DataError, InvalidValueError, did_you_mean
from jflows.runs.data import DataConfig
from jflows.typing import Shape

Given = Mapping[str, float] | str | os.PathLike[str] | ArrayLike
"""A value for each name, the path of a table with columns of these names, or an array [c] or [num, c]."""


def parsed(text: str) -> dict[str, float] | Path:
    """What the command line gives: "a=1,b=2.5" as values by name, or else the path of a file.

    Raises:
      InvalidValueError: if a value is no number, or a name is given twice.
    """
    exists = bool(text.strip()) and Path(text).expanduser().exists()
    if exists or ("=" not in text and Path(text).suffix):
        return Path(text)
    values: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.rpartition("="))
        try:
            number = float(value)
        except ValueError:
            rule, fix = "must be values by name, or the path of a table", "Write a=1,b=2.5."
            raise InvalidValueError("sample", "context", rule, repr(text), fix) from None
        if name in values:
            raise InvalidValueError("sample", "context", "must give one value for a name", f"{name} twice")
        values[name] = number
    return values


def contexts_of(given: Given, shape: Shape, names: Sequence[str], config: DataConfig) -> np.ndarray:
    """The contexts that were given, as float32 [1 or num, *shape].

    Args:
      given: see `Given`.
      shape: shape of one context of the flow.
      names: names of its entries; () where they have none.
      config: the data of the run, which say how text files are written.
    Raises:
      InvalidValueError: if names, shape or values do not fit.
      DataError: if a file cannot be read, or lacks a column.
    """
    if isinstance(given, Mapping):
        values = _by_name(given, names)
    elif isinstance(given, str | os.PathLike):
        values = _of_file(os.fspath(given), names, config)
    else:
        values = np.asarray(given)
    if values.ndim == len(shape):
        values = values[None]
    if values.shape[1:] != tuple(shape) or not len(values) or values.dtype.kind not in "uif":
        rule = f"must be numbers of shape {tuple(shape)}, or [num, ...] of this shape"
        raise InvalidValueError("sample", "context", rule, f"{values.dtype} of shape {values.shape}")
    with np.errstate(over="ignore"):  # reported just below
        kept = values.astype(np.float32)
    if not np.isfinite(kept).all():
        raise InvalidValueError("sample", "context", "must be finite in float32", f"{values[~np.isfinite(kept)][0]}")
    return kept


def contexts_in_words(values: np.ndarray, names: Sequence[str]) -> str:
    """Contexts [num, c] as "a=1, b=2.5", or "given contexts" if there are several, or no names."""
    if len(values) > 1 or values.ndim != 2 or not names:
        return "given contexts"
    return ", ".join(f"{name}={value:.4g}" for name, value in zip(names, values[0], strict=True))


def _by_name(given: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    _check_named(names)
    wrong = [name for name in (*given, *names) if name not in names or name not in given]
    if wrong:
        hint = did_you_mean(wrong[0], names) if wrong[0] in given else ""
        rule = f"must give a value for each of {', '.join(names)}, and for no other"
        raise InvalidValueError("sample", "context", rule, ", ".join(given) or "none", hint.strip())
    return np.array([given[name] for name in names])


def _of_file(path: str, names: Sequence[str], config: DataConfig) -> np.ndarray:
    _check_named(names)
    taken = options_of(path)
    stated = {"separator": config.separator, "decimal": config.decimal, "header": config.header}
    dialect: dict[str, Any] = {name: value if name in taken else None for name, value in stated.items()}
    own = DataConfig(name=path, columns=tuple(names), **dialect)
    try:
        return own.load(ALL).x
    except InvalidValueError as error:
        if error.settings != ("columns",):
            raise
        rule = f"must have the columns of the contexts of the run, {', '.join(names)}"
        raise DataError("sample", "context", rule, error.got, error.fix) from error
    except DataError as error:
        if error.settings != ("x",) or "at least 2 rows" not in error.rule:
            raise
        rule, fix = "must be a table of at least 2 rows", "Write a single context by its names, such as a=1,b=2.5."
        raise DataError("sample", "context", rule, f"{error.got} in {path}", fix) from error


def _check_named(names: Sequence[str]) -> None:
    if not names:
        rule = "must be an array in Python, as the contexts of this run have no names"
        fix = "Train with {context=a,b}, or with `context_columns` in the .npz file."
        raise InvalidValueError("sample", "context", rule, None, fix)
