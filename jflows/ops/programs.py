"""Programs as JAX traces them: the programs that an equation holds, such as the body of a scan."""

from collections.abc import Iterator
from typing import Any

import jax


def equations_of(program: Any) -> list[Any]:
    """The equations of a jaxpr, closed or not."""
    return getattr(program, "jaxpr", program).eqns


def results_of(program: Any) -> list[Any]:
    """The shapes and types of what a jaxpr, closed or not, returns."""
    return [each.aval for each in getattr(program, "jaxpr", program).outvars]


def nested_in(equation: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation."""
    leaves = jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_program)
    yield from (leaf for leaf in leaves if _is_program(leaf))


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
