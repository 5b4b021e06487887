"""Figures of flows in the plane: a page that shows one flow from all sides, and several flows side by side.

Functions take arrays and return a matplotlib `Figure`; matplotlib is imported only when used. A point keeps its colour
in all panels, so that it can be followed from data to latent and back. Read next: `jflows/eval/layers.py`, which
computes the values between layers, and `jflows/runs/reports/page.py`, which writes the page.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval import drawing
from jflows.eval.layers import layer_names, layerwise
from jflows.flows import Density, Flow
from jflows.typing import Array, Key, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 2500  # of data, and as many draws from the base
GRID = 200  # cells per side of a density, about one per pixel of its panel
SCORED = 2000  # points per batch of densities, a divisor of GRID^2
HISTOGRAM = 70  # cells per side
NATS_SHOWN = 7.0  # densities are shown from the largest value down to so much less
STRIP, STRIP_LEAST = 9, 7  # most panels of a strip, and how many fill its width at least
PANELS_PER_ROW = 5
INIT_ROWS = 512  # from which new variables before training are made
RADII, RAYS, LINE_POINTS = (0.5, 1.0, 1.5, 2.0, 2.5), 24, 240  # of the polar grid, radii in deviations of the base


class Panel(NamedTuple):
    """One flow of `flows_figure`, and the title of its panel."""

    title: str
    flow: Flow
    variables: Variables


class Study(NamedTuple):
    """The numbers that the figures show of one flow with one set of variables.

    Attributes:
      inwards: data, then their values after every layer of the inverse; the last are latents.
      outwards: draws from the base, then their values after every layer of forward; the last are samples.
      rings: the polar grid, and its values after every layer of forward, [lines, points, 2].
      x_error: largest coordinate of |decode(encode(x)) - x|.
      z_error: largest coordinate of |encode(decode(z)) - z|.
      log_prob: log density on the grid, [GRID, GRID], rows from the bottom, in nats.
      mean_log_prob: mean log density of all data, in nats.
    """

    inwards: list[np.ndarray]
    outwards: list[np.ndarray]
    rings: list[np.ndarray]
    x_error: np.ndarray
    z_error: np.ndarray
    log_prob: np.ndarray
    mean_log_prob: float


def plane_page(
    flow: Flow,
    variables: Variables,
    x: np.ndarray,
    label: np.ndarray | None = None,
    *,
    initial_variables: Variables | None = None,
    key: Key | None = None,
    title: str = "",
) -> "Figure":
    """Draws a page about one flow on data of two columns.

    From the top, the page shows data mapped to the latent and latents mapped to data, before and after training, each
    with its reconstruction error; the density, and its mean over all rows; and the layers one by one in both
    directions, with coordinates in the order of the data. Panels of data share their limits, and so do panels of
    latents; a panel between layers has its own.

    Args:
      x: test rows; the first 2,500 are drawn as points.
      label: labels of the rows, which give every class a hue; None makes the hue the angle around the mean.
      initial_variables: the variables before training; None makes new ones from the first rows.
      key: key of draws from the base, and of new variables; None takes `jax.random.key(0)`.
      title: text above the page.
    Shapes:
      x: [num, 2]; label: [num] or None.
    Raises:
      InvalidValueError: if data or latents are not of two dimensions, or the flow takes a context.
    """
    x = _check_plane("plane_page", flow, x)
    if label is not None and np.shape(label) != x.shape[:1]:
        got = f"shape {np.shape(label)} for {len(x)} rows"
        raise InvalidValueError("plane_page", "label", "must hold one label per row", got)
    key = jax.random.key(0) if key is None else key
    if initial_variables is None:
        initial_variables = flow.init(key, jnp.asarray(x[:INIT_ROWS]))
    box = drawing.square(x)
    z = _draw_base(flow, variables, key, x.dtype)
    before, after = (_study(flow, v, x, z, box) for v in (initial_variables, variables))
    page = drawing.Page(title)
    colours = drawing.colours_of_data(x[:POINTS], None if label is None else label[:POINTS])
    _draw_directions(page, before, after, colours, box)
    _draw_densities(page, x, before, after, box)
    _draw_layers(page, flow, after, colours)
    return page.finish()


def flows_figure(panels: Sequence[Panel], x: np.ndarray, *, key: Key | None = None, title: str = "") -> "Figure":
    """Draws several flows side by side, such as flows of one to ten layers: densities, and samples from equal draws.

    Args:
      panels: one or more flows of data with two columns, drawn five in a row.
      x: test rows, which set the limits.
      key: key of the draws; None takes `jax.random.key(0)`.
      title: text above the figure.
    Shapes:
      x: [num, 2].
    Raises:
      InvalidValueError: if there is no flow, or one is not of two dimensions, or takes a context.
    """
    if not panels:
        raise InvalidValueError("flows_figure", "panels", "must hold at least one flow", "none")
    for panel in panels:
        x = _check_plane("flows_figure", panel.flow, x)
    box = drawing.square(x)
    key, cells = jax.random.key(0) if key is None else key, cells_of(box, x.dtype)
    page = drawing.Page(title)
    draws = [_draw_base(panel.flow, panel.variables, key, x.dtype) for panel in panels]
    pairs = [_density_and_samples(d.flow, d.variables, z, cells) for d, z in zip(panels, draws, strict=True)]
    found = [(np.reshape(log_prob, (GRID, GRID)), np.asarray(samples)) for log_prob, samples in pairs]
    top = max(_largest(log_prob) for log_prob, _ in found)
    for start in range(0, len(panels), PANELS_PER_ROW):
        rows = range(start, min(start + PANELS_PER_ROW, len(panels)))
        for axes, row in zip(page.row(len(rows), columns=PANELS_PER_ROW, gap=0.12, ticks=False), rows, strict=True):
            drawing.density(axes, found[row][0], box, top - NATS_SHOWN, top)
            drawing.heading(axes, panels[row].title)
        below = page.row(len(rows), columns=PANELS_PER_ROW, gap=0.12, ticks=False, above=0.12)
        for axes, row in zip(below, rows, strict=True):
            drawing.points(axes, found[row][1], drawing.colours_of_latents(draws[row]), box)
    return page.finish()


def _study(flow: Flow, variables: Variables, x: np.ndarray, z: np.ndarray, box: drawing.Box) -> Study:
    scored = np.concatenate(
        [cells_of(box, x.dtype), np.resize(x, (-(-len(x) // SCORED) * SCORED, 2))]
    )  # one program for both
    found = jax.tree.map(np.asarray, _compute(flow, variables, x[:POINTS], z, scored))
    inwards, outwards, rings, x_error, z_error, log_prob = found
    grid, rows = log_prob[: GRID**2].reshape(GRID, GRID), log_prob[GRID**2 :][: len(x)]
    return Study(inwards, outwards, rings, x_error, z_error, grid, float(rows.mean()))


@functools.partial(jax.jit, static_argnames="flow")
def _compute(flow: Flow, variables: Variables, x: Array, z: Array, scored: Array) -> tuple:
    """The first fields of `Study`, in its order, then the log density of `scored`."""
    key = jax.random.key(0) if flow.needs_key else None
    inwards = [x, *layerwise(flow, variables, x)]
    rings = _rings(z)
    both = layerwise(flow, variables, jnp.concatenate([z, rings.reshape(-1, 2)]), "forward")
    outwards = [z, *(values[: len(z)] for values in both)]
    lines = [rings, *(values[len(z) :].reshape(rings.shape) for values in both)]
    x_error = jnp.max(jnp.abs(flow.deviation(flow.decode(variables, inwards[-1], key=key)[0], x)), axis=-1)
    z_error = jnp.max(jnp.abs(flow.encode(variables, outwards[-1], key=key)[0] - z), axis=-1)
    return inwards, outwards, lines, x_error, z_error, log_prob_of(flow, variables, scored, key)


@functools.partial(jax.jit, static_argnames="flow")
def _density_and_samples(flow: Flow, variables: Variables, z: Array, cells: Array) -> tuple[Array, Array]:
    key = jax.random.key(0) if flow.needs_key else None
    return log_prob_of(flow, variables, cells, key), flow.decode(variables, z, key=key)[0]


def log_prob_of(density: Density, variables: Variables, scored: Array, key: Key | None) -> Array:
    """Log densities in batches, which bounds memory: [num, 2] -> [num], num a multiple of SCORED."""
    return jax.lax.map(lambda batch: density.log_prob(variables, batch, key=key), scored.reshape(-1, SCORED, 2)).ravel()


def cells_of(box: drawing.Box, dtype: np.dtype) -> np.ndarray:
    """Centres of the GRID x GRID cells of a box, row by row from the bottom: [GRID^2, 2]."""
    steps = (np.arange(GRID) + 0.5) / GRID
    x, y = box.left + (box.right - box.left) * steps, box.bottom + (box.top - box.bottom) * steps
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(dtype)


def _rings(z: Array) -> Array:
    """Circles and rays around the mean of draws from the base, in their deviations: [lines, points, 2]."""
    radius, angle = np.array(RADII)[:, None, None], np.linspace(0, 2 * np.pi, LINE_POINTS)
    circles = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    radius, angle = np.linspace(0, RADII[-1], LINE_POINTS)[:, None], 2 * np.pi * np.arange(RAYS)[:, None] / RAYS
    rays = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return jnp.mean(z, axis=0) + jnp.std(z, axis=0) * np.concatenate([circles, rays]).astype(z.dtype)


def _draw_base(flow: Flow, variables: Variables, key: Key, dtype: np.dtype) -> np.ndarray:
    own = {collection: tree["base"] for collection, tree in variables.items() if "base" in tree}
    return np.asarray(flow.base.apply(own, key, (POINTS,), method="sample"), dtype)


def _draw_directions(page: drawing.Page, before: Study, after: Study, colours: np.ndarray, box: drawing.Box) -> None:
    """Both directions, before and after training, and their reconstruction errors."""
    z = after.outwards[0]
    latents = drawing.square(z, after.inwards[-1])
    data, start, end, error = page.row(4, section="Inverse: data to latent")
    drawing.points(data, after.inwards[0], colours, box)
    drawing.points(start, before.inwards[-1], colours, latents)
    drawing.points(end, after.inwards[-1], colours, latents)
    drawing.errors(error, before.x_error, after.x_error)
    for axes, text in zip(
        (data, start, end), ("x, data", "encode(x) before training", "encode(x) after training"), strict=True
    ):
        drawing.heading(axes, text)
    drawing.heading(error, "|decode(encode(x)) \u2212 x|, units of x")
    base, start, end, error = page.row(4, section="Forward: latent to data")
    colours = drawing.colours_of_latents(z)
    drawing.points(base, z, colours, latents)
    drawing.points(start, before.outwards[-1], colours, box)
    drawing.points(end, after.outwards[-1], colours, box)
    drawing.errors(error, before.z_error, after.z_error)
    texts = ("z, draws of the base", "decode(z) before training", "decode(z) after training: samples")
    for axes, text in zip((base, start, end), texts, strict=True):
        drawing.heading(axes, text)
    drawing.heading(error, "|encode(decode(z)) \u2212 z|, units of z")


def _draw_densities(page: drawing.Page, x: np.ndarray, before: Study, after: Study, box: drawing.Box) -> None:
    """A histogram of the data and the density before and after training in the same colours; then the polar grid."""
    counts, _, _ = np.histogram2d(x[:, 1], x[:, 0], HISTOGRAM, [[box.bottom, box.top], [box.left, box.right]])
    area = (box.right - box.left) * (box.top - box.bottom) / HISTOGRAM**2
    with np.errstate(divide="ignore"):
        histogram = np.log(counts / (len(x) * area))
    top = _largest(after.log_prob)
    data, start, end, warped = page.row(4, section="Density")
    for axes, values in ((data, histogram), (start, before.log_prob), (end, after.log_prob)):
        image = drawing.density(axes, values, box, top - NATS_SHOWN, top)
    drawing.colour_bar(page.beside(end), image, "nats")
    drawing.heading(data, f"histogram of {len(x):,} rows, log density")
    drawing.heading(start, f"log p(x) before, mean {_number(before.mean_log_prob)} nats")
    drawing.heading(end, f"log p(x) after, mean {_number(after.mean_log_prob)} nats")
    warped.set_yticks([])  # the labels of the colour bar stand there
    drawing.polar_grid(warped, after.rings[-1], len(RADII), box)
    drawing.heading(warped, "decode(circles and rays)")


def _draw_layers(page: drawing.Page, flow: Flow, after: Study, colours: np.ndarray) -> None:
    """Two strips: data on their way to the latents, and draws of the base with a polar grid on their way to data."""
    _draw_strip(page, flow, "inverse", after.inwards, None, colours)
    _draw_strip(page, flow, "forward", after.outwards, after.rings, drawing.colours_of_latents(after.outwards[0]))


def _draw_strip(
    page: drawing.Page,
    flow: Flow,
    direction: str,
    states: Sequence[np.ndarray],
    rings: Sequence[np.ndarray] | None,
    colours: np.ndarray,
) -> None:
    """Points after every layer, or after some evenly chosen if there are many; every panel has its own limits."""
    start, way = ("x", "data to latent") if direction == "inverse" else ("z", "latent to data")
    names = [start, *(f"after {name}" for name in layer_names(flow, direction))]
    turned = _turned(states)
    chosen = np.unique(np.linspace(0, len(states) - 1, min(STRIP, len(states))).round().astype(int))
    some = "" if len(chosen) == len(states) else f"{len(chosen)} of {len(states)} panels, "
    section = f"Layer by layer, {way}; {some}each with its own limits"
    panels = page.row(len(chosen), columns=max(len(chosen), STRIP_LEAST), gap=0.1, ticks=False, section=section)
    for axes, index in zip(panels, chosen, strict=True):
        values, exchanged = turned[index]
        box = drawing.square(values)
        drawing.points(axes, values, colours, box, size=1.2)
        if rings is not None:
            curves = rings[index][..., ::-1] if exchanged else rings[index]
            drawing.polar_grid(axes, curves, len(RADII), box, width=0.4)
        drawing.heading(axes, names[index], size=7.5)


def _turned(states: Sequence[np.ndarray]) -> list[tuple[np.ndarray, bool]]:
    """The values after each layer, with coordinates exchanged wherever this leaves points nearer to where they were.

    Layers that only reverse the coordinates would turn the picture over at each step and hide what the others do.
    """
    found = [(states[0], False)]
    for values in states[1:]:
        last = found[-1][0]
        flipped = values[:, ::-1]
        with np.errstate(invalid="ignore"):  # infinite values have no distance
            exchanged = bool(np.nansum(np.abs(flipped - last)) < np.nansum(np.abs(values - last)))
        found.append((flipped if exchanged else values, exchanged))
    return found


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")


def _largest(log_prob: np.ndarray) -> float:
    """The largest finite value, or 0 if there is none."""
    finite = log_prob[np.isfinite(log_prob)]
    return float(finite.max()) if finite.size else 0.0


def _check_plane(where: str, flow: Flow, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise InvalidValueError(where, "x", "must be [num, 2]", f"shape {x.shape}", "Choose two columns.")
    if (flow.event_shape, flow.latent_shape) != ((2,), (2,)) or flow.context_shape is not None:
        got = f"event_shape {flow.event_shape}, latent_shape {flow.latent_shape}, context_shape {flow.context_shape}"
        raise InvalidValueError(where, "flow", "must map (2,) to (2,) without a context", got)
    return x
