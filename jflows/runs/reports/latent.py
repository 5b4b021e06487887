"""`latent.png`: tests of the latents of a run's rows against its base."""

from pathlib import Path
from typing import NamedTuple, cast

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import DataError, InvalidValueError
from jflows.eval.latent_tests import (
    LatentReport,
    base_of_flow,
    groups_of,
    latent_figure,
    latent_null,
    latent_tests,
    latents_of,
)
from jflows.eval.latent_tests.null import LEAST_ROWS
from jflows.flows import Density, Flow
from jflows.runs.reports.report import save_figure
from jflows.typing import Variables

FILE = "latent.png"
NUM, NUM_SETS = 2000, 199
BATCH = 250  # rows per call


class Tested(NamedTuple):
    """The tests of a run's latents, with what the groups are.

    Attributes:
      report: the result.
      groups: the names of the groups of `report.groups`.
      left_out: the names of classes with fewer than 20 rows, which have no test of their own.
    """

    report: LatentReport
    groups: tuple[str, ...]
    left_out: tuple[str, ...]


def draw_latent(
    density: Density,
    variables: Variables,
    rows: Data,
    path: Path,
    *,
    num: int | None = None,
    num_sets: int = NUM_SETS,
    seed: int = 0,
    names: tuple[str, ...] = (),
    title: str = "",
) -> Tested:
    """Tests the latents of rows, which the seed chooses, and draws the result.

    Args:
      rows: rows without weights, as the density reads them.
      num: number of rows; None takes 2,000, or all if there are fewer.
      num_sets: number of sets from the base.
      names: the names of classes; () where they have none.
    Raises:
      InvalidValueError: if the density has no single latent space, rows have weights, or there are fewer than `num`.
      DataError: if there are fewer than 20 rows, or latents are not finite.
    """
    check(density, rows)
    num = min(NUM, len(rows)) if num is None else num
    flow, chosen = cast(Flow, density), _chosen(rows, num, seed)
    z = latents_of(flow, variables, eval_batches(chosen, BATCH, flow.reading), jax.random.key(seed))
    bad = int((~np.isfinite(z).all(axis=1)).sum())
    if bad:
        rule, fix = "must have latents that are finite", "Choose another {checkpoint}, or train anew."
        raise DataError("latent", "data", rule, f"{bad:,} rows of {num:,} without in {rows.name!r}", fix)
    context = flow.reading.context_of(chosen)
    group, numbers = None if context is None else groups_of(context), None
    if group is not None:
        numbers, counts = np.unique(group[group >= 0], return_counts=True)
        group = np.where(np.isin(group, numbers[counts >= LEAST_ROWS]), group, -1)
        group = group if (group >= 0).any() else None
    draw = base_of_flow(flow, variables, num, context)
    null = latent_null(num, z.shape[1], draw, group, num_sets=num_sets, seed=seed)
    report = latent_tests(z, null)
    save_figure(latent_figure(report, title), path)
    words = lambda number: names[number] if names and flow.reading.context == "labels" else str(number)
    own = tuple(each.group for each in report.groups)
    left_out = () if numbers is None else tuple(words(number) for number in numbers if number not in own)
    return Tested(report, tuple(map(words, own)), left_out)


def check(density: Density, rows: Data) -> None:
    """Raises `InvalidValueError` unless the density has one latent space, and rows count alike; nothing is computed."""
    if not density.encodes:
        rule = "must be that of a flow: a mixture of flows has no single latent space"
        raise InvalidValueError("latent", "run", rule, None, "Try `jflows evaluate`.")
    if rows.kind == "none":
        raise InvalidValueError("latent", "run", "must be that of data, or {data} must name some", "a run without data")
    if rows.weight is not None:
        rule, fix = "must be none, as the tests count all rows alike", "Pass {weight=none}."
        raise InvalidValueError("latent", "weight", rule, "rows with weights", fix)


def _chosen(rows: Data, num: int, seed: int) -> Data:
    """`num` rows by the seed, in their order."""
    if len(rows) < LEAST_ROWS:
        fix = "Name other data by {data}."
        raise DataError("latent", "data", f"must have at least {LEAST_ROWS} rows", f"{len(rows)} of {rows.name!r}", fix)
    if not LEAST_ROWS <= num <= len(rows):
        rule = f"must be {LEAST_ROWS} to {len(rows)}, as {rows.name!r} has {len(rows)} rows here"
        raise InvalidValueError("latent", "num", rule, num, "Ask for fewer, or name other data by {data}.")
    return rows.take(np.sort(np.random.RandomState(seed % 2**32).permutation(len(rows))[:num]))
