"""The pair plot: which columns, what is stated, small files; and reports of tables, with contexts and weights."""

import jax
import numpy as np
import pytest
from PIL import Image

import jflows
from jflows.data import TableData
from jflows.errors import InvalidValueError
from jflows.eval import Evaluation, pairs_figure
from jflows.eval.pairs import _distance, _levels
from jflows.runs.reports import REPORTS, Material, pairs
from jflows.runs.reports.report import save_figure

RANDOM = np.random.RandomState(0)
DATA, SAMPLES = RANDOM.randn(300, 12), RANDOM.randn(400, 12)
NAMES = [f"c{i}" for i in range(12)]


def texts(figure):
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    return [*legend, *(text.get_text() for text in figure.texts)]


def labels(figure):
    return [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]


@pytest.mark.by_default("2-3", "8-36")
@pytest.mark.parametrize(("dim", "panels"), [(1, 1), (2, 3), (8, 36)])
def test_all_columns_are_drawn_if_they_are_few(dim, panels, tmp_path):
    figure = pairs_figure(DATA[:, :dim], SAMPLES[:, :dim], NAMES[:dim], title="run")
    assert len(figure.axes) == panels and labels(figure) == NAMES[:dim]
    assert texts(figure)[:3] == ["data (300)", "samples (400)", "run"] and "columns" not in texts(figure)[-1]
    save_figure(figure, tmp_path / "pairs.png")
    assert 1000 < (tmp_path / "pairs.png").stat().st_size < 300_000
    with Image.open(tmp_path / "pairs.png") as image:
        assert image.mode == "P" and max(image.size) < 1400


def test_of_many_columns_those_are_drawn_that_differ_most():
    samples = SAMPLES.copy()
    samples[:, [1, 3, 4, 5, 7, 8, 10, 11]] += 2
    figure = pairs_figure(DATA, samples, NAMES)
    assert labels(figure) == ["c1", "c3", "c4", "c5", "c7", "c8", "c10", "c11"]
    assert "8 of 12 columns, those whose marginals differ most" in texts(figure)[-1]
    chosen = pairs_figure(DATA, samples, NAMES, columns=("c9", "c0"))
    assert labels(chosen) == ["c9", "c0"] and "2 of 12 columns" in texts(chosen)[-1]
    assert _distance(np.arange(10.0), np.arange(10.0) + 5) == 0.5


def test_samples_that_are_not_finite_are_counted():
    samples = SAMPLES[:, :2].copy()
    samples[:3, 0], samples[5, 1] = np.nan, np.inf
    found = texts(pairs_figure(DATA[:, :2], samples))
    assert "samples (396)" in found and "4 of 400 samples are not finite and left out" in found[-1]


def test_lines_enclose_the_stated_shares():
    share = RANDOM.dirichlet(np.full(3600, 0.05)).reshape(60, 60)
    outer, inner = _levels(share)
    assert 0.5 <= share[share >= inner].sum() < 0.52 and 0.9 <= share[share >= outer].sum() < 0.91


@pytest.mark.parametrize("data", [np.ones((50, 2)), np.arange(100.0).reshape(50, 2) % 3, 1e30 * DATA[:, :2]])
def test_strange_columns_are_drawn(data, tmp_path):
    save_figure(pairs_figure(data, data + 0.25, ["$x^", "_" * 50]), tmp_path / "pairs.png")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((DATA, SAMPLES[:, :2]), {}, r"`data, samples` must be \[num, dim\].*got shapes \(300, 12\) and \(400, 2\)"),
        ((DATA, SAMPLES * np.nan), {}, "`samples` must have at least 2 finite rows; got 400 rows"),
        ((DATA, SAMPLES, ["a"]), {}, "`names` must be 12 names; got 1"),
        ((DATA, SAMPLES, NAMES), {"columns": ("c1", "d1")}, "`columns` must be different ones of c0, .*; got 'd1'"),
        ((DATA, SAMPLES, NAMES), {"columns": ("c1", "c1")}, "must be different ones of"),
        ((np.zeros((3, 17)), np.zeros((3, 17))), {"columns": [f"x{i}" for i in range(17)]}, "at most 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, options, message):
    with pytest.raises(InvalidValueError, match=f"pairs_figure: .*{message}"):
        pairs_figure(*arguments, **options)


def test_the_report_draws_samples_at_the_contexts_of_the_data(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(pairs, "pairs_figure", lambda *args, **words: seen.update(args=args, words=words))
    monkeypatch.setattr(pairs, "save_figure", lambda figure, path: None)
    flow = jflows.maf((2,), num_layers=1, hidden_sizes=(4,), context_dim=1)
    data = TableData("made", DATA[:, :2], context=1000 * DATA[:, :1], weight=np.arange(300) % 2)
    variables = flow.init(jax.random.key(0), data.x, data.context, data.statistics())
    material = Material(flow, variables, data, [], Evaluation(0.0, 0.0, 0.0, 0.0, 300, 300), tmp_path)
    assert "pairs" in flow.reports and REPORTS["pairs"].can(flow, data)
    assert REPORTS["pairs"].write(material) == ["pairs.png"]
    x, drawn, names = seen["args"]
    assert x.shape == (300, 2) and drawn.shape == (pairs.NUM, 2) and names == ("x0", "x1")
    assert set(x[:, 0].tolist()) == set(data.x[1::2, 0].tolist())  # rows of weight 0 are not drawn
    assert "pairs" not in jflows.glow((4, 4, 1), num_levels=1, num_steps=1, width=4).reports
