"""`densities`: data, density and samples of several runs of the plane in one figure."""

from collections.abc import Sequence
from pathlib import Path

import jax

from jflows.errors import InvalidTypeError, InvalidValueError, path_of
from jflows.eval.densities import Modelled, densities_figure
from jflows.options import Seed, checked
from jflows.runs.reports.report import save_figure
from jflows.runs.trained import TrainedRun

FIGURE = "densities.png"


@checked
def densities(runs: Sequence[str | Path], out: str | Path = FIGURE, *, seed: Seed = 0, title: str = "") -> Path:
    """Draws the test rows, the density and samples of each run, one row for each, and returns the path.

    Args:
      runs: directories of one or more runs on data of two columns.
      out: path of the PNG to write.
      seed: seed of the samples.
      title: text above the figure.
    Raises:
      InvalidValueError: if there is no run, or one is not of two columns or takes a context.
      RunError: if a directory is missing or damaged.
    """
    if isinstance(runs, str | Path):
        fix = f"Write [{str(runs)!r}]."
        raise InvalidTypeError("densities", "runs", "must be a list of run directories", repr(runs), fix)
    opened = [TrainedRun.open(run) for run in runs]
    if not opened:
        raise InvalidValueError("densities", "runs", "must be at least one run", "none")
    for run in opened:
        reading = run.density.reading
        if reading.event_shape != (2,) or reading.context != "none":
            got = f"{run.directory}, of events of shape {reading.event_shape}"
            got += f" with a context ({reading.context})" if reading.context != "none" else ""
            rule, fix = "must be of data with two columns, without a context", "Try `jflows pairs` or `jflows sample`."
            raise InvalidValueError("densities", "runs", rule, got, fix)
    rows = [Modelled(_title(run), run.density, run.variables, run.data().x) for run in opened]
    path = path_of("densities", "out", out)
    save_figure(densities_figure(rows, key=jax.random.key(seed), title=title), path)
    return path


def _title(run: TrainedRun) -> str:
    """The preset and the data of a run."""
    recipe = run.stored.recipe
    return f"{recipe.to_json()['flow']['preset']} on {Path(recipe.data.name).stem}"
