"""The rules by which jflows' own formulas promote types and ranks, whatever the rules of the program around them.

`jax.numpy_dtype_promotion("strict")` and `jax.numpy_rank_promotion("raise")` are for the code of the user, and a flow
brings its inputs to one type at its door. Inside, a number per channel meets a batch of images without an axis for each
of the images' axes. JAX reads these settings while it traces, so what is traced later, in a backward pass, needs the
decorator too: every custom derivative of jflows has it.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
Result = TypeVar("Result")


def promoting(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function under JAX's standard rules of promotion; a decorator."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Result:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return run
