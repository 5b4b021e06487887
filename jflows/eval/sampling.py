"""`sample_in_chunks`: any number of samples in memory that does not grow, the same bits however they are cut."""

import functools
from collections.abc import Iterator
from typing import Any, cast

import jax
import numpy as np

from jflows.errors import InvalidValueError, check_key
from jflows.eval.memory import check_memory, least_bytes
from jflows.eval.spread import spread
from jflows.flows import Density, MixtureOfFlows
from jflows.flows.dequantize import example_keys
from jflows.flows.door import check_temperature
from jflows.options import Count, checked
from jflows.typing import Array, Key, Variables

IMAGES, ROWS = 16, 256
"""The number of images, or rows of a table, of one call of the program that draws."""


@checked
def sample_in_chunks(
    density: Density,
    variables: Variables,
    key: Key,
    num: Count,
    context: np.ndarray | None = None,
    temperature: float = 1.0,
    chunk_size: Count | None = None,
    component: int | None = None,
) -> Iterator[np.ndarray]:
    """Draws `num` samples as arrays in host memory, `chunk_size` at a time.

    Sample i has the key `fold_in(key, i)`. One program draws blocks of 16 images or 256 rows, always the same samples
    together, so that a sample has the same bits whatever `chunk_size` is and however many are drawn, and the memory of
    a device is that of one block. Programs for blocks of other sizes would round in other ways. Blocks are spread over
    the devices of all processes.

    Args:
      key: typed key; equal keys give equal noise, also at other temperatures.
      num: number of samples.
      context: one for each sample, [num, *context_shape], or None.
      temperature: factor of the latent's deviation, see `Density.sample`.
      chunk_size: number of samples of each array but the last; None takes those of one block.
      component: the component of a mixture to draw from; None draws from the density.
    Returns:
      An iterator over arrays [chunk_size, *event_shape].
    Raises:
      InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range, or if not even one block
        fits into memory.
    Example:
      >>> import jax, jflows
      >>> flow = jflows.realnvp((2,), num_layers=2)
      >>> variables = flow.init(jax.random.key(0))
      >>> [chunk.shape for chunk in sample_in_chunks(flow, variables, jax.random.key(1), 5000, chunk_size=2000)]
      [(2000, 2), (2000, 2), (1000, 2)]
    """
    check_key("sample_in_chunks", key)
    check_temperature("sample_in_chunks", temperature)
    _check_component(density, component)
    context = _checked_context(density, num, context)
    blocks = _blocks(density, variables, key, num, context, temperature, component)
    return blocks if chunk_size is None else _rechunked(blocks, chunk_size)


def _check_component(density: Density, component: int | None) -> None:
    if component is None:
        return
    if density.encodes:
        raise InvalidValueError("sample_in_chunks", "component", "is for mixtures", component, "Leave it out.")
    most = cast(MixtureOfFlows, density).num_components - 1
    if type(component) is not int or not 0 <= component <= most:  # JAX would take the nearest
        raise InvalidValueError("sample_in_chunks", "component", f"must be an int in 0..{most}", repr(component))


def _checked_context(density: Density, num: int, context: Any) -> np.ndarray | None:
    if context is None and density.context_shape is None:
        return None
    rows = None if context is None else np.asarray(context)
    if density.context_shape is None or rows is None or rows.shape != (num, *density.context_shape):
        wanted = None if density.context_shape is None else f"of shape {(num, *density.context_shape)}, a row a sample"
        got = "None" if rows is None else f"shape {rows.shape}"
        raise InvalidValueError("sample_in_chunks", "context", f"must be {wanted}", got)
    return rows


def _blocks(
    density: Density,
    variables: Variables,
    key: Key,
    num: int,
    context: np.ndarray | None,
    temperature: float,
    component: int | None,
) -> Iterator[np.ndarray]:
    size, heat = IMAGES if len(density.event_shape) > 1 else ROWS, np.float32(temperature)

    def numbered() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for start in range(0, num, size):
            rows = np.arange(start, start + size)  # also those after the last, so that all blocks have one shape
            yield rows.astype(np.uint32), None if context is None else context[rows % num]

    least = least_bytes(draw_block.trace(density, variables, key, *next(numbered()), heat, component).jaxpr)
    check_memory("sample", "num", least, f"{size} samples", num, "Make the flow smaller.")
    drawn = spread(_drawn, (density, component), (variables, key, heat), numbered())
    for number, block in enumerate(drawn):
        yield block[: num - number * size]


def _drawn(
    density: Density, component: int | None, given: tuple[Variables, Key, Array], block: tuple[Array, Array | None]
) -> Array:
    variables, key, temperature = given
    return draw_block(density, variables, key, *block, temperature, component)


def _rechunked(blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same rows in arrays of `size` rows, but for the last."""
    held, count = [], 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count < size:
            continue
        rows = np.concatenate(held)
        yield from (rows[start : start + size] for start in range(0, count - size + 1, size))
        held, count = [rows[count - count % size :]], count % size
    if count:
        yield np.concatenate(held)


@functools.partial(jax.jit, static_argnames=("density", "component"))
def draw_block(
    density: Density,
    variables: Variables,
    key: Key,
    index: Array,
    context: Array | None,
    temperature: Array,
    component: int | None,
) -> Array:
    """The samples of these numbers: [block] -> [block, *event_shape]."""
    keys = example_keys(key, index)
    one: Any = lambda key, context: density.sample(variables, key, (), context, temperature)
    if component is not None:
        draw = cast(MixtureOfFlows, density).sample_by_component
        one = lambda key, context: draw(variables, key, (), context, temperature)[component]
    elif density.takes_keys:
        return density.sample(variables, keys, keys.shape if context is None else (), context, temperature)
    return jax.vmap(one, in_axes=(0, None if context is None else 0))(keys, context)
