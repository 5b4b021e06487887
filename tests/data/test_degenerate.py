"""Tables on which a likelihood has no bound are told, by column and with what helps; no others are."""

import numpy as np
import pytest

import jflows
from jflows.data import Domains, TableData, load
from jflows.data.degenerate import dependences, repetitions, warn_if_degenerate
from jflows.errors import DegenerateDataWarning, JflowsError
from jflows.train import TrainConfig

NUM = 2000
RANDOM = np.random.default_rng(0)
Z = RANDOM.normal(size=(NUM, 3))
SHARES = RANDOM.dirichlet([2, 3, 4], size=NUM)
TALL = 170 + 10 * Z[:, 0]


def columns(*parts):
    return np.column_stack(parts)


# Rows, what is found, and the positions of the columns concerned.
DEPENDENT = {
    "shares": (SHARES, "columns x0, x1, x2 sum to 1 .*--simplex x0,x1,x2", (0, 1, 2)),
    "rounded shares": (SHARES.round(3), "columns x0, x1, x2 sum to 1 ", (0, 1, 2)),
    "percentages": (columns(Z[:, 0], 100 * SHARES), r"columns x1, x2, x3 sum to 100 \(leave one out", (1, 2, 3)),
    "centimetres and metres": (columns(TALL, Z[:, 1], TALL / 100), r"column x2 is 0\.01 times x0 \(leave", (0, 2)),
    "rounded centimetres and metres": (columns(TALL.round(1), (TALL / 100).round(3)), "is 0.01 times", (0, 1)),
    "Celsius and Fahrenheit": (columns(TALL, 1.8 * TALL + 32), r"column x1 is 1\.8 times x0 \+ 32", (0, 1)),
    "a total": (columns(Z, Z.sum(axis=1)), "x0, x1, x2, x3 depend on each other linearly", (0, 1, 2, 3)),
    "one column twice": (columns(Z[:, 0], Z[:, 0]), "column x1 is 1 times x0", (0, 1)),
}
REPEATED = {
    "counts": (RANDOM.poisson(5, NUM), "holds whole numbers, [12]. different ones .*--integer x0"),
    "ages": (RANDOM.integers(18, 90, NUM), "holds whole numbers, 72 different ones"),
    "one decimal": (Z[:, 0].round(1), r"holds \d\d different values in 2,000 rows \(add noise of one unit"),
    "few values": (RANDOM.choice([0.5, 1.25, 3.75], NUM), "holds 3 different values"),
    "zeros": (np.where(RANDOM.uniform(size=NUM) < 0.02, 0, Z[:, 0]), r"is 0 in \d(\.\d)?% of the rows \(model these"),
    "a sensor at its end": (np.minimum(Z[:, 0], 2.0), "is 2 in 2.*% of the rows"),
}
SOUND = {
    "normal": Z,
    "far from 0": Z + 1e3,
    "heavy tails": RANDOM.standard_cauchy((NUM, 3)),
    "log-normal": np.exp(3 * Z),
    "strongly correlated": columns(Z[:, 0], Z[:, 0] + 1e-5 * Z[:, 1]),
    "three decimals": Z.round(3),
    "few rows": Z[:10],
    "more columns than rows": RANDOM.normal(size=(10, 20)),
    "large whole numbers": RANDOM.permutation(10 * NUM)[:NUM, None],
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_columns_that_depend_on_each_other_are_named(name):
    x, text, wanted = DEPENDENT[name]
    (found,) = dependences(TableData(name, x))
    assert found.columns == wanted
    with pytest.warns(DegenerateDataWarning, match=f"^fit: the likelihood of '{name}' can grow without bound.*{text}"):
        warn_if_degenerate("fit", TableData(name, x))


@pytest.mark.parametrize("name", REPEATED)
def test_columns_that_repeat_their_values_are_named(name):
    x, text = REPEATED[name]
    with pytest.warns(DegenerateDataWarning, match=f"column x0 {text}"):
        warn_if_degenerate("fit", TableData(name, columns(x, Z[:, 1])))


@pytest.mark.parametrize("name", SOUND)
def test_sound_tables_are_passed(name):
    data = TableData(name, SOUND[name])
    assert dependences(data) == [] and repetitions(data) == []


@pytest.mark.parametrize("name", ["two_moons", "circles", "checkerboard", "swiss_roll"])
def test_toys_are_passed(name):
    warn_if_degenerate("fit", load(name))


@pytest.mark.network
@pytest.mark.parametrize("name", ["red_wine", "ionosphere", "boston"])
def test_known_tables_are_passed(name):
    warn_if_degenerate("fit", load(name))


def test_several_dependences_are_told_apart():
    found = dependences(TableData("t", columns(TALL, TALL / 100, SHARES, Z[:, 1])))
    assert sorted(each.columns for each in found) == [(0, 1), (2, 3, 4)]


def test_what_is_stated_needs_no_warning():
    counts = TableData("t", columns(RANDOM.poisson(5, NUM), SHARES))
    warn_if_degenerate("fit", counts, Domains(integer=(0,), simplex=((1, 2, 3),)))
    warn_if_degenerate("fit", TableData("t", counts.x, as_published=True))
    with pytest.warns(DegenerateDataWarning, match="sum to 1.*; column x0 holds whole numbers"):
        warn_if_degenerate("fit", counts)


def test_a_column_that_follows_from_a_context_is_named_and_contexts_alone_are_not():
    context = columns(3 * Z[:, 0] + 1, Z[:, 2])
    (found,) = dependences(TableData("t", Z[:, :2], context=context, context_columns=("c", "d")))
    assert "column context c is 3 times x0 + 1" in found.text
    assert dependences(TableData("t", Z[:, :1], context=columns(Z[:, 1], 2 * Z[:, 1], RANDOM.poisson(5, NUM)))) == []


def test_rows_of_weight_0_do_not_count():
    x = columns(Z[:, 0], np.where(Z[:, 1] > 0, Z[:, 0], Z[:, 2]))
    assert len(dependences(TableData("t", x, weight=(Z[:, 1] > 0) * 2.0))) == 1 and dependences(TableData("t", x)) == []


def test_fit_warns_once_before_it_compiles():
    flow, data = jflows.maf((3,), num_layers=1, hidden_sizes=(4,)), TableData("shares", SHARES)
    wanted = pytest.warns(DegenerateDataWarning, match="^fit: the likelihood of 'shares'")
    with wanted as caught, pytest.raises(JflowsError):
        jflows.fit(flow, data, TrainConfig(steps=1), variables={})
    assert len(caught) == 1 and caught[0].filename == __file__
