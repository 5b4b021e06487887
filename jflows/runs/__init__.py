"""Runs: a recipe from its data to its report. Start at `jflows.run` (`jflows/runs/running.py`) and `Recipe`.

Names are imported when they are first used, so that `jflows configs` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jflows.runs.baselines import baseline
    from jflows.runs.comparing import compare
    from jflows.runs.configs import find_recipe, list_configs, list_presets
    from jflows.runs.data import DataConfig
    from jflows.runs.densities import densities
    from jflows.runs.directory import RunDirectory, load, read_config
    from jflows.runs.exported import ExportedRun, export_run
    from jflows.runs.metrics import read_metrics
    from jflows.runs.recalibrated import RecalibratedRun, recalibrate_run
    from jflows.runs.recipe import Recipe, RecipeOption
    from jflows.runs.reports import REPORTS, Report
    from jflows.runs.running import RunResult, prepare, report, run, score, train
    from jflows.runs.stored import StoredRecipe, read_recipe
    from jflows.runs.studies import study
    from jflows.runs.trained import TrainedRun

__all__ = [
    "REPORTS",
    "DataConfig",
    "ExportedRun",
    "RecalibratedRun",
    "Recipe",
    "RecipeOption",
    "Report",
    "RunDirectory",
    "RunResult",
    "StoredRecipe",
    "TrainedRun",
    "baseline",
    "compare",
    "densities",
    "export_run",
    "find_recipe",
    "list_configs",
    "list_presets",
    "load",
    "prepare",
    "read_config",
    "read_metrics",
    "read_recipe",
    "recalibrate_run",
    "report",
    "run",
    "score",
    "study",
    "train",
]

_HOME = {
    "baselines": ("baseline",),
    "comparing": ("compare",),
    "configs": ("find_recipe", "list_configs", "list_presets"),
    "data": ("DataConfig",),
    "densities": ("densities",),
    "directory": ("RunDirectory", "load", "read_config"),
    "exported": ("ExportedRun", "export_run"),
    "metrics": ("read_metrics",),
    "recalibrated": ("RecalibratedRun", "recalibrate_run"),
    "recipe": ("Recipe", "RecipeOption"),
    "reports": ("REPORTS", "Report"),
    "running": ("RunResult", "prepare", "report", "run", "score", "train"),
    "stored": ("StoredRecipe", "read_recipe"),
    "studies": ("study",),
    "trained": ("TrainedRun",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f"jflows.runs.{module}"), name)
            return value
    raise AttributeError(f"module 'jflows.runs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
