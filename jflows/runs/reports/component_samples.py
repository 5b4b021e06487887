"""`samples.png` of a mixture of flows: images, one row per component."""

from typing import cast

import jax
import numpy as np

from jflows.data import KNOWN, Data
from jflows.errors import InvalidValueError
from jflows.eval import plots
from jflows.flows import Density, MixtureOfFlows
from jflows.runs.reports.report import Material, Report, save_image
from jflows.runs.reports.samples import pixel_bits

FILE = "samples.png"
NAME = "component_samples"
COLUMNS = 10  # samples of each component


def check_component(density: Density, component: int) -> None:
    """Raises `InvalidValueError` if the mixture has no such component."""
    mixture = cast(MixtureOfFlows, density)  # whose `reports` list this one
    if not 0 <= component < mixture.num_components:
        rule = f"must be a component, 0 to {mixture.num_components - 1}"
        raise InvalidValueError("sample", "label", rule, component)


def can(density: Density, data: Data) -> bool:
    """Whether the data are images, or rows that stand for images, such as logits of pixels."""
    return density.reading.kind.has_pixels or _images(data, data.x[:1]) is not None


def write(material: Material) -> list[str]:
    """Writes ten samples of each component."""
    mixture = cast(MixtureOfFlows, material.density)
    sample = jax.jit(mixture.sample_by_component, static_argnums=2)
    draws = np.asarray(sample(material.variables, material.key, (COLUMNS,))).reshape(-1, *mixture.event_shape)
    if not mixture.reading.kind.has_pixels:
        draws = _images(material.data, draws)
        assert draws is not None
    labels = [str(k) for k in range(mixture.num_components)]
    save_image(plots.image_grid(draws, COLUMNS, num_bits=pixel_bits(mixture), labels=labels), material.out / FILE)
    return [FILE]


def _images(data: Data, x: np.ndarray) -> np.ndarray | None:
    """The images that rows of a known data set stand for, or None."""
    known = KNOWN.get(data.name)
    return None if known is None else known.as_images(x)


REPORT = Report(write, can)
