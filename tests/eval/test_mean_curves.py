"""Curves over seeds: what is averaged, and the figure."""

import numpy as np
import pytest
from PIL import Image

import jflows
from jflows.eval.mean_curves import curve_of, mean_curves
from jflows.flows import NATS


def run(offset: float, steps=range(10, 60, 10)) -> list[dict[str, float]]:
    """Training at every step, validation at every other."""
    entries = [{"step": step, "bits_per_dim": 90.0, "loss": 5.0 + offset} for step in steps]
    for entry in entries[::2]:
        entry |= {"validation_bits_per_dim": 3 + offset + 10 / entry["step"], "validation_nats": -offset}
    return entries


def test_mean_and_deviation_of_validation_over_runs():
    curve = curve_of([run(0.0), run(0.2), run(0.4)])
    assert curve.step.tolist() == [10, 30, 50] and curve.num_runs == 3
    np.testing.assert_allclose(curve.mean, 3.2 + 10 / curve.step)
    np.testing.assert_allclose(curve.deviation, 0.2)
    np.testing.assert_allclose(curve_of([run(0.0), run(0.2)], unit=NATS).mean, 0.1)


def test_runs_count_where_all_of_them_have_a_step():
    curve = curve_of([run(0.0), run(0.2, range(10, 40, 10))])
    assert curve.step.tolist() == [10, 30]
    assert curve_of([run(0.0)]).deviation.tolist() == [0, 0, 0]
    trained = [{"step": 5, "bits_per_dim": 4.0}, {"step": 10, "bits_per_dim": 3.0}]
    assert curve_of([trained]).mean.tolist() == [4.0, 3.0]
    with pytest.raises(jflows.InvalidValueError, match="must hold runs with a step in common; got 2 runs"):
        curve_of([run(0.0), run(0.0, range(5, 10, 5))])


def test_the_figure_has_a_colour_for_each_first_word(tmp_path):
    groups = {
        ("conv1x1", "affine"): [run(0.0), run(0.1)],
        ("conv1x1", "additive"): [run(0.5)],
        ("reverse",): [run(1.0)],
    }
    mean_curves(groups, tmp_path / "curves.png", title="ablation")
    with Image.open(tmp_path / "curves.png") as image:
        colours = {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert {(0x4C, 0x72, 0xB0), (0xDD, 0x84, 0x52)} <= colours and (0x55, 0xA8, 0x68) not in colours
    with pytest.raises(jflows.InvalidValueError, match="must hold at least one group"):
        mean_curves({}, tmp_path / "none.png")
