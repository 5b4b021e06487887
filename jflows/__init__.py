"""jflows: normalizing flows in JAX and Flax. Start at `jflows.Flow` and `jflows.glow`.

Names are imported when they are first used, so that `jflows --help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jflows._version import __version__
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, JflowsError, RunError

if TYPE_CHECKING:
    from jflows import bijectors, data, distributions, nn, ops
    from jflows.flows import (
        Flow,
        MixtureOfFlows,
        UniformDequantize,
        flow_gmm,
        glow,
        iaf,
        made,
        maf,
        mixture_of_flows,
        nice,
        nsf_autoregressive,
        nsf_coupling,
        realnvp,
    )
    from jflows.spec import from_spec, register, to_spec
    from jflows.train import fit, load

__all__ = [
    "DataError",
    "Flow",
    "InvalidTypeError",
    "InvalidValueError",
    "JflowsError",
    "MixtureOfFlows",
    "RunError",
    "UniformDequantize",
    "__version__",
    "bijectors",
    "data",
    "distributions",
    "fit",
    "flow_gmm",
    "from_spec",
    "glow",
    "iaf",
    "load",
    "made",
    "maf",
    "mixture_of_flows",
    "nice",
    "nn",
    "nsf_autoregressive",
    "nsf_coupling",
    "ops",
    "realnvp",
    "register",
    "to_spec",
]

_PARTS = ("bijectors", "data", "distributions", "eval", "flows", "interop", "nn", "ops")
_MODULES = (*_PARTS, "spec", "testing", "train", "typing")
_PRESETS = ("glow", "iaf", "made", "maf", "nice", "nsf_autoregressive", "nsf_coupling", "realnvp")
_MIXTURES = ("MixtureOfFlows", "flow_gmm", "mixture_of_flows")
_HOME = {
    **dict.fromkeys(("Flow", "UniformDequantize", *_PRESETS, *_MIXTURES), "jflows.flows"),
    **dict.fromkeys(("from_spec", "register", "to_spec"), "jflows.spec"),
    **dict.fromkeys(("fit", "load"), "jflows.train"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jflows.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jflows' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
