"""Drawing tools of `jflows/eval/plane.py`: pages of square panels, points, densities, curves of errors, and colours.

Sizes are in inches. Figures are made without pyplot, so that there is no global state, no window and nothing to close.
"""

import io
import math
from os import PathLike
from typing import IO, TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
MARGIN, TITLE, SECTION, HEADING = 0.45, 0.4, 0.3, 0.27  # around all; above page, row and panel
TICKS, BELOW = 0.24, 0.06  # below panels with numbers, and without
INK, GREY, FAINT, MISSING, GRID = "#282828", "#8a8a8a", "#b8b8b8", "#d8d8d8", "#e6e6e6"
BEFORE, AFTER = "#7f9fc4", "#c0504d"  # as the two curves of a learning curve
DENSITY_COLOURS = "magma"
OUTSIDE = 0.002  # part of the points on each side that limits may leave out
ROOM = 1.16  # times the range of the others
OTHER_UNIT = 8  # times as long: a column of another unit, which one length would press into a line
PALETTE = 256
LIGHTNESS, CHROMA = 0.65, 0.15  # of points, in Oklch
FIRST_HUE = 0.6  # orange; its opposite is blue


class Box(NamedTuple):
    """The limits of a square panel."""

    left: float
    right: float
    bottom: float
    top: float


class Page:
    """Rows of square panels from the top; the height of the figure follows from its rows.

    Args:
      width: width of the page between the margins.
      title: text above all rows; "" for none.
    """

    def __init__(self, title: str = "", width: float = 10.6):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure, self._width, self._title = Figure(dpi=DPI), width, title
        FigureCanvasAgg(self._figure)
        self._placed: list[tuple[Axes, Box]] = []  # of the page, downwards from its top
        self._sections: list[tuple[str, float]] = []
        self._bottom = MARGIN / 2 + (TITLE if title else 0)

    def row(
        self,
        count: int,
        *,
        columns: int = 0,
        gap: float = 0.43,
        above: float = HEADING,
        ticks: bool = True,
        section: str = "",
    ) -> "list[Axes]":
        """Adds a row of `count` panels, of such a size that `columns` of them fill the width.

        Args:
          gap: space between panels.
          above: space above the panels, for their headings.
          ticks: whether the axes of panels have numbers.
          section: a line of text above the row.
        """
        columns = columns or count
        side = (self._width - (columns - 1) * gap) / columns
        if section:
            self._sections.append((section, self._bottom + SECTION))
            self._bottom += SECTION
        top = self._bottom + above
        self._bottom = top + side + (TICKS if ticks else BELOW)
        panels = []
        for column in range(count):
            axes = self._figure.add_axes((0, 0, 1, 1), label=f"{len(self._placed)}")
            axes.spines[:].set_color(FAINT)
            axes.tick_params(color=FAINT, labelcolor=GREY, labelsize=7, length=2.5, pad=2)
            if not ticks:
                axes.set(xticks=[], yticks=[])
            left = MARGIN + column * (side + gap)
            self._placed.append((axes, Box(left, left + side, top + side, top)))
            panels.append(axes)
        return panels

    def beside(self, axes: "Axes", offset: float = 0.05, width: float = 0.09) -> "Axes":
        """Adds a slim panel at the right of another, for a colour bar."""
        place = next(place for placed, place in self._placed if placed is axes)
        slim = self._figure.add_axes((0, 0, 1, 1), label=f"{len(self._placed)}")
        left = place.right + offset
        self._placed.append((slim, place._replace(left=left, right=left + width)))
        return slim

    def finish(self) -> "Figure":
        """Puts all panels in their places, and returns the figure."""
        width, height = self._width + 2 * MARGIN, self._bottom + MARGIN / 2
        self._figure.set_size_inches(width, height)
        for axes, place in self._placed:
            size = ((place.right - place.left) / width, (place.bottom - place.top) / height)
            axes.set_position((place.left / width, 1 - place.bottom / height, *size))
        for text, bottom in self._sections:
            self._figure.text(MARGIN / width, 1 - bottom / height, text, fontsize=9.5, weight="bold", color=INK)
        if self._title:
            top = 1 - (MARGIN / 2 + TITLE / 2) / height
            self._figure.text(MARGIN / width, top, self._title, fontsize=13, weight="bold", color=INK, va="center")
        return self._figure


def save(figure: "Figure", path: str | PathLike[str] | IO[bytes]) -> None:
    """Writes a PNG of 256 colours, which is a third of the size of one of all colours, and hard to tell from it."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        few = image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    few.save(path, format="png", optimize=True)


def square(*clouds: np.ndarray) -> Box:
    """The smallest square around nearly all points of each cloud [num, 2], with some room; NaN does not count.

    Of axes of other units, such as an income and an age, each has a length of its own.
    """
    lows, highs = [], []
    for cloud in clouds:
        kept = cloud[np.isfinite(cloud).all(axis=-1)]
        low, high = np.quantile(kept, (OUTSIDE, 1 - OUTSIDE), axis=0) if len(kept) else np.zeros((2, 2))
        lows.append(low)
        highs.append(high)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    lengths = high - low
    if np.min(lengths) * OTHER_UNIT > np.max(lengths):
        lengths = np.full(2, np.max(lengths))
    x, y = (float(value) for value in (low + high) / 2)
    half_x, half_y = (ROOM * float(n) / 2 or 1e-6 * max(abs(at), 1.0) for n, at in zip(lengths, (x, y), strict=True))
    return Box(x - half_x, x + half_x, y - half_y, y + half_y)


def plain(axes: "Axes", grid: Literal["x", "y", "both"], labels: str = INK) -> None:
    """Leaves two faint axes, with the colour of their numbers, and a grid behind the curves."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=labels)
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def heading(axes: "Axes", text: str, size: float = 8.5) -> None:
    """Draws a short title at the left of a panel."""
    axes.set_title(text, loc="left", fontsize=size, color=INK, pad=4)


def points(axes: "Axes", values: np.ndarray, colours: np.ndarray, box: Box, size: float = 3.0) -> None:
    """Draws points [num, 2] as small dots."""
    axes.scatter(*values.T, s=size, c=colours, alpha=0.65, linewidths=0, rasterized=True)
    _limit(axes, box)


def polar_grid(axes: "Axes", curves: np.ndarray, circles: int, box: Box, width: float = 0.8) -> None:
    """Draws circles in ink, then rays, each in the colour that `colours_of_latents` gives to its direction.

    Args:
      curves: [num, points, 2], the circles first.
      circles: how many of the curves are circles.
    """
    from matplotlib.collections import LineCollection

    num_rays = len(curves) - circles
    hues = _oklch(LIGHTNESS, CHROMA, 2 * math.pi * np.arange(num_rays) / num_rays)
    for part, colours in ((curves[circles:], hues), (curves[:circles], GREY)):
        axes.add_collection(LineCollection(list(part), colors=colours, linewidths=width), autolim=False)
    _limit(axes, box)


def density(axes: "Axes", log_prob: np.ndarray, box: Box, low: float, high: float):
    """Draws a log density on a grid, rows from the bottom, with NaN in grey; returns the image, for a colour bar."""
    from matplotlib import colormaps

    colours = colormaps[DENSITY_COLOURS].with_extremes(bad=MISSING)
    shown = np.maximum(log_prob, low)  # -inf, the logarithm of nothing, is not missing
    image = axes.imshow(
        shown,
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=(box.left, box.right, box.bottom, box.top),
        origin="lower",
        aspect="auto",
    )
    image.set_interpolation("nearest")
    _limit(axes, box)
    return image


def colour_bar(axes: "Axes", image, label: str) -> None:
    """Draws the colour bar of a `density` into a slim panel."""
    bar = axes.figure.colorbar(image, cax=axes)
    bar.outline.set_edgecolor(FAINT)
    axes.tick_params(color=FAINT, labelcolor=GREY, labelsize=7, length=2.5, pad=2)
    axes.set_title(label, fontsize=7, color=GREY, loc="left", pad=4)


def errors(axes: "Axes", before: np.ndarray, after: np.ndarray) -> None:
    """Draws, for two sets of errors, the share of points with a larger error, and the largest error as text."""
    for values, colour, name in ((before, BEFORE, "before"), (after, AFTER, "after")):
        values = np.sort(np.asarray(values, np.float64))
        share = 1 - np.arange(1, len(values) + 1) / len(values)
        seen = values > 0  # a log axis has no zero; NaN is sorted to the end, and named
        largest = "0 (exact)" if values[-1] == 0 else f"{values[-1]:.1e}"
        axes.plot(values[seen], share[seen], color=colour, linewidth=1.4, label=f"{name}: largest {largest}")
    axes.set_xscale("log")
    axes.minorticks_off()  # within one decade matplotlib would label them, one over the other
    axes.set_ylim(0, 1.36)  # room for the words
    axes.yaxis.tick_right()
    axes.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.spines[["left", "top"]].set_visible(False)
    legend = axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor", handlelength=0, handletextpad=0)
    legend.set(loc="upper left", title="share of points with a larger error")
    legend.get_title().set(fontsize=7.5, color=GREY)
    legend.set_alignment("left")


def colours_of_data(x: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Chooses one colour per point of data: [num, 2] -> [num, 3].

    A class has one hue, darker along its longest axis; without classes, the hue is the angle around the mean.
    """
    if label is None:
        return _polar_colours(x - x.mean(axis=0))
    classes = np.unique(label)
    colours = np.zeros((len(x), 3))
    for index, one in enumerate(classes):
        rows = label == one
        centred = x[rows] - x[rows].mean(axis=0)
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
        rank = np.argsort(np.argsort(centred @ axis)) / max(rows.sum() - 1, 1)
        hue = FIRST_HUE + 2 * math.pi * index / len(classes)
        colours[rows] = _oklch(0.42 + 0.38 * rank, CHROMA, hue)
    return colours


def colours_of_latents(z: np.ndarray) -> np.ndarray:
    """Chooses one colour per latent, whose hue is the angle around the mean: [num, 2] -> [num, 3]."""
    return _polar_colours(z - z.mean(axis=0))


def _polar_colours(centred: np.ndarray) -> np.ndarray:
    return _oklch(LIGHTNESS, CHROMA, np.arctan2(centred[:, 1], centred[:, 0]))


def _oklch(lightness, chroma: float, hue) -> np.ndarray:
    """Equal steps of lightness and hue that look equal, as sRGB in [0, 1]: arrays [num] -> [num, 3].

    Source: Ottosson 2020, "A perceptual color space for image processing", section "Converting from XYZ to Oklab".
    """
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    )
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _limit(axes: "Axes", box: Box) -> None:
    axes.set(xlim=(box.left, box.right), ylim=(box.bottom, box.top), aspect="auto")  # panels are square
    if len(axes.get_xticks()):
        axes.locator_params(nbins=4)
