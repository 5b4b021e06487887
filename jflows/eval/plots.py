"""Pictures: grids of images by Pillow, and learning curves by matplotlib; both are imported only when used.

Functions return a Pillow image or write one PNG file. Read next: `jflows/runs/reports/`, which write a run's pictures.
"""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval import drawing
from jflows.eval.bits import Evaluation
from jflows.flows.density import BITS_PER_DIM, Unit
from jflows.options import Count, NotNegative, NumBits, checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

TILE = 56  # pixels: small images are magnified by a whole number to about this side
PAPER, INK = (255, 255, 255), (40, 40, 40)
TRAIN_COLOUR, VALIDATION_COLOUR = "#7f9fc4", "#c0504d"
FONT_SIZE, SMALLEST_FONT, HEADING = 15, 9, 22
FAINT_CURVE = 0.45  # opacity of training behind validation
EARLY = 0.05  # part of a learning curve that may be cut off at the top, or its first fall would flatten the rest
CURVE_POINTS = 300  # a longer curve is averaged over neighbours, or its noise would hide its course


@checked
def to_bytes(images: np.ndarray, num_bits: NumBits = 8) -> np.ndarray:
    """Scales integers 0..2^num_bits - 1 to uint8 0..255, so that the highest level becomes 255.

    Example:
      >>> to_bytes(np.array([0, 1, 15]), num_bits=4)
      array([  0,  17, 255], dtype=uint8)
    """
    scaled = np.asarray(images, np.float64) * (255.0 / (2**num_bits - 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


@checked
def image_grid(
    images: np.ndarray,
    columns: Count,
    *,
    num_bits: NumBits = 8,
    magnify: NotNegative = 0,
    gap: NotNegative = 3,
    labels: Sequence[str] = (),
    headings: Sequence[str] = (),
) -> "Image":
    """Puts images side by side, row by row, on white.

    Args:
      images: integers in 0..2^num_bits - 1.
      columns: number of images per row; the last row may be shorter.
      magnify: how many times each pixel is repeated along both axes; 0 makes small images large enough to see.
      gap: number of pixels between images.
      labels: one text for each row, written at its left.
      headings: texts above the columns from the left; one reaches to the next, so that "" leaves room for it.
    Shapes:
      images: [num, height, width, 1 or 3].
    Raises:
      InvalidValueError: for an empty or misshapen array, or columns < 1.
    """
    images = np.asarray(images)
    if images.ndim != 4 or 0 in images.shape or images.shape[-1] not in (1, 3):
        raise InvalidValueError("image_grid", "images", "must be [num, height, width, 1 or 3]", f"shape {images.shape}")
    from PIL import Image

    num, height, width, _ = images.shape
    magnify = magnify or max(1, round(TILE / max(height, width)))
    tiles = np.broadcast_to(to_bytes(images, num_bits), (num, height, width, 3))
    tiles = tiles.repeat(magnify, axis=1).repeat(magnify, axis=2)
    rows, columns = math.ceil(num / columns), min(columns, num)
    high, wide = height * magnify + gap, width * magnify + gap
    canvas = np.full((rows * high + gap, columns * wide + gap, 3), PAPER, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = gap + (index // columns) * high, gap + (index % columns) * wide
        canvas[top : top + high - gap, left : left + wide - gap] = tile
    grid = Image.fromarray(canvas)
    grid = _head_columns(grid, headings, gap, wide) if headings else grid
    return _label_rows(grid, labels, gap, high, rows * high + gap) if labels else grid


def learning_curve(
    metrics: Sequence[Mapping[str, float]],
    path: str | PathLike[str],
    *,
    title: str = "",
    test: Evaluation | None = None,
    unit: Unit = BITS_PER_DIM,
) -> None:
    """Writes a PNG of the loss against the step: training, validation where it was measured, and the test result.

    Args:
      metrics: entries of metrics.jsonl: `step`, `bits_per_dim`, `loss`, and the scores of validation if there are any.
      path: path of the PNG.
      title: text above the axes.
      test: final score on the test set, drawn as a dashed line.
      unit: `BITS_PER_DIM`, or `NATS`, which draws the negative log-likelihood in nats per event.
    """
    figure, axes = curve_axes()
    step, loss = _averaged(*series(metrics, unit.curve_key))
    axes.plot(step, loss, _style(step), color=TRAIN_COLOUR, linewidth=1.3, label="training batches")
    shown = [loss[step > EARLY * step.max()]] if len(step) else []
    late_step, late_loss = _late_validation(metrics, unit, step)
    if len(late_step):
        (line,) = axes.plot(late_step, late_loss, "o-", color=VALIDATION_COLOUR, linewidth=1.6, label="validation")
        line.set(markersize=3.5, clip_on=False)
        shown.append(late_loss)
    if test is not None and math.isfinite(test.nats):
        value = unit.as_loss(getattr(test, unit.key))
        label = f"test, averaged weights: {value:.3f}"
        axes.axhline(value, color=tuple(c / 255 for c in INK), linewidth=1.0, linestyle=(0, (4, 3)), label=label)
        shown.append(np.array([value]))
    finish_curves(axes, step, shown, title, unit)
    figure.savefig(path, format="png")


def learning_curves(
    runs: Mapping[str, Sequence[Mapping[str, float]]],
    path: str | PathLike[str],
    *,
    title: str = "",
    unit: Unit = BITS_PER_DIM,
) -> None:
    """Writes a PNG of the curves of several runs in one unit: validation where it was measured, else training.

    Args:
      runs: the entries of metrics.jsonl of each run, by its name.
      path: path of the PNG.
      title: text above the axes.
      unit: `BITS_PER_DIM`, or `NATS`, which draws the negative log-likelihood in nats per event.
    Raises:
      InvalidValueError: if there is no run.
    """
    if not runs:
        raise InvalidValueError("learning_curves", "runs", "must hold at least one run", "none")
    figure, axes = curve_axes()
    shown, steps = [], []
    for name, metrics in runs.items():
        step, loss = _averaged(*series(metrics, unit.curve_key))
        (line,) = axes.plot(step, loss, _style(step), linewidth=0.8, alpha=FAINT_CURVE, label=name)
        late_step, late_loss = _late_validation(metrics, unit, step)
        if len(late_step):
            line.set_label("_nolegend_")
            axes.plot(late_step, late_loss, "o-", color=line.get_color(), markersize=3, linewidth=1.5, label=name)
            shown.append(late_loss)
        else:
            line.set(linewidth=1.5, alpha=1.0)
        shown += [loss[step > EARLY * step.max()]] if len(step) else []
        steps.append(step)
    finish_curves(axes, np.concatenate(steps), shown, title, unit)
    figure.savefig(path, format="png")


def _style(step: np.ndarray) -> str:
    """A curve is a line; one of a single step, as of a short run, would be no line, and is a dot."""
    return "o" if len(step) == 1 else "-"


def curve_axes() -> "tuple[Figure, Axes]":
    """An empty figure for learning curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A Figure of its own, not pyplot: no global state, no window system, nothing to close.
    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _late_validation(
    metrics: Sequence[Mapping[str, float]], unit: Unit, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of validations, but for early ones: markers are not clipped, so none may lie far outside."""
    val_step, score = series(metrics, f"validation_{unit.key}")
    late = val_step > EARLY * (step.max() if len(step) else 0)
    return val_step[late], unit.as_loss(score[late])


def finish_curves(axes: "Axes", step: np.ndarray, shown: list[np.ndarray], title: str, unit: Unit) -> None:
    """Adds limits by the values that must be seen, the words along the axes, and the legend."""
    _set_limits(axes, step, np.concatenate(shown) if shown else np.zeros(0))
    axes.set_xlabel("step")
    axes.set_ylabel(unit.curve_label)
    axes.set_title(title, loc="left", fontsize=11)
    drawing.plain(axes, "y")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def series(metrics: Sequence[Mapping[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a metric was measured and is finite, and its values there."""
    pairs = [(entry["step"], entry[name]) for entry in metrics if math.isfinite(entry.get(name, math.nan))]
    array = np.array(pairs, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _averaged(step: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over groups of neighbours, each at the last step of its group."""
    groups = np.array_split(np.arange(len(step)), min(CURVE_POINTS, max(len(step), 1)))
    if not len(step):
        return step, loss
    return np.array([step[g[-1]] for g in groups]), np.array([loss[g].mean() for g in groups])


def _set_limits(axes, step: np.ndarray, shown: np.ndarray) -> None:
    if len(step):
        axes.set_xlim(0, step.max() if step.min() < step.max() else 2 * step.max())  # a single step is in the middle
    if shown.size:
        low, high = float(shown.min()), float(shown.max())
        margin = 0.06 * max(high - low, 1e-3)
        axes.set_ylim(low - margin, high + margin)


def _head_columns(grid: "Image", headings: Sequence[str], gap: int, column_width: int) -> "Image":
    """The grid below a line of texts, in a size at which each fits above its columns."""
    from PIL import Image, ImageDraw, ImageFont

    starts = [column for column, text in enumerate(headings) if text]
    rooms = [end - start for start, end in zip(starts, (*starts[1:], grid.width // column_width), strict=True)]
    widest = max(
        ImageFont.load_default(FONT_SIZE).getlength(headings[start]) / (room * column_width - gap)
        for start, room in zip(starts, rooms, strict=True)
    )
    font = ImageFont.load_default(max(SMALLEST_FONT, min(FONT_SIZE, FONT_SIZE / widest)))
    canvas = Image.new("RGB", (grid.width, grid.height + HEADING), PAPER)
    canvas.paste(grid, (0, HEADING))
    draw = ImageDraw.Draw(canvas)
    for start in starts:
        draw.text((gap + start * column_width, HEADING - 2), headings[start], fill=INK, font=font, anchor="ls")
    return canvas


def _label_rows(grid: "Image", labels: Sequence[str], gap: int, row_height: int, height: int) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    margin = math.ceil(max(font.getlength(label) for label in labels)) + FONT_SIZE
    canvas = Image.new("RGB", (grid.width + margin, grid.height), PAPER)
    canvas.paste(grid, (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for row, label in enumerate(labels):
        middle = grid.height - height + gap + row * row_height + (row_height - gap) / 2
        draw.text((margin - FONT_SIZE / 2, middle), label, fill=INK, font=font, anchor="rm")
    return canvas
