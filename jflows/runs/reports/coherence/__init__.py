"""The report of `jflows coherence`: `report.py` gathers the page, and each section has a file of its own."""

from jflows.runs.reports.coherence.report import FILE, CoherenceReport, write_coherence

__all__ = ["FILE", "CoherenceReport", "write_coherence"]
