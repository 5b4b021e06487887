"""Pictures of a mixture of flows: a map of the plane by component, and samples, one row per component."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval import drawing
from jflows.eval.plots import image_grid
from jflows.flows import MixtureOfFlows
from jflows.options import Count, NumBits, checked
from jflows.typing import Key, Variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

MARGIN = 0.15  # of the data's range, around them
DOT_SHADE = 0.65  # of a component's colour
MAX_COLUMNS = 5  # of maps side by side
MAX_POINTS = 4000  # drawn of the data; more would hide the map
FAINTEST = 0.25  # opacity of the map where the density is lowest


@checked
def responsibility_grid(
    mixture: MixtureOfFlows, variables: Variables, x: ArrayLike, num_points: Count = 200, exact: bool = False
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]:
    """Responsibilities and log density on a square grid around data in the plane.

    Args:
      x: rows [num, 2], around which the grid is laid.
      num_points: number of grid points along each axis.
      exact: True for the posterior, False for the encoder's estimate of it.
    Returns:
      responsibilities [num_points, num_points, K] and log_prob [num_points, num_points], rows from the lowest second
      coordinate upwards, and the edges (left, right, bottom, top).
    Raises:
      InvalidValueError: if the events are not of shape (2,), or num_points is not positive.
    """
    x = np.asarray(x)
    if mixture.event_shape != (2,) or x.ndim != 2 or x.shape[1] != 2:
        got = f"event_shape {mixture.event_shape}, x of shape {x.shape}"
        raise InvalidValueError("responsibility_grid", ("mixture", "x"), "must be of the plane, event_shape (2,)", got)
    low, high = x.min(axis=0), x.max(axis=0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    across, up = (np.linspace(low[i], high[i], num_points, dtype=np.float32) for i in range(2))
    points = jnp.stack(jnp.meshgrid(across, up), axis=-1)

    @jax.jit
    def evaluate(variables: Variables):
        log_prob = mixture.log_prob(variables, points)
        return mixture.responsibilities(variables, points, exact=exact), log_prob

    responsibilities, log_prob = map(np.asarray, evaluate(variables))
    return responsibilities, log_prob, (float(low[0]), float(high[0]), float(low[1]), float(high[1]))


def responsibility_map(
    mixture: MixtureOfFlows,
    variables: Variables,
    x: ArrayLike,
    path: str | PathLike[str],
    *,
    labels: ArrayLike | None = None,
    num_points: Count = 200,
    exact: bool = False,
    title: str = "",
) -> None:
    """Writes a PNG of the plane, coloured by component, stronger where the density is high, with the data on top.

    Args:
      x: rows [num, 2], of which at most 4,000 are drawn as dots.
      path: path of the PNG.
      labels: int [num], which give dots of different labels different greys; None gives a dot its component's colour.
      num_points: number of grid points along each axis.
      exact: True for the posterior, False for the encoder's estimate of it.
      title: text above the axes.
    Raises:
      InvalidValueError: for the reasons given at `responsibility_grid`.
    """
    panel = (mixture, variables)
    responsibility_maps([panel], x, path, labels=labels, num_points=num_points, exact=exact, titles=[title])


def responsibility_maps(
    panels: Sequence[tuple[MixtureOfFlows, Variables]],
    x: ArrayLike,
    path: str | PathLike[str],
    *,
    titles: Sequence[str],
    labels: ArrayLike | None = None,
    num_points: Count = 200,
    exact: bool = False,
) -> None:
    """Writes several maps of `responsibility_map` side by side, such as the restarts of one mixture.

    Args:
      panels: mixtures and their variables.
      titles: one title for each panel.
      x, path, labels, num_points, exact: what every panel is drawn with, as in `responsibility_map`.
    Raises:
      InvalidValueError: for the reasons given at `responsibility_grid`, or if there is not one title for each panel.
    """
    from matplotlib.figure import Figure

    if not panels or len(titles) != len(panels):
        got = f"{len(panels)} panels, {len(titles)} titles"
        raise InvalidValueError("responsibility_maps", ("panels", "titles"), "must be as many, at least one", got)
    columns = min(len(panels), MAX_COLUMNS)
    num_rows = -(-len(panels) // columns)
    size = 5.4 if len(panels) == 1 else 3.4
    # A Figure of its own, not pyplot: no global state, no window system, nothing to close.
    figure = Figure(figsize=(size * columns, size * num_rows), dpi=130, layout="constrained")
    all_axes = figure.subplots(num_rows, columns, squeeze=False).ravel()
    for axes, (mixture, variables), title in zip(all_axes, panels, titles, strict=False):
        _draw_map(axes, mixture, variables, np.asarray(x), labels, num_points, exact)
        axes.set_title(title, loc="left", fontsize=11 if len(panels) == 1 else 7.5)
    kind = "component" if labels is None else "label"
    note = f"colour: component, mixed where undecided; depth of colour: density; dots: data, shaded by {kind}"
    figure.supxlabel(note, fontsize=7)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    drawing.save(figure, path)


def _draw_map(
    axes: "Axes",
    mixture: MixtureOfFlows,
    variables: Variables,
    x: np.ndarray,
    labels: ArrayLike | None,
    num_points: int,
    exact: bool,
) -> None:
    responsibilities, log_prob, edges = responsibility_grid(mixture, variables, x, num_points, exact)
    colours = component_colours(mixture.num_components)
    density = np.exp(np.maximum(log_prob - np.nanmax(log_prob), -50.0)) ** 0.5
    opacity = FAINTEST + (1 - FAINTEST) * density
    image = np.concatenate([responsibilities @ colours, opacity[..., None]], axis=-1)
    axes.imshow(np.clip(np.nan_to_num(image), 0, 1), origin="lower", extent=edges, aspect="auto")
    rows = x[:MAX_POINTS]
    if labels is None:
        own = mixture.predict(variables, jnp.asarray(rows, jnp.float32), exact=exact)
        shade = DOT_SHADE * colours[np.asarray(own)]
    else:
        known = np.asarray(labels)[:MAX_POINTS]
        shade = [str(level) for level in 0.6 * known / max(int(known.max()), 1)]
    axes.scatter(rows[:, 0], rows[:, 1], s=2.0, c=shade, linewidths=0)
    axes.set_xlim(edges[0], edges[1])
    axes.set_ylim(edges[2], edges[3])


@checked
def component_samples(
    mixture: MixtureOfFlows,
    variables: Variables,
    key: Key,
    columns: Count = 10,
    *,
    temperature: float = 1.0,
    num_bits: NumBits = 8,
) -> "Image":
    """Draws images, one row per component.

    Args:
      columns: number of samples of each component.
      temperature: factor of the latent's deviation; below 1, samples are more typical and vary less.
      num_bits: bits of the pixels.
    Raises:
      InvalidValueError: if the events are not images, or columns is not positive.
    """
    draws: Any = mixture.sample_by_component(variables, key, (columns,), temperature=temperature)
    images = np.asarray(draws).reshape(-1, *mixture.event_shape)
    return image_grid(images, columns, num_bits=num_bits, labels=[str(k) for k in range(mixture.num_components)])


def component_colours(num_components: int) -> np.ndarray:
    """K colours that are far apart from each other: [K, 3] in [0, 1]."""
    from matplotlib import colormaps

    if num_components <= 10:
        return np.asarray(colormaps["tab10"].colors)[:num_components]  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(colormaps["hsv"](np.arange(num_components) / num_components))[:, :3]
