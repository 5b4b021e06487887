"""`samples.png` and one grid of images per temperature; `draw_parts` samples in batches, which bounds the memory."""

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import InvalidValueError
from jflows.eval import plots
from jflows.eval.memory import check_memory, least_bytes
from jflows.flows import Density, MixtureOfFlows
from jflows.flows.density import example_keys
from jflows.runs.reports.report import Material, Report, save_image
from jflows.typing import Array, Key, Variables

TEMPERATURES = (0.0, 0.25, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID = 64  # samples per temperature
OVERVIEW_COLUMNS = 10
OF_EACH_CLASS = 10  # samples per temperature of a class-conditional flow
DRAW_BATCH = 64  # images per call, which bounds memory
LANES = 16
DRAW_ROWS = 4096  # rows of a table per call
MAX_ROW = 20
MOST_IMAGES = 10_000  # in one picture
PIXEL_BITS = 8  # of floats that are drawn as images


def draw(
    density: Density, variables: Variables, key: Key, num: int, context: np.ndarray | None, temperature: float
) -> np.ndarray:
    """Draws `num` samples; see `draw_parts`."""
    return np.concatenate(list(draw_parts(density, variables, key, num, context, temperature)))


def draw_parts(
    density: Density,
    variables: Variables,
    key: Key,
    num: int,
    context: np.ndarray | None,
    temperature: float,
    component: int | None = None,
) -> Iterator[np.ndarray]:
    """Draws `num` samples, a batch at a time, in memory that does not grow with `num`.

    Sample i has the key `fold_in(key, i)`, so that it does not depend on how many are drawn; equal keys give equal
    noise, so that grids of several temperatures show the same draws, by one compiled program.

    Args:
      context: one per sample, [num, *context_shape], or None.
      component: the component of a mixture to draw from; None draws from the density.
    Raises:
      InvalidValueError: if not even one batch fits into memory.
    """
    # Whole vectors of the processor: the rows left over by others are rounded in another way.
    size = min(-(-num // LANES) * LANES, DRAW_BATCH if len(density.event_shape) > 1 else DRAW_ROWS)
    heat = np.float32(temperature)
    for start in range(0, num, size):
        rows = np.arange(start, start + size) % num  # the last batch is filled up, so that all have one shape
        own = None if context is None else context[rows]
        given = (density, variables, key, rows.astype(np.uint32), own, heat, component)
        if not start:
            least = least_bytes(_draw.trace(*given).jaxpr)
            check_memory("sample", "num", least, f"{size} samples", num, "Ask for fewer.")
        yield np.asarray(_draw(*given))[: num - start]


def contexts(density: Density, data: Data | None, num: int, label: int | None) -> np.ndarray | None:
    """The contexts of `num` samples: one label for all, or every class in turn, or the contexts of the first rows.

    Raises:
      InvalidValueError: if the density has no such class.
    """
    reading = density.reading
    if reading.context != "labels" and label is not None:
        fix = "Leave it out, or train with {conditional=True}."
        raise InvalidValueError("sample", "label", "needs a class-conditional flow", label, fix)
    if reading.context == "none":
        return None
    if reading.context == "vectors":
        own = None if data is None else data.context
        if own is None:
            rule, fix = "must have contexts, which this flow needs", "Name other data by {data}."
            raise InvalidValueError("sample", "data", rule, "none", fix)
        return own[np.arange(num) % len(own)]
    classes = reading.num_classes or 1
    if label is None:
        return np.arange(num, dtype=np.int32) % classes
    if not 0 <= label < classes:
        raise InvalidValueError("sample", "label", f"must be 0 to {classes - 1}", label)
    return np.full(num, label, np.int32)


def pixel_bits(density: Density) -> int:
    """The number of bits of the integers that a density of images models."""
    return density.reading.num_bits or PIXEL_BITS


def save_grid(
    images: np.ndarray, path: Path, num_bits: int, columns: int | None = None, labels: Sequence[str] = ()
) -> None:
    """Writes images as one PNG, in a square grid unless `columns` sets the length of its rows; `labels` name rows."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    save_image(plots.image_grid(images, columns, num_bits=num_bits, labels=labels), path)


def write(material: Material) -> list[str]:
    """Writes `samples_T<temperature>.png` for all `TEMPERATURES`, and `samples.png`, which compares them.

    The grids of a class-conditional flow of up to twenty classes have one row for each class, named at its left.
    """
    density, rows, files = material.density, [], []
    classes = density.reading.num_classes or 0
    by_class = density.reading.context == "labels" and 1 < classes <= MAX_ROW
    num = classes * OF_EACH_CLASS if by_class else GRID
    bits, context = pixel_bits(density), contexts(density, material.data, num, None)
    order = np.arange(num).reshape(-1, classes).T.ravel() if by_class else np.arange(num)  # drawn in turn
    columns, names = None, ()
    if by_class:
        columns, names = OF_EACH_CLASS, material.data.class_names or tuple(map(str, range(classes)))
    for temperature in TEMPERATURES:
        images = draw(density, material.variables, material.key, num, context, temperature)
        files.append(f"samples_T{temperature:.2f}.png")
        save_grid(images[order], material.out / files[-1], bits, columns, names)
        rows.append(images[:OVERVIEW_COLUMNS])
    save_temperatures(rows, TEMPERATURES, material.out / "samples.png", bits)
    return ["samples.png", *files]


def save_temperatures(rows: Sequence[np.ndarray], temperatures: Sequence[float], path: Path, num_bits: int) -> None:
    """Writes one row of images for each temperature, which is written at its left."""
    labels = [f"T = {temperature:.2f}" for temperature in temperatures]
    save_grid(np.concatenate(rows), path, num_bits, len(rows[0]), labels)


@functools.partial(jax.jit, static_argnames=("density", "component"))
def _draw(
    density: Density,
    variables: Variables,
    key: Key,
    index: Array,
    context: Array | None,
    temperature: Array,
    component: int | None,
) -> Array:
    keys = example_keys(key, index)
    if component is not None:
        mixture = cast(MixtureOfFlows, density)
        of_each = lambda key: mixture.sample_by_component(variables, key, (), None, temperature)[component]
        return jax.vmap(of_each)(keys)
    if density.takes_keys:
        return density.sample(variables, keys, keys.shape if context is None else (), context, temperature)
    one: Any = lambda key, context: density.sample(variables, key, (), context, temperature)
    return jax.vmap(one, in_axes=(0, None if context is None else 0))(keys, context)


REPORT = Report(write)
