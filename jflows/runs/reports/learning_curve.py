"""`learning_curve.png`: the loss against the step, in the unit of the density."""

from jflows.eval import plots
from jflows.runs.files import saving
from jflows.runs.reports.report import Material, Report

FILE = "learning_curve.png"


def write(material: Material) -> list[str]:
    """Draws the training loss, the validation scores if there are any, and the score of the test rows."""
    unit = material.density.unit
    with saving(material.out / FILE) as partial:
        plots.learning_curve(material.metrics, partial, title=material.out.name, test=material.score, unit=unit)
    return [FILE]


REPORT = Report(write)
