"""`page.png`: a flow of the plane on one page: data, samples, density, latents, every layer, reconstruction errors."""

from typing import cast

from jflows.data import Data
from jflows.eval import plane_page
from jflows.flows import Density, Flow
from jflows.runs.reports.report import Material, Report, save_figure

FILE = "page.png"


def can(density: Density, data: Data) -> bool:
    """Whether the density takes no context, as the page draws a single density."""
    return density.reading.context == "none"


def write(material: Material) -> list[str]:
    """Writes the page that `jflows.eval.plane_page` draws."""
    data, title = material.data, material.out.name
    flow = cast(Flow, material.density)  # whose `reports` list this one
    figure = plane_page(flow, material.variables, data.x, data.label, key=material.key, title=title or data.name)
    save_figure(figure, material.out / FILE)
    return [FILE]


REPORT = Report(write, can)
