"""`jflows calibrate`: flows without contexts or without known distribution functions, many dimensions, refusals."""

import dataclasses

import jax
import numpy as np
import pytest

import jflows as library
from jflows import bijectors as b
from jflows.cli.results import calibration_in_words
from jflows.data import NoData, TableData
from jflows.distributions import NormalMixture, StandardNormal
from jflows.errors import DataError, InvalidValueError
from jflows.flows import MixtureOfFlows
from jflows.runs import TrainedRun
from jflows.runs.reports.calibration import check, draw_calibration


def test_a_flow_of_integers_is_refused_in_one_line(trained, jflows):
    shown = jflows("calibrate", trained)
    assert shown.exit_code == 2 and shown.stderr.count("\n") == 1
    assert "calibrate: `RUN` must be that of a flow of floats, as ranks of integers have ties" in shown.stderr


def test_runs_without_ranks_are_refused_before_anything_is_computed(trained):
    run, flow = TrainedRun.open(trained), library.realnvp((2,), 1, (4,))
    x = np.zeros((30, 2), np.float32) + np.arange(30)[:, None]
    table = dataclasses.replace(run, density=flow, stored=run.stored._replace(facts={}))
    mixture = dataclasses.replace(table, density=MixtureOfFlows((flow,), 2))
    with pytest.raises(
        InvalidValueError, match="`run` must be that of a flow: a mixture of flows has no single latent"
    ):
        mixture.calibration(TableData("t", x))
    with pytest.raises(
        InvalidValueError, match="calibrate: `run` must be that of data, or `?data`? must name some; got a r"
    ):
        check(flow, NoData())
    with pytest.raises(InvalidValueError, match="calibrate: `num` must be 20 to 30, as 't' has 30 rows here; got 31"):
        table.calibration(TableData("t", x), num=31)


def test_a_flow_that_is_too_narrow_is_called_so(tmp_path):
    """Of twelve dimensions, rows as wide as 1.3 deviations of the flow; and a flow in which rows have no latents."""
    flow = library.Flow(b.Identity(), StandardNormal((12,)), (12,))
    x = 1.3 * np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    rows, path = TableData("wide", x), tmp_path / "c.png"
    found = draw_calibration(flow, {}, rows, path, num=200, num_draws=19, progress=False)
    lines = calibration_in_words(found, "rows of wide", path, [f"column {i}" for i in range(12)]).splitlines()
    assert lines[0] == "calibration of 200 rows of wide:" and lines[-1] == f"picture in {path}"
    assert sum(line == "  4 other dimensions have larger p-values" for line in lines) == 2
    assert sum(line.startswith("  column ") for line in lines) == 8
    assert "it is not calibrated, on the narrow side (at 0.05)" in lines[-2]
    assert found.report.pit[-1].width == pytest.approx(2 * np.log(1.3), abs=0.1)
    half = dataclasses.replace(flow, bijector=b.Exp())
    rule = "calibrate: `data` must have latents that are finite; got 300 rows of 300 without in 'wide'"
    with pytest.raises(DataError, match=rule):
        draw_calibration(half, {}, rows, path, num=300, num_draws=2, progress=False)


def test_a_base_without_known_distribution_functions_is_named(tmp_path):
    flow = library.Flow(b.Identity(), NormalMixture((2,), 2), (2,))
    variables = flow.init(jax.random.key(0), np.random.default_rng(1).standard_normal((60, 2)))
    x = np.asarray(jax.jit(flow.sample, static_argnums=2)(variables, jax.random.key(1), (60,)), np.float32)
    found = draw_calibration(flow, variables, TableData("own", x), tmp_path / "c.png", num_draws=9, progress=False)
    text = calibration_in_words(found, "rows of own", tmp_path / "c.png")
    assert "latents were not tested: NormalMixture has no distribution functions that are known" in text
    assert "no fault was found (at 0.05)" in text and found.report.pit == ()
