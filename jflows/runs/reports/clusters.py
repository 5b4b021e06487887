"""`clusters.png` and the scores of a mixture's components: their agreement with labels, and a map of the plane."""

from typing import Any, cast

import numpy as np

from jflows.data import Data
from jflows.eval import MixtureReport, bic, cluster_plots, mixture_report
from jflows.flows import Density, MixtureOfFlows
from jflows.runs.data import batches_of
from jflows.runs.files import saving
from jflows.runs.reports.report import Material, Report
from jflows.typing import Variables

FILE = "clusters.png"
NAME = "clusters"
DIGITS = 4  # of the numbers in JSON


def report_on(density: Density, variables: Variables, data: Data, batch_size: int = 1000) -> MixtureReport:
    """The result of `jflows.eval.mixture_report` on all rows, with their labels if they have any."""
    mixture = cast(MixtureOfFlows, density)  # whose `reports` list this one
    batches = batches_of(data, batch_size, density, labels=data.label is not None)
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
    agreement = report.scores.rounded(DIGITS)
    return values | agreement | {"table": report.scores.table.tolist(), "matching": report.scores.matching.tolist()}


def of_training(report: MixtureReport, num_rows: int) -> dict[str, Any]:
    """The report on training rows as plain values: bound, likelihood, BIC, and the number of parameters in it.

    Args:
      num_rows: the number n of all training rows, of which the report may hold the first ones only.
    """
    scores = {"train_elbo": report.elbo, "train_nats": report.nats}
    scores["bic"] = bic(report.nats, report.num_parameters, num_rows)
    return {name: round(score, DIGITS) for name, score in scores.items()} | {"free_parameters": report.num_parameters}


def in_words(found: dict[str, Any]) -> str:
    """A summary in one line of text."""
    num = len(found["share"])
    unused = f", unused {', '.join(map(str, found['unused']))}" if found["unused"] else ""
    use = f"{found['effective_number']:.2f} of {num} components in use{unused}; ELBO {found['elbo']:.4f} nats"
    use += f"; BIC of the training rows {found['bic']:,.1f}" if "bic" in found else ""
    return f"accuracy {found['accuracy']:.4f}, NMI {found['nmi']:.4f}; {use}" if "accuracy" in found else use


def can(density: Density, data: Data) -> bool:
    """Whether the data have two columns, as the map is of the plane."""
    return density.event_shape == (2,)


def write(material: Material) -> list[str]:
    """Writes the map of the plane, coloured by component."""
    mixture, data = cast(MixtureOfFlows, material.density), material.data
    with saving(material.out / FILE) as partial:
        cluster_plots.responsibility_map(
            mixture, material.variables, data.x, partial, labels=data.label, title=material.out.name
        )
    return [FILE]


REPORT = Report(write, can)
