"""Bridges to other libraries, one module each; a library is imported when its bridge is.

`jflows.interop.distrax`, whose names are also here, `tfp`, `numpyro`, `blackjax` and `nnx`: see docs/interop.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jflows.interop.distrax import as_distrax, as_distrax_bijector, from_distrax, from_distrax_bijector

__all__ = ["as_distrax", "as_distrax_bijector", "from_distrax", "from_distrax_bijector"]

_HOME = dict.fromkeys(__all__, "jflows.interop.distrax")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jflows.interop' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
