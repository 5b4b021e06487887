"""`rows_in_blocks` and `in_blocks`: maps of rows with large temporaries, computed block by block in the cache of a CPU.

A spline of 8 bins makes some thirty arrays of the size of the data between its parameters and its result. On a CPU they
leave the cache as soon as there are a few thousand elements, and new memory costs more than the mathematics: in blocks,
1.6 million elements took 70 ms instead of 150, and their gradient 230 ms instead of 420. Other platforms have the
bandwidth, and want all elements at once. Attention over many tokens is another such map, with a row for each example.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jflows.typing import Array

BLOCK_BYTES = 2**20
"""Of the largest arrays of a block, which fit the second cache of common CPUs beside what is made of them."""


def in_blocks(
    run: Callable[..., tuple[Array, Array]], values: Array, params: Array, *more: Array
) -> tuple[Array, Array]:
    """`run(values, params, *more)`, in blocks of rows where the program runs on a CPU, and at once elsewhere.

    The backward pass computes it again, see `rows_in_blocks`.

    Args:
      run: elementwise in the leading axes, with two results of the shape of `values`.
      values: any reals.
      params: its parameters. Where they are shared by a batch, or few, nothing is cut.
      more: what else it takes of each row.
    Shapes:
      values: [*batch, dim], params: [*batch, rows, dim] or [*batch, dim, rows], more: [*batch, ...]
        -> [*batch, dim] twice.
    """
    batch, arrays = values.shape[:-1], (values, params, *more)
    has_open = not all(isinstance(length, int) for length in params.shape)  # in an exported program
    if has_open or any(array.shape[: len(batch)] != batch for array in arrays) or params.ndim != len(batch) + 2:
        return jax.checkpoint(run, prevent_cse=False)(*arrays)
    rows = [array.reshape(math.prod(batch), *array.shape[len(batch) :]) for array in arrays]
    row_bytes = math.prod(params.shape[-2:]) * params.dtype.itemsize
    one, other = rows_in_blocks(run, *rows, row_bytes=row_bytes)
    return one.reshape(values.shape), other.reshape(values.shape)


def rows_in_blocks(run: Callable[..., Any], *arrays: Array, row_bytes: int) -> Any:
    """`run(*arrays)` for a map of each row by itself, in blocks where the program runs on a CPU, and at once elsewhere.

    The backward pass computes it again, as storing what it needs would take all its temporaries; under `lax.scan`,
    which clears, writes and reads each of them for all steps, that costs several times more than a spline. Outside of a
    scan the compiler may take from the forward pass what it likes (`prevent_cse=False`).

    Args:
      run: each row of its results follows from that row of each array, for any number of rows.
      arrays: one or several, with as many rows each.
      row_bytes: of the largest array that comes of one row; what has fewer than two blocks is not cut.
    Shapes:
      arrays: [num, ...] -> a tree of arrays [num, ...].
    """
    at_once = jax.checkpoint(run, prevent_cse=False)
    num, size = len(arrays[0]), _block_size(len(arrays[0]), row_bytes)
    if num < 2 * size:
        return at_once(*arrays)

    def in_turn(*arrays: Array) -> Any:
        whole = num // size * size
        blocks = [array[:whole].reshape(-1, size, *array.shape[1:]) for array in arrays]
        found = lax.map(lambda block: at_once(*block), blocks)
        found = jax.tree.map(lambda part: part.reshape(whole, *part.shape[2:]), found)
        if whole < num:
            rest = at_once(*(array[whole:] for array in arrays))
            found = jax.tree.map(lambda *parts: jnp.concatenate(parts), found, rest)
        return found

    # Within the choice, each form computes its own backward pass again; around it, nothing of either is kept.
    chosen = lambda *arrays: lax.platform_dependent(*arrays, cpu=in_turn, default=at_once)
    return jax.checkpoint(chosen, prevent_cse=False)(*arrays)


def _block_size(num: int, row_bytes: int) -> int:
    """Rows of a block: about BLOCK_BYTES, and a divisor of all rows if there is one near."""
    most = max(1, BLOCK_BYTES // max(1, row_bytes))
    divisors = [size for size in range(most, most // 2, -1) if num % size == 0]
    return divisors[0] if divisors else most
