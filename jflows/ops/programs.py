"""Programs as JAX traces them: the programs inside of them, and how many operations they take."""

import math
from collections.abc import Callable, Iterator, Mapping
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


def product_flops(program: Any) -> int:
    """Additions and multiplications in all matrix products and convolutions of a traced program.

    A scan counts its body once a step, and a map over devices its body once a device. A loop of unknown length counts
    it once, and a choice counts the branch that takes most, so that the result is then a bound from below, and from
    above. Rematerialised products count again.
    """
    return _total(program, _FLOPS)


def function_values(program: Any) -> int:
    """How many values of elementary functions (exp, log, tanh and the like) a traced program computes.

    Loops and choices count as in `product_flops`. A tanh counts as much as an exp; divisions and roots do not count.
    """
    return _total(program, _FUNCTIONS)


def _total(program: Any, counts: Mapping[str, Callable[[Any], int]]) -> int:
    total = 0
    for equation in equations_of(program):
        inner = [_total(each, counts) for each in nested_in(equation)]
        name = equation.primitive.name
        if name == "cond":
            total += max(inner, default=0)
        else:
            total += sum(inner) * _repeats(equation)
        count = counts.get(name)
        total += 0 if count is None else count(equation)
    return total


def _repeats(equation: Any) -> int:
    """How often an equation runs the programs inside of it."""
    given = equation.params  # whose names differ between versions of JAX
    if equation.primitive.name == "shard_map":
        axes = given["newly_manual_axes"] if "newly_manual_axes" in given else given["manual_axes"]
        return math.prod(given["mesh"].shape[axis] for axis in axes)
    return given["length"] if equation.primitive.name == "scan" else 1


def _of_dot(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)


def _of_conv(equation: Any) -> int:
    kernel = equation.params["dimension_numbers"].rhs_spec
    shape = equation.invars[1].aval.shape
    return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in kernel[1:])


def _of_square_conv(equation: Any) -> int:
    return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[1].aval.shape[:3])


def _of_kernel_grad(equation: Any) -> int:
    return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[0].aval.shape[:-1])


def _of_elements(equation: Any) -> int:
    return equation.outvars[0].aval.size


_FLOPS = {
    "dot_general": _of_dot,
    "conv_general_dilated": _of_conv,
    "square_conv": _of_square_conv,
    "square_conv_kernel_grad": _of_kernel_grad,
}
"""How to count; the last two are the convolutions of `jflows/ops/conv.py`."""
_ELEMENTARY = (
    "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "sin", "cos",
    "tan", "sinh", "cosh", "asinh", "acosh", "atanh", "asin", "acos", "atan",
    "atan2", "pow", "erf", "erfc", "erf_inv", "lgamma", "digamma",
)  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[[Any], int]] = dict.fromkeys(_ELEMENTARY, _of_elements)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
