"""BIC: its formula, what counts as a parameter, and the figure."""

import math

import jax
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import bic, bic_figure
from jflows.eval.mixture_report import num_parameters
from jflows.flows import Flow, mixture_of_flows, with_mixture_base
from jflows.nn import MLP
from jflows.runs import study_figures

KEY = jax.random.key(0, impl="unsafe_rbg")
X = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)


def test_the_normal_of_highest_likelihood_has_the_bic_of_the_textbook():
    x = X[:, 0].astype(np.float64)
    nats = -0.5 * (1 + math.log(2 * math.pi * x.var()))
    assert bic(nats, 2, 40) == pytest.approx(2 * math.log(40) + 40 * (1 + math.log(2 * math.pi * x.var())), rel=1e-12)
    assert bic(-math.inf, 2, 40) == math.inf and math.isnan(bic(math.nan, 2, 40))
    assert bic(-1.0, 3, 40) - bic(-1.0, 2, 40) == pytest.approx(math.log(40))


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda flow: mixture_of_flows(flow, MLP((5,)), 3), 3 * 4),  # the encoder does not count
        (lambda flow: mixture_of_flows(flow, None, 3, weights="learned"), 3 * 4 + 2),
        (lambda flow: with_mixture_base(flow, 2), 4 + 2 * 4),
    ],
)
def test_parameters_of_the_density_count(build, count):
    mixture = build(Flow(b.ActNorm(), StandardNormal((2,)), (2,)))
    assert num_parameters(jax.eval_shape(lambda: mixture.init(KEY, X))) == count


def test_the_figure_marks_the_lowest():
    figure = bic_figure((4, 2, 3), (9.0, math.nan, 7.0), name="number of components", title="pinwheel")
    (axes,) = figure.axes
    curve, mark = axes.lines
    np.testing.assert_array_equal(curve.get_xdata(), [2, 3, 4])
    assert mark.get_xydata().tolist() == [[3, 7]] and axes.texts[0].get_text() == "lowest at 3"
    assert axes.get_xlabel() == "number of components" and axes.get_title("left") == "pinwheel"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bic(-1.0, -1, 5), InvalidValueError, "bic: `num_parameters` must be at least 0; got -1"),
        (lambda: bic(-1.0, 1, 0), InvalidValueError, "bic: `num_rows` must be at least 1; got 0"),
        (lambda: bic("x", 1, 5), InvalidTypeError, "bic: `nats` must be a number; got 'x'"),
        (lambda: bic_figure((1, 2), (3.0,)), InvalidValueError, "must be as many, .*; got 2 values, 1 scores"),
        (
            lambda: bic_figure((), ()),
            InvalidValueError,
            "`values, scores` must be as many, at least one of them finite",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_sweep_over_numbers_draws_its_bic(tmp_path):
    rows = [{"num_components": k, "train_score": -1.0, "bic": 10.0 - k} for k in (2, 3)]
    counts = [{"num_components": k} for k in (2, 3)]
    assert study_figures.bic_of_sweep(counts, rows, tmp_path) == ["bic.png"]
    assert (tmp_path / "bic.png").stat().st_size > 3000
    words = [{"start": "same"}, {"start": "kmeans"}]
    pairs = [{"num_components": k, "seed": 0} for k in (2, 3)]
    lost = [{**row, "bic": math.nan} for row in rows]
    flows = [{"num_layers": number, "score": 1.0} for number in (1, 2)]
    for labels, given in ((counts[:1], rows[:1]), (words, rows), (pairs, rows), (counts, lost), (counts, flows)):
        assert study_figures.bic_of_sweep(labels, given, tmp_path) == []


@pytest.mark.slow
def test_a_sweep_of_components_charges_for_each(tmp_path):
    small = dict(component__num_layers=1, component__hidden_sizes=(4,), encoder_sizes=(4,), activation="tanh")
    quick = dict(num_train=64, steps=4, batch_size=16, init_batch=32, log_every=2, checkpoint_every=4, parallel="none")
    out, swept = tmp_path / "study", ("num_components", (2, 3))
    result = jflows.run("vmonf_pinwheel", out, sweep=swept, progress=False, **small, **quick)
    rows = result.result["runs"]
    assert "bic.png" in result.files and (out / "bic.png").stat().st_size > 3000
    for row in rows:
        assert row["bic"] == pytest.approx(bic(row["train_nats"], row["free_parameters"], 64), abs=0.1)
        assert row["train_elbo"] == row["train_score"] <= row["train_nats"] + 1e-6
    assert rows[0]["free_parameters"] * 3 == rows[1]["free_parameters"] * 2
