"""Tables that no continuous density can be fitted to in earnest: columns that depend on each other, repeated values.

If columns sum to a constant, or one is another in other units, rows lie on a plane, and the likelihood grows without
bound as a flow flattens onto it. So it does where one value comes again and again, as a spike there costs nothing.
Training rows then score ever better, and test rows worse.

Read next: `jflows/data/domains.py`, which states what helps; docs/data.md has the thresholds.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jflows.data.base import Data
from jflows.data.domains import Domains
from jflows.errors import DegenerateDataWarning

MOST_COLUMNS = 256  # whose correlations are looked at: the cost of their eigenvalues grows with the cube
PRODUCTS = 2**29  # multiplications at most in a matrix of correlations: fewer rows of many columns
CHUNK_VALUES = 2**20  # in float64 at a time
SMALL = 1e-3  # of 1, the mean eigenvalue: below it, what rounding explains is compared with what is there
ROUNDED = 4.0  # the variance along a direction, over that of rounding alone, at which columns depend on each other
FINEST, COARSEST = 7, -3  # decimals to which values may be rounded
FINE = 0.05  # of a column's deviation: coarser steps are repetition, not rounding
IN_TERMS = 1e-3  # of the largest coefficient: smaller ones are rounding

LOOKED_AT, LOOKED_AT_VALUES = 100_000, 2**21  # rows, and values, in which repetition is counted
MOST_DISTINCT = 4096  # more spikes than these no flow learns
REPEATED_WHOLE, REPEATED = 2, 10  # rows to each different value, of whole numbers and of others
ATOM_SHARE, ATOM_ROWS = 0.01, 20  # of the rows, and how many, that have one value
SHOWN = 4  # findings of each kind in a warning


class Finding(NamedTuple):
    """One reason why the likelihood has no bound.

    Attributes:
      columns: the positions of the columns concerned; positions from the number of columns on are contexts.
      text: what is the matter, with the names of the columns, and what helps.
    """

    columns: tuple[int, ...]
    text: str


def warn_if_degenerate(where: str, data: Data, domains: Domains | None = None) -> None:
    """Warns once, by `DegenerateDataWarning`, if columns of training rows depend on each other or repeat their values.

    Args:
      where: the function that begins, for the message.
      data: the training rows; only tables are looked at, and none of a published protocol.
      domains: the columns that are stated to be whole numbers or shares, and need no warning, by position.
    """
    if not data.kind.has_columns or data.as_published:
        return
    found = [*dependences(data, domains), *repetitions(data, domains)]
    if not found:
        return
    shown = "; ".join(finding.text for finding in found[:SHOWN])
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    text = (
        f"{where}: the likelihood of {data.name!r} can grow without bound, and scores then mean little: {shown}{more}."
    )
    warnings.warn(DegenerateDataWarning(text), stacklevel=4)


def dependences(data: Data, domains: Domains | None = None) -> list[Finding]:
    """Sets of columns, contexts among them, that depend on each other linearly but for the rounding of their values.

    The eigenvalues of the correlations (float64) tell candidates. The variance of the rows along such a direction is
    compared with that which rounding of each column alone would give: to float32, or to the decimals of its values.
    """
    names, rows = _rows(data)
    left_out = {group[-1] for group in (domains.simplex if domains else ())}
    kept = [i for i in range(len(names)) if i not in left_out]
    num, dim = len(rows), len(kept)
    if dim < 2 or dim > MOST_COLUMNS or num <= dim:
        return []
    rows = rows[:: max(1, int(num * dim**2 / PRODUCTS))]
    rows = rows[:, kept] if left_out else rows
    mean, deviation, correlation = _correlation(rows)
    if deviation is None:
        return []
    values, vectors = np.linalg.eigh(correlation)
    found = []
    for direction in _sparse(vectors[:, values < SMALL]):
        terms = np.flatnonzero(np.abs(direction) > IN_TERMS * np.abs(direction).max())
        if all(kept[i] >= data.x.shape[1] for i in terms):  # contexts may depend on each other
            continue
        weights = direction[terms] / deviation[terms]
        spread = _spread(rows, terms, weights, mean)
        noise = np.sum(np.square(weights * [_rounding(rows[:, i], deviation[i]) for i in terms]))
        if spread <= ROUNDED * noise:
            columns = tuple(kept[i] for i in terms)
            found.append(
                Finding(columns, _of_terms([names[i] for i in columns], weights, float(weights @ mean[terms])))
            )
    return found


def repetitions(data: Data, domains: Domains | None = None) -> list[Finding]:
    """Columns of x in which values come again and again, but for those that are stated to be whole numbers."""
    names, rows = _rows(data)
    stated = set(domains.integer if domains else ())
    dim = data.x.shape[1]
    rows = rows[:: max(1, len(rows) // min(LOOKED_AT, max(1, LOOKED_AT_VALUES // dim)))]
    found = []
    for i in range(dim):
        if i in stated:
            continue
        values, counts = np.unique(rows[:, i], return_counts=True)
        text = _of_counts(names[i], values, counts)
        if text:
            found.append(Finding((i,), text))
    return found


def _rows(data: Data) -> tuple[list[str], np.ndarray]:
    """The names and values of the columns, and of contexts that are vectors after them, without rows of weight 0."""
    names, rows, context = list(data.columns), data.x, data.context
    if context is not None and context.ndim == 2:
        names += [f"context {name}" for name in data.context_columns or range(context.shape[1])]
        rows = np.concatenate([rows, context.astype(np.float32)], axis=1)
    return names, rows if data.weight is None else rows[data.weight > 0]


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, CHUNK_VALUES // rows.shape[1])
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(np.float64)


def _correlation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Mean, deviation and correlations of columns in float64; no deviation if a column is constant."""
    num = len(rows)
    mean = np.asarray(sum(chunk.sum(axis=0) for chunk in _chunks(rows)) / num)
    covariance = np.asarray(sum((chunk - mean).T @ (chunk - mean) for chunk in _chunks(rows)) / num)
    deviation = np.sqrt(np.diagonal(covariance))
    if not np.all(deviation > 0):
        return mean, None, covariance
    return mean, deviation, covariance / np.outer(deviation, deviation)


def _sparse(vectors: np.ndarray) -> list[np.ndarray]:
    """Another basis of the same directions, each of as few columns as elimination gives: [num] of [dim]."""
    basis = vectors.T.copy()
    for row in range(len(basis)):
        pivot = np.unravel_index(np.argmax(np.abs(basis[row:])), basis[row:].shape)
        place, column = row + int(pivot[0]), int(pivot[1])
        basis[[row, place]] = basis[[place, row]]
        basis[row] /= basis[row, column]
        others = np.arange(len(basis)) != row
        basis[others] -= np.outer(basis[others, column], basis[row])
    return list(basis)


def _spread(rows: np.ndarray, terms: np.ndarray, weights: np.ndarray, mean: np.ndarray) -> float:
    """The mean square of a sum of columns about its mean: from rows, as an eigenvalue has the rounding of all."""
    parts = [np.square((chunk[:, terms] - mean[terms]) @ weights).sum() for chunk in _chunks(rows)]
    return float(sum(parts) / len(rows))


def _rounding(column: np.ndarray, deviation: float) -> float:
    """The deviation that rounding gives to a column: to float32, or to the decimals that its values have."""
    largest = float(np.abs(column).max())
    to_float = largest * float(np.finfo(np.float32).eps) / 2
    some = column[:: max(1, len(column) // 1000)].astype(np.float64)
    for decimals in range(COARSEST, FINEST + 1):
        step = 10.0**-decimals
        if step > FINE * deviation:
            continue
        if step <= 8 * to_float:
            break
        if np.all(np.abs(some - np.round(some / step) * step) <= 2 * to_float):
            return max(step / np.sqrt(12), to_float)
    return to_float


def _of_terms(names: Sequence[str], weights: np.ndarray, constant: float) -> str:
    """A linear dependence in words."""
    listed, scaled = ", ".join(names), weights / weights[np.argmax(np.abs(weights))]
    if len(names) > 2 and np.allclose(scaled, 1, atol=1e-3):
        total = constant / weights[0]
        if abs(total - 1) < 1e-2:
            group = ",".join(names)
            return (
                f"columns {listed} sum to 1 (state them by simplex: --simplex {group}; or leave one out by --columns)"
            )
        return f"columns {listed} sum to {total:.6g} (leave one out by --columns)"
    if len(names) == 2:
        slope = -weights[0] / weights[1]
        offset = constant / weights[1]
        shift = f" {'+' if offset > 0 else '-'} {abs(offset):.4g}" if abs(offset) > 1e-3 * abs(slope) else ""
        return f"column {names[1]} is {slope:.4g} times {names[0]}{shift} (leave one out by --columns)"
    return f"columns {listed} depend on each other linearly (leave one out by --columns)"


def _of_counts(name: str, values: np.ndarray, counts: np.ndarray) -> str:
    """What values that repeat are, in words; "" if they do not repeat enough to matter."""
    num, distinct = int(counts.sum()), len(values)
    common, largest = float(values[np.argmax(counts)]), int(counts.max())
    if distinct <= MOST_DISTINCT and num >= REPEATED_WHOLE * distinct and np.all(values == np.round(values)):
        return f"column {name} holds whole numbers, {distinct} different ones (state it by integer: --integer {name})"
    if distinct <= MOST_DISTINCT and num >= REPEATED * distinct:
        fix = "add noise of one unit of their last digit, or leave it out by --columns"
        return f"column {name} holds {distinct} different values in {num:,} rows ({fix})"
    if largest >= max(ATOM_ROWS, ATOM_SHARE * num):
        share = f"{100 * largest / num:.2g}%"
        return f"column {name} is {common:.6g} in {share} of the rows (model these apart, or leave it out by --columns)"
    return ""
