"""Calibration: whether a conditional density is as wide as it should be, by ranks and by its latents."""

from jflows.eval.calibration.figure import calibration_figure
from jflows.eval.calibration.ranks import Ranks, pit_of, ranks_of
from jflows.eval.calibration.report import Calibration, CalibrationTest, calibration

__all__ = ["Calibration", "CalibrationTest", "Ranks", "calibration", "calibration_figure", "pit_of", "ranks_of"]
