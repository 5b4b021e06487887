"""jflows: normalizing flows in JAX and Flax. Start at `jflows.Flow` and `jflows.glow`."""

from jflows import bijectors, data, distributions, nn, ops
from jflows._version import __version__
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, JflowsError, RunError
from jflows.flows import Flow, UniformDequantize, glow
from jflows.spec import from_spec, register, to_spec
from jflows.train import fit, load

__all__ = [
    "DataError",
    "Flow",
    "InvalidTypeError",
    "InvalidValueError",
    "JflowsError",
    "RunError",
    "UniformDequantize",
    "__version__",
    "bijectors",
    "data",
    "distributions",
    "fit",
    "from_spec",
    "glow",
    "load",
    "nn",
    "ops",
    "register",
    "to_spec",
]
