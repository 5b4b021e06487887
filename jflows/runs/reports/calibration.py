"""`calibration.png`: whether a run's flow is as wide as it should be, by ranks of rows among its draws."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import InvalidValueError
from jflows.eval import Calibration, calibration, calibration_figure, pit_of, ranks_of
from jflows.flows import Density, Flow
from jflows.runs.reports.chosen import check_finite, check_testable, chosen_rows
from jflows.runs.reports.report import save_figure
from jflows.train.progress import counting
from jflows.typing import Batch, Variables

FILE = "calibration.png"
NUM, NUM_DRAWS = 2000, 99
MOST_ROWS, MOST_NUMBERS = 250, 4_000_000  # per call; numbers of all draws for its rows


class Calibrated(NamedTuple):
    """The calibration of a run.

    Attributes:
      report: the result.
      num, num_draws: numbers of rows, and of draws for each.
      base: the name of the base.
      conditional: whether the flow takes contexts.
    """

    report: Calibration
    num: int
    num_draws: int
    base: str
    conditional: bool


def draw_calibration(
    density: Density,
    variables: Variables,
    rows: Data,
    path: Path,
    *,
    num: int | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    title: str = "",
    progress: bool | None = None,
) -> Calibrated:
    """Tests the calibration of a density on rows, which the seed chooses, and draws the result.

    Latents are tested too where the base lets them be mapped to uniform numbers, see `Base.has_pit`.

    Args:
      rows: rows without weights, as the density reads them.
      num: number of rows; None takes 2,000, or all if there are fewer.
      num_draws: number of draws for each row.
      progress: whether to show progress on stderr; None shows it.
    Raises:
      InvalidValueError: if the density is a mixture or one of integers, rows have weights, or are fewer than `num`.
      DataError: if there are fewer than 20 rows, or latents or densities are not finite.
    """
    check(density, rows)
    num = min(NUM, len(rows)) if num is None else num
    flow, chosen = cast(Flow, density), chosen_rows("calibrate", rows, num, seed)
    pit_key, rank_key = jax.random.split(jax.random.key(seed))
    size = int(np.clip(MOST_NUMBERS // (num_draws * flow.num_dims), 1, MOST_ROWS))
    pit = None
    if flow.base.has_pit:
        pit = pit_of(flow, variables, eval_batches(chosen, size, flow.reading), pit_key)
        check_finite("calibrate", pit, chosen, "latents")
    shown = contextlib.nullcontext() if progress is False else counting("drawing", num, chosen.kind.rows)
    with shown as on_rows:
        batches = _told(eval_batches(chosen, size, flow.reading), on_rows)
        ranks = ranks_of(flow, variables, batches, rank_key, num_draws)
    report = calibration(ranks, pit, seed=seed)
    save_figure(calibration_figure(report, ranks, title, pit), path)
    base = type(flow.base).__name__
    return Calibrated(report, num, num_draws, base, flow.context_shape is not None)


def check(density: Density, rows: Data) -> None:
    """Raises `InvalidValueError` unless ranks can be told of the density and the rows; nothing is computed."""
    check_testable("calibrate", density, rows)
    if density.dequantize is not None:
        rule, fix = "must be that of a flow of floats, as ranks of integers have ties", "Try `jflows latent`."
        raise InvalidValueError("calibrate", "run", rule, "a flow of integers", fix)


def _told(batches: Iterable[Batch], on_rows: Callable[[int], None] | None) -> Iterator[Batch]:
    """The same batches, with the number of rows that are done told after each."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.x)
        if on_rows is not None:
            on_rows(done)
