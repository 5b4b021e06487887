"""`samples.png` and one grid of images per temperature."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jflows.data import Data
from jflows.errors import InvalidValueError
from jflows.eval import plots
from jflows.eval.sampling import sample_in_chunks
from jflows.flows import Density
from jflows.runs.reports.report import Material, Report, save_image
from jflows.typing import Key, Variables

TEMPERATURES = (0.0, 0.25, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID = 64  # samples per temperature
OVERVIEW_COLUMNS = 10
OF_EACH_CLASS = 10  # samples per temperature of a class-conditional flow
DRAW_BATCH = 64  # images per call, which bounds memory
MAX_ROW = 20
MOST_IMAGES = 10_000  # in one picture
PIXEL_BITS = 8  # of floats that are drawn as images


def draw(
    density: Density, variables: Variables, key: Key, num: int, context: np.ndarray | None, temperature: float
) -> np.ndarray:
    """Draws `num` samples; see `jflows.eval.sample_in_chunks`."""
    return np.concatenate(list(sample_in_chunks(density, variables, key, num, context, temperature)))


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


REPORT = Report(write)
