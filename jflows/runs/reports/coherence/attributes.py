"""The section on attributes: planes in latent space, how well they tell held-out rows apart, and images along them."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from jflows.data.attributes import has_value, threshold_of
from jflows.errors import DataError
from jflows.eval.coherence import AttributePlane, along, attribute_plane, decoded
from jflows.eval.coherence.figures import attributes_figure
from jflows.eval.latent import encode_centres
from jflows.flows import Flow
from jflows.runs.reports import html
from jflows.runs.reports.coherence.material import Material, Section, nats
from jflows.typing import Array, Variables

NUM_MOVED = 30  # images along each direction
SIDE, FONT = 40, 9  # of small images, and of the texts under them
SEE = (
    "See whether the balanced accuracy on held-out rows is above 0.5 and the accuracy above the majority, and whether "
    "only the attribute changes along its direction."
)


class Grouped(NamedTuple):
    """Which rows have an attribute.

    Attributes:
      name: the attribute.
      train, test: 1 for rows with it, 0 without it, -1 for no value: int [num].
      threshold: the number above which a row has it, the median of training rows; None of truth values.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    threshold: float | None


def grouped(material: Material, name: str) -> Grouped:
    """Which rows have an attribute.

    Raises:
      DataError: if there is no such attribute, or no training row has a value.
    """
    values, others = material.train.attribute(name), material.test.attribute(name)
    if not has_value(values).any():
        raise DataError("coherence", name, "must have a value for some training rows", "none")
    threshold = threshold_of(values)
    found = [np.where(has_value(each), (each > threshold).astype(int), -1) for each in (values, others)]
    return Grouped(name, found[0], found[1], None if values.dtype.kind != "f" else threshold)


def attributes_section(material: Material, groups: list[Grouped], penalty: float) -> Section:
    """Planes of all attributes that have enough rows of both classes; others are named."""
    m, planes, left_out = material, [], []
    for group in groups:
        own, other = group.train >= 0, group.test >= 0
        try:
            plane = attribute_plane(
                m.of_train.latents[own],
                group.train[own] == 1,
                m.of_test.latents[other],
                group.test[other] == 1,
                name=group.name,
                penalty=penalty,
            )
        except DataError as error:
            left_out.append(f"{group.name} is left out: it {error.rule}; it has {error.got}.")
        else:
            planes.append((group, plane))
    if not planes:
        return Section("Attributes", SEE, [], {}, tuple(left_out))
    found = [plane for _, plane in planes]
    parts = [
        html.paragraph(
            f"Each attribute has a linear support vector machine (squared hinge loss, C = {penalty:g}), fitted to the "
            f"latents of training {m.noun} and tried on {len(m.test):,} test {m.noun}. The margin 2 / |w| is in units "
            "of the latent; support vectors are the training rows on the margin or inside of it."
        ),
        html.table(_HEAD, [_row(group, plane) for group, plane in planes]),
        html.figure(
            attributes_figure(found),
            "Accuracies on held-out rows, and the share of support vectors among training rows.",
        ),
    ]
    if m.has_pictures:
        along_each = [(f"Along {plane.name}", _moved(m, plane)) for plane in found]
        parts += [html.folded(name, moved, is_open=not place) for place, (name, moved) in enumerate(along_each)]
    numbers = {plane.name: _numbers(plane) for plane in found}
    return Section("Attributes", SEE, parts, numbers, tuple(left_out))


_HEAD = [
    "attribute",
    "with / without",
    "accuracy",
    "balanced",
    "majority",
    "on training rows",
    "margin",
    "support vectors",
]


def _row(group: Grouped, plane: AttributePlane) -> list[str]:
    above = "" if group.threshold is None else f" (above {group.threshold:.4g})"
    with_it, without = plane.num_fitted
    return [
        plane.name + above,
        f"{with_it:,} / {without:,}",
        f"{plane.accuracy:.3f}",
        f"{plane.balanced_accuracy:.3f}",
        f"{plane.majority:.3f}",
        f"{plane.fitted_accuracy:.3f}",
        f"{plane.margin:.3g}",
        f"{plane.num_support:,} of {with_it + without:,}",
    ]


def _numbers(plane: AttributePlane) -> dict:
    found = plane._asdict()
    del found["direction"]
    return found


def _moved(m: Material, plane: AttributePlane) -> list[str]:
    """Thirty test images along the direction of an attribute."""
    rows = slice(0, NUM_MOVED)
    context = None if m.of_test.context is None else m.of_test.context[rows]
    latents = np.asarray(_centres(m.flow, m.variables, m.test.x[rows], context))
    moved, alphas = along(latents, plane.direction)
    num, steps = moved.shape[:2]
    spread = None if context is None else np.repeat(context, steps, axis=0)
    found = decoded(m.flow, m.variables, m.base, moved.reshape(num * steps, *m.base.latent_shape), spread)
    lines = [[nats(value)] for value in found.base_log_prob]
    image = m.grid(found.x, lines, steps, headings=[f"{alpha:g}" for alpha in alphas], side=SIDE, font_size=FONT)
    caption = (
        f"{plane.name}: {num} test images u + alpha v / |v|, alpha from {alphas[0]:g} to {alphas[-1]:g} in {steps - 1} "
        "steps, with ln p(u) in nats under each. Alpha = 0 is the image itself, at the centres of the bins of its "
        "pixels, where ln p(u) is larger than with the noise of dequantization. The picture scrolls sideways."
    )
    return [html.picture(image, caption, full=True)]


@functools.partial(jax.jit, static_argnames="flow")
def _centres(flow: Flow, variables: Variables, x: Array, context: Array | None) -> Array:
    return encode_centres(flow, variables, x, context)
