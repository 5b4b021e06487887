"""What is written for mixtures of flows: how their components agree with labels, a map of the plane, samples."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jflows.cli.datasets import pixel_bits
from jflows.cli.pictures import saving
from jflows.data import KNOWN, Data, eval_batches
from jflows.errors import InvalidValueError
from jflows.eval import MixtureReport, cluster_plots, mixture_report, plots
from jflows.flows import MixtureOfFlows
from jflows.typing import Key, Variables

COLUMNS = 10  # samples of each component
DIGITS = 4  # of the numbers in JSON


def report_on(mixture: MixtureOfFlows, variables: Variables, data: Data, batch_size: int = 1000) -> MixtureReport:
    """`mixture_report` on all rows, with their labels if they have any."""
    reading = mixture.reading if data.label is None else mixture.reading.with_labels()
    batches = eval_batches(data, batch_size, reading)
    return mixture_report(mixture, variables, batches, num_classes=data.num_classes)


def summary(report: MixtureReport) -> dict[str, Any]:
    """The report as plain values, without the responsibilities of rows."""
    values = {
        "elbo": round(report.elbo, DIGITS),
        "nats": round(report.nats, DIGITS),
        "share": np.round(report.use.share, DIGITS).tolist(),
        "effective_number": round(report.use.effective_number, DIGITS),
        "unused": list(report.use.unused),
    }
    if report.scores is None:
        return values
    agreement = {name: round(getattr(report.scores, name), DIGITS) for name in ("accuracy", "nmi", "ari")}
    return values | agreement | {"table": report.scores.table.tolist(), "matching": report.scores.matching.tolist()}


def in_words(found: dict[str, Any]) -> str:
    """One line of a summary."""
    num = len(found["share"])
    unused = f", unused {', '.join(map(str, found['unused']))}" if found["unused"] else ""
    use = f"{found['effective_number']:.2f} of {num} components in use{unused}; ELBO {found['elbo']:.4f} nats"
    return f"accuracy {found['accuracy']:.4f}, NMI {found['nmi']:.4f}; {use}" if "accuracy" in found else use


def samples_of(
    mixture: MixtureOfFlows, variables: Variables, key: Key, num: int, component: int, temperature: float
) -> np.ndarray:
    """`num` samples of one component.

    Raises:
      InvalidValueError: if there is no such component.
    """
    if not 0 <= component < mixture.num_components:
        rule = f"must be a component, 0 to {mixture.num_components - 1}"
        raise InvalidValueError("sample", "--label", rule, component)
    sample = jax.jit(mixture.sample_by_component, static_argnums=2)
    return np.asarray(sample(variables, key, (num,), temperature=temperature)[component])


def draw(mixture: MixtureOfFlows, variables: Variables, data: Data, out: Path, key: Key) -> list[str]:
    """Writes the pictures that there are for such data, and returns their names: `clusters.png` of the plane,
    `samples.png` of images, one row per component.
    """
    if mixture.event_shape == (2,):
        with saving(out / "clusters.png") as partial:
            cluster_plots.responsibility_map(mixture, variables, data.x, partial, labels=data.label, title=out.name)
        return ["clusters.png"]
    draws = np.asarray(jax.jit(mixture.sample_by_component, static_argnums=2)(variables, key, (COLUMNS,)))
    draws = draws.reshape(-1, *mixture.event_shape)
    images = KNOWN[data.name].as_images(draws) if data.name in KNOWN else None
    if images is not None:
        draws = images
    elif len(mixture.event_shape) != 3:
        return []
    labels = [str(k) for k in range(mixture.num_components)]
    with saving(out / "samples.png") as partial:
        plots.image_grid(draws, COLUMNS, num_bits=pixel_bits(mixture), labels=labels).save(
            partial, format="png", optimize=True
        )
    return ["samples.png"]
