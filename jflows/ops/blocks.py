"""`in_blocks`: an elementwise map of many parameters per element, computed block by block in the cache of a CPU.

A spline of 8 bins makes some thirty arrays of the size of the data between its parameters and its result. On a CPU they
leave the cache as soon as there are a few thousand elements, and new memory costs more than the mathematics: in blocks,
1.6 million elements took 70 ms instead of 150, and their gradient 230 ms instead of 420. Other platforms have the
bandwidth, and want all elements at once.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jflows.typing import Array

BLOCK_BYTES = (
    2**20
)  # of the parameters of a block, which fits the second cache of common CPUs beside what is made of it

Map = Callable[[Array, Array], tuple[Array, Array]]


def in_blocks(run: Map, values: Array, params: Array) -> tuple[Array, Array]:
    """`run(values, params)`, in blocks of rows where the program runs on a CPU, and at once elsewhere.

    The backward pass computes it again, as storing what it needs would take the thirty arrays; under `lax.scan`, which
    clears, writes and reads each of them for all steps, that costs several times more than a spline. Outside of a scan
    the compiler may take from the forward pass what it likes (`prevent_cse=False`).

    Args:
      run: elementwise in the leading axes, with two results of the shape of `values`.
      values: any reals.
      params: its parameters. Where they are shared by a batch, or few, nothing is cut.
    Shapes:
      values: [*batch, dim], params: [*batch, rows, dim] -> [*batch, dim] twice.
    """
    at_once = jax.checkpoint(run, prevent_cse=False)
    batch, dim = values.shape[:-1], values.shape[-1]
    if params.shape[:-2] != batch or not all(isinstance(length, int) for length in params.shape):
        return at_once(values, params)  # a length may be open in an exported program
    num, size = math.prod(batch), _block_size(params)
    if num < 2 * size:
        return at_once(values, params)

    def in_turn(values: Array, params: Array) -> tuple[Array, Array]:
        rows = [part.reshape(num, *part.shape[len(batch) :]) for part in (values, params)]
        whole = num // size * size
        blocks = [part[:whole].reshape(-1, size, *part.shape[1:]) for part in rows]
        found = [part.reshape(whole, dim) for part in lax.map(lambda block: at_once(*block), blocks)]
        if whole < num:
            rest = at_once(*(part[whole:] for part in rows))
            found = [jnp.concatenate(parts) for parts in zip(found, rest, strict=True)]
        one, other = (part.reshape(values.shape) for part in found)
        return one, other

    # Within the choice, each form computes its own backward pass again; around it, nothing of either is kept.
    chosen = lambda values, params: lax.platform_dependent(values, params, cpu=in_turn, default=at_once)
    return jax.checkpoint(chosen, prevent_cse=False)(values, params)


def _block_size(params: Array) -> int:
    """Rows of a block: about BLOCK_BYTES of parameters, and a divisor of all rows if there is one near."""
    num = math.prod(params.shape[:-2])
    most = max(1, BLOCK_BYTES // (math.prod(params.shape[-2:]) * params.dtype.itemsize))
    divisors = [size for size in range(most, most // 2, -1) if num % size == 0]
    return divisors[0] if divisors else most
