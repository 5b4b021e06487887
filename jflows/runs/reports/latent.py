"""`latent.png`: tests of the latents of a run's rows against its base."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import InvalidValueError
from jflows.eval.latent_tests import (
    LatentReport,
    base_of_flow,
    groups_of,
    latent_figure,
    latent_null,
    latent_tests,
    latents_of,
)
from jflows.eval.latent_tests.null import Draw
from jflows.eval.modes import ModalityReport, modality, modality_figure, modality_null
from jflows.eval.modes.null import LEAST_ROWS as LEAST_OF_MODES
from jflows.flows import Density, Flow
from jflows.runs.reports.chosen import LEAST_ROWS, check_finite, check_testable, chosen_rows
from jflows.runs.reports.report import save_figure
from jflows.train.progress import counting
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
      modes: the test of modes, if it was asked for.
    """

    report: LatentReport
    groups: tuple[str, ...]
    left_out: tuple[str, ...]
    modes: ModalityReport | None = None


def draw_latent(
    density: Density,
    variables: Variables,
    rows: Data,
    path: Path,
    *,
    num: int | None = None,
    num_sets: int = NUM_SETS,
    seed: int = 0,
    modes: bool = False,
    names: tuple[str, ...] = (),
    title: str = "",
    progress: bool | None = None,
) -> Tested:
    """Tests the latents of rows, which the seed chooses, and draws the result.

    Args:
      rows: rows without weights, as the density reads them.
      num: number of rows; None takes 2,000, or all if there are fewer.
      num_sets: number of sets from the base.
      modes: whether to test for several modes too, see `jflows.eval.modes`, which needs 40 rows, and to draw the
        direction that shows them best in `modes_path(path)`.
      names: the names of classes; () where they have none.
      progress: whether to show progress on stderr; None shows it.
    Raises:
      InvalidValueError: if the density has no single latent space, rows have weights, or there are fewer than `num`.
      DataError: if there are fewer than 20 rows, or latents are not finite.
    """
    check_testable("latent", density, rows)
    num = min(NUM, len(rows)) if num is None else num
    if modes and num < LEAST_OF_MODES:
        rule = f"must be at least {LEAST_OF_MODES} to look for {{modes}}"
        raise InvalidValueError("latent", "num", rule, num, "Ask for more, or leave {modes} out.")
    flow, chosen = cast(Flow, density), chosen_rows("latent", rows, num, seed)
    z = latents_of(flow, variables, eval_batches(chosen, BATCH, flow.reading), jax.random.key(seed))
    check_finite("latent", z, rows, "latents")
    context = flow.reading.context_of(chosen)
    group, numbers = None if context is None else groups_of(context), None
    if group is not None:
        numbers, counts = np.unique(group[group >= 0], return_counts=True)
        group = np.where(np.isin(group, numbers[counts >= LEAST_ROWS]), group, -1)
        group = group if (group >= 0).any() else None
    draw = base_of_flow(flow, variables, num, context)
    shown = contextlib.nullcontext() if progress is False else counting("drawing", num_sets * (1 + modes), "sets")
    with shown as on_set:
        null = latent_null(num, z.shape[1], draw, group, num_sets=num_sets, seed=seed, on_set=on_set)
        later = None if on_set is None else lambda done: on_set(num_sets + done)
        of_modes = _modes(z, draw, num_sets, seed, later) if modes else None
    report = latent_tests(z, null)
    save_figure(latent_figure(report, title), path)
    if of_modes is not None:
        save_figure(modality_figure(z, of_modes, title), modes_path(path))
    words = lambda number: names[number] if names and flow.reading.context == "labels" else str(number)
    own = tuple(each.group for each in report.groups)
    left_out = () if numbers is None else tuple(words(number) for number in numbers if number not in own)
    return Tested(report, tuple(map(words, own)), left_out, of_modes)


def modes_path(path: Path) -> Path:
    """The path of the picture of modes beside that of the tests: latent_modes.png for latent.png."""
    return path.with_name(f"{path.stem}_modes{path.suffix}")


def _modes(
    z: np.ndarray, draw: Draw | None, num_sets: int, seed: int, on_set: Callable[[int], None] | None
) -> ModalityReport:
    return modality(z, modality_null(len(z), z.shape[1], draw, num_sets=num_sets, seed=seed, on_set=on_set))
