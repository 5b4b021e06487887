"""What the words after tables say: in which way a flow is not calibrated, and why a base of less gain was chosen."""

import numpy as np
import pytest

from jflows.cli.results import calibration_in_words, latent_in_words, recalibrated_in_words
from jflows.eval import Calibration, CalibrationTest
from jflows.eval.gaussian import LogLikelihood
from jflows.eval.latent_tests import latent_null, latent_tests
from jflows.eval.recalibration import Recalibration
from jflows.flows import NATS
from jflows.runs.recalibrated import RecalibratedRun
from jflows.runs.reports import latent
from jflows.runs.reports.calibration import Calibrated

LEVELS = np.linspace(0.05, 0.95, 19)


@pytest.mark.parametrize(
    ("width", "p_value", "words"),
    [
        (0.2, 0.001, "it is not calibrated, on the narrow side (at 0.05)"),
        (-0.2, 0.001, "it is not calibrated, on the wide side (at 0.05)"),
        (0.006, 0.001, "it is not calibrated, in place or shape, not in width (at 0.05)"),
        (0.2, 0.5, "it is not calibrated, in single dimensions (at 0.05)"),
    ],
)
def test_the_side_of_a_fault_is_named_only_where_the_width_shows_it(width, p_value, words, tmp_path):
    last = CalibrationTest("all", width, 0.0, 0.05, p_value)
    tests = (CalibrationTest("0", 0.0, 0.0, 0.05, 0.01), last)
    for pit in (tests, ()):  # of 500 cases, two standard errors of the width are 0.13, and of coverage 0.09
        found = Calibration(0.01, 0.01, 0.01, tests, pit, LEVELS, LEVELS)
        assert words in calibration_in_words(Calibrated(found, 500, 9, "NormalMixture", False), "rows", tmp_path)


def test_a_base_of_more_gain_that_was_not_chosen_has_a_reason(tmp_path):
    gains = {"scale": LogLikelihood(0.9, 0.1), "full": LogLikelihood(0.8, 0.1), "classes": LogLikelihood(0.85, 0.1)}
    text = lambda kind: recalibrated_in_words(
        RecalibratedRun(Recalibration(kind, gains, None, {}), 20, 20, "train", tmp_path), NATS, 2, "rows"
    )
    reason = "(not better than the chosen one by two standard errors of the difference)"
    ends = [line.partition("±")[2][7:] for line in text("full").splitlines()[1:4]]
    assert ends == ["", "  (chosen)", f"  {reason}"]
    assert reason not in text("classes") and reason not in text("unchanged")


def test_few_sets_cannot_show_a_single_dimension(tmp_path):
    z = np.random.default_rng(0).standard_normal((40, 2))
    report = latent_tests(z, latent_null(40, 2, num_sets=19))
    text = latent_in_words(latent.Tested(report, (), ()), "rows", tmp_path)
    assert "no dimension was found to differ; a single one is found only with 100 sets or more" in text
