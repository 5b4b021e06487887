"""Reports that a run writes about its flow, one module for each. `Density.reports` lists the names that apply.

To add a report, write a module with a `Report`, name it here, and add the name to `reports` of its densities.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from jflows.runs.reports import (
    clusters,
    component_samples,
    interpolation,
    learning_curve,
    page,
    pairs,
    reconstruction,
    samples,
)
from jflows.runs.reports.report import Material, Report

REPORTS: Mapping[str, Report] = MappingProxyType(
    {
        "learning_curve": learning_curve.REPORT,
        "samples": samples.REPORT,
        "interpolation": interpolation.REPORT,
        "reconstruction": reconstruction.REPORT,
        "page": page.REPORT,
        "pairs": pairs.REPORT,
        "clusters": clusters.REPORT,
        "component_samples": component_samples.REPORT,
    }
)


def write_reports(material: Material, only: Sequence[str] | None = None) -> list[str]:
    """Writes the reports that the density lists, as far as they can be made, and returns the names of their files.

    Args:
      only: names of reports to choose from; None for all.
    """
    density, files = material.density, []
    for name in density.reports:
        if (only is None or name in only) and REPORTS[name].can(density, material.data):
            files += REPORTS[name].write(material)
    return files


__all__ = ["REPORTS", "Material", "Report", "write_reports"]
