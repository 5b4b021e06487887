"""`Report`: one kind of file that a run writes about its flow; `Material` is what it is made from."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax

from jflows.data import Data
from jflows.eval import Evaluation, drawing
from jflows.flows import Density
from jflows.runs.files import saving
from jflows.typing import Key, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

KEY_SEED = 0  # of the noise of all reports, so that equal runs draw equal pictures


class Material(NamedTuple):
    """The material that reports are made from.

    Attributes:
      density, variables: the trained density and its collections.
      data: the rows to show, in the form that the density reads.
      metrics: the entries of metrics.jsonl, without `loss` if it is not in nats.
      score: the score of the test rows.
      out: the folder to write into; its name is the title of pictures.
    """

    density: Density
    variables: Variables
    data: Data
    metrics: list[dict[str, float]]
    score: Evaluation
    out: Path

    @property
    def key(self) -> Key:
        """The key of all noise in reports, the same for every run."""
        return jax.random.key(KEY_SEED)


def always(density: Density, data: Data) -> bool:
    """Always true: for reports that can be made whenever a density lists them."""
    return True


@dataclasses.dataclass(frozen=True)
class Report:
    """One kind of file about a trained density.

    Args:
      write: writes the report, and returns the names of its files.
      can: whether a listed report can be made of this density and these data.
    """

    write: Callable[[Material], list[str]]
    can: Callable[[Density, Data], bool] = always


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a matplotlib figure of few colours as a small PNG, in one move.

    Raises:
      RunError: if it cannot be written.
    """
    with saving(path) as partial:
        drawing.save(figure, partial)


def save_image(image: "Image", path: Path) -> None:
    """Writes a Pillow image as a PNG, in one move."""
    with saving(path) as partial:
        image.save(partial, format="png", optimize=True)
