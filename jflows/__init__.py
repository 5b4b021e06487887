"""jflows: normalizing flows in JAX and Flax. Start at `jflows.Flow` and `jflows.glow`.

Names are imported when they are first used, so that `jflows --help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jflows._version import __version__
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, JflowsError, RunError

if TYPE_CHECKING:
    from jflows import bijectors, data, distributions, nn, ops
    from jflows.flows import Flow, MixtureOfFlows, UniformDequantize, mixture_of_flows, preset
    from jflows.flows.presets import *  # noqa: F403
    from jflows.processes.starting import start_processes
    from jflows.runs import DataConfig, Recipe, load, run
    from jflows.spec import from_spec, register, to_spec
    from jflows.train import TrainConfig, fit

__all__ = [
    "DataConfig",
    "DataError",
    "Flow",
    "InvalidTypeError",
    "InvalidValueError",
    "JflowsError",
    "MixtureOfFlows",
    "Recipe",
    "RunError",
    "TrainConfig",
    "UniformDequantize",
    "__version__",
    "bijectors",
    "data",
    "distributions",
    "fit",
    "from_spec",
    "load",
    "mixture_of_flows",
    "nn",
    "ops",
    "preset",
    "register",
    "run",
    "start_processes",
    "to_spec",
]

_PARTS = ("bench", "bijectors", "data", "distributions", "eval", "flows", "interop", "nn", "ops", "runs")
_MODULES = (*_PARTS, "spec", "testing", "train", "typing")
_HOME = {
    **dict.fromkeys(("Flow", "MixtureOfFlows", "UniformDequantize", "mixture_of_flows", "preset"), "jflows.flows"),
    **dict.fromkeys(("from_spec", "register", "to_spec"), "jflows.spec"),
    **dict.fromkeys(("DataConfig", "Recipe", "load", "run"), "jflows.runs"),
    **dict.fromkeys(("TrainConfig", "fit"), "jflows.train"),
    "start_processes": "jflows.processes.starting",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jflows.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module 'jflows' has no attribute {name!r}")
    home = importlib.import_module(_HOME.get(name, "jflows.flows.presets"))
    if name not in _HOME and name not in home.PRESETS:
        raise AttributeError(f"module 'jflows' has no attribute {name!r}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
