"""The pictures of a run, each one PNG file: samples, interpolation, reconstruction; for data in the plane, a page."""

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from jflows.data import Data, ImageData
from jflows.errors import DataError, InvalidValueError, RunError
from jflows.eval import drawing, latent, plane_page, plots
from jflows.flows import Density, Flow
from jflows.typing import Array, Key, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPERATURES = (0.0, 0.25, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID = 64  # samples per temperature
OVERVIEW_COLUMNS = 10
DRAW_BATCH = 64  # samples per call, which bounds memory
MAX_ROW = 20


def draw(
    flow: Density, variables: Variables, key: Key, num: int, context: np.ndarray | None, temperature: float
) -> np.ndarray:
    """`num` samples, a batch at a time; the temperature is traced, so all temperatures share one program.

    Equal keys give equal noise, so that grids of several temperatures show the same draws.
    """
    size = min(num, DRAW_BATCH)
    images = []
    for start in range(0, num, size):
        rows = np.arange(start, start + size) % num
        labels = None if context is None else context[rows]
        batch_key = jax.random.fold_in(key, start // size)
        images.append(np.asarray(_draw(flow, variables, batch_key, labels, np.float32(temperature), size)))
    return np.concatenate(images)[:num]


def samples(flow: Flow, variables: Variables, directory: Path, key: Key, context: np.ndarray | None) -> list[Path]:
    """Writes `samples_T<temperature>.png` for all `TEMPERATURES`, and `samples.png`, which compares them."""
    bits, rows, paths = _bits(flow), [], []
    classes = getattr(flow.embed, "num_classes", None) or 0
    columns = classes if 1 < classes <= MAX_ROW else None  # one class per column
    for temperature in TEMPERATURES:
        images = draw(flow, variables, key, GRID, context, temperature)
        paths.append(directory / f"samples_T{temperature:.2f}.png")
        save_grid(images, paths[-1], bits, columns)
        rows.append(images[:OVERVIEW_COLUMNS])
    labels = [f"T = {temperature:.2f}" for temperature in TEMPERATURES]
    grid = plots.image_grid(np.concatenate(rows), OVERVIEW_COLUMNS, num_bits=bits, labels=labels)
    paths.append(directory / "samples.png")
    with saving(paths[-1]) as partial:
        grid.save(partial, format="png", optimize=True)
    return paths


def interpolation(
    flow: Flow,
    variables: Variables,
    images: ImageData,
    path: Path,
    *,
    seed: int = 0,
    num_pairs: int = 8,
    num_steps: int = 10,
    mode: str = "linear",
) -> None:
    """Writes one row per pair of images: the path between them in latent space.

    Raises:
      DataError: if there are too few images, or no two of one class for a class-conditional flow.
    """
    first, second = _pairs(flow, images, num_pairs, seed)
    context = images.label[first] if flow.context_shape is not None and images.label is not None else None
    paths = _interpolate(flow, variables, images.x[first], images.x[second], num_steps, context, mode)
    grid = np.asarray(paths).reshape(-1, *flow.event_shape)
    save_grid(grid, path, _bits(flow), columns=num_steps)


def reconstruction(
    flow: Flow, variables: Variables, images: ImageData, path: Path, *, seed: int = 0, num: int = 12
) -> float:
    """Writes data, reconstructions and magnified errors as three rows.

    Returns:
      The largest error, in pixel levels.
    """
    rows = _choose(images, min(num, MAX_ROW), seed)
    context = images.label[rows] if flow.context_shape is not None and images.label is not None else None
    x = images.x[rows]
    rebuilt, error = (np.asarray(a) for a in _reconstruct(flow, variables, x, context))
    top = 2 ** _bits(flow) - 1
    largest = float(error.max())
    # A power of ten that makes the largest error visible; 1 where it is visible already.
    factor = 10 ** max(0, math.floor(math.log10(top / max(largest, 1e-12)))) if math.isfinite(largest) else 1
    shown = [x, np.clip(np.rint(np.nan_to_num(rebuilt)), 0, top), np.clip(np.nan_to_num(error) * factor, 0, top)]
    labels = ["data", "reconstruction", f"|error| times {factor:,}"]
    grid = plots.image_grid(np.concatenate(shown), len(rows), num_bits=_bits(flow), labels=labels)
    with saving(path) as partial:
        grid.save(partial, format="png", optimize=True)
    return largest


def plane(
    flow: Flow,
    variables: Variables,
    table: Data,
    path: Path,
    *,
    initial_variables: Variables | None = None,
    seed: int = 0,
    title: str = "",
) -> None:
    """Writes the page of `jflows.eval.plane_page`, for a flow without context on data of two columns.

    Args:
      table: test rows.
      initial_variables: those before training; None makes new ones from the first rows.
      seed: of draws from the base, and of new variables.
    Raises:
      InvalidValueError: if data or flow are of another kind.
      RunError: if it cannot be written.
    """
    figure = plane_page(
        flow,
        variables,
        table.x,
        table.label,
        initial_variables=initial_variables,
        key=jax.random.key(seed),
        title=title or table.name,
    )
    save_figure(figure, path)


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure of few colours as a small PNG."""
    with saving(path) as partial:
        drawing.save(figure, partial)


def save_grid(images: np.ndarray, path: Path, num_bits: int, columns: int | None = None) -> None:
    """Writes images as one PNG, in rows as long as the grid is high unless `columns` says otherwise."""
    grid = plots.image_grid(images, columns or math.ceil(math.sqrt(len(images))), num_bits=num_bits)
    with saving(path) as partial:
        grid.save(partial, format="png", optimize=True)


@contextlib.contextmanager
def saving(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, so that no torn file is left.

    Raises:
      RunError: if it cannot be written (a full disk, no permission).
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        fix = "Free some disk space or choose another place; nothing else was lost."
        raise RunError("write", str(path), "must be writable", error.strerror or str(error), fix) from error
    finally:
        with contextlib.suppress(OSError):  # a folder of the path may be a file
            partial.unlink(missing_ok=True)


@functools.partial(jax.jit, static_argnames=("flow", "size"))
def _draw(flow: Density, variables: Variables, key: Key, context: Array | None, temperature: Array, size: int) -> Array:
    return flow.sample(variables, key, (size,) if context is None else (), context, temperature)


_interpolate = jax.jit(latent.interpolate, static_argnames=("flow", "num_steps", "mode"))
_reconstruct = jax.jit(latent.reconstruct, static_argnames=("flow",))


def _bits(flow: Flow) -> int:
    return 8 if flow.dequantize is None else flow.dequantize.num_bits


def _choose(images: ImageData, num: int, seed: int) -> np.ndarray:
    if len(images) < num:
        rule = f"must be at least {num}"
        raise DataError(f"data {images.name!r}", "number of images", rule, len(images), "Ask for fewer.")
    return np.random.RandomState(seed % 2**32).permutation(len(images))[:num]


def _pairs(flow: Flow, images: ImageData, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `num` pairs, of one class each if the flow is class-conditional."""
    if flow.context_shape is None:
        rows = _choose(images, 2 * num, seed)
        return rows[:num], rows[num:]
    if images.label is None:
        raise InvalidValueError("interpolate", "data", "must have labels, as the flow needs them", images.name)
    order = np.random.RandomState(seed % 2**32).permutation(len(images))
    by_class = [order[images.label[order] == label] for label in range(images.num_classes or 0)]
    pairs = [rows[i : i + 2] for i in range(0, len(order), 2) for rows in by_class if len(rows) >= i + 2][:num]
    if len(pairs) < num:
        rule = f"must have {num} pairs of images of one class"
        raise DataError(f"data {images.name!r}", "label", rule, f"{len(pairs)} pairs", "Ask for fewer.")
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
