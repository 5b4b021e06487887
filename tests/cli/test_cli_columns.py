"""`jflows` on a table whose columns have domains: declared by name, kept by the run, and used on other files."""

import json

import numpy as np
import pytest

import jflows as library
from tests.cli.test_cli_tables import TINY
from tests.flows.test_columns import ALL, NAMES, rows

OPTIONS = [
    "--positive",
    "income",
    "--interval",
    "share=0,1",
    "--circle",
    "phase=4",
    "--integer",
    "count",
    "--simplex",
    "a,b,c",
]


def write(path, x, names=NAMES):
    np.savetxt(path, x, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    return path


@pytest.fixture(scope="module", autouse=True)
def no_run_draws():
    """Pictures take longer than training, and none is looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jflows.runs.running.write_reports", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "mixed.csv", rows(120))


@pytest.fixture(scope="module")
def trained(mixed, tmp_path_factory, jflows):
    out = tmp_path_factory.mktemp("runs") / "mixed"
    result = jflows("train", "nsf_coupling", *TINY, "--num-bins", "2", "--data", mixed, *OPTIONS, "--out", out)
    assert result.exit_code == 0, result.stderr
    return out


def test_domains_are_stored_by_name_and_hold_for_samples_and_other_files(trained, jflows, tmp_path):
    stored = json.loads((trained / "config.json").read_text())["data"]
    assert stored["positive"] == ["income"] and stored["circle"] == [["phase", 4.0]]
    assert stored["interval"] == [["share", 0.0, 1.0]] and stored["simplex"] == [["a", "b", "c"]]
    flow, _ = library.load(trained)
    assert flow.domains == ALL.of(NAMES)
    assert jflows("sample", trained, "--num", "50").exit_code == 0
    flow.domains.check(np.loadtxt(trained / "sample.csv", delimiter=",", skiprows=1), "sample", NAMES)

    other = rows(30, seed=1)
    order = [5, 0, 3, 2, 7, 1, 6, 4]
    path = write(tmp_path / "other.csv", other[:, order], np.array(NAMES)[order])
    assert "on 30 rows of other.csv" in jflows("evaluate", trained, "--data", path).stdout
    other[4, 1] = 1.5
    refused = jflows("evaluate", trained, "--data", write(path, other))
    assert refused.exit_code == 2
    message = "`column 'share'` must lie between 0 and 1, without these ends; got 1.5 in row 4 (1 such rows)"
    assert message in refused.stderr
    other[9, [4, 5]] = 0, other[9, 4] + other[9, 5]  # a share of 0
    path = write(path, other)
    scored = jflows("score", trained, "--data", path, "--out", tmp_path / "scores.csv")  # a density of 0 is a score
    assert scored.exit_code == 0, scored.stderr
    scores = np.loadtxt(tmp_path / "scores.csv", skiprows=1)
    assert np.isneginf(scores[[4, 9]]).all() and np.isfinite(np.delete(scores, [4, 9])).all()
    for column, value in (("count", 1.5), ("phase", 90.0)):  # but here a number would mean something else
        other = rows(30, seed=1)
        other[4, NAMES.index(column)] = value
        refused = jflows("score", trained, "--data", write(path, other))
        assert refused.exit_code == 2 and f"`column {column!r}` must" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--positive", "incme"],
            "`--positive` must name columns, or count them up to 7; got 'incme'. Did you mean inc",
        ),
        (
            ["--positive", "1", "--interval", "share=0,1"],
            "`--positive, --interval` must not share a column, as one dom",
        ),
        (["--interval", "share=1,0"], "`--interval` must have a lower end below the upper one for 'share'"),
        (["--interval", "share"], "'share' must be a column with numbers, such as share=0,1"),
        (
            ["--circle", "phase=4"],
            "`--circle` is not for maf, as its maps are not those of a circle; got 'phase'. Use nsf",
        ),
        (["--replace-zeros", "0.1"], "`--replace-zeros` is for positive columns, and for columns that sum to 1"),
        (["--positive", "plain"], "`column 'plain'` must be positive; got -"),
    ],
)
def test_mistakes_are_one_line(mixed, jflows, tmp_path, options, message):
    result = jflows("train", "maf", *TINY, "--data", mixed, *options, "--out", tmp_path / "run")
    assert result.exit_code == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_bad_value_is_named_by_its_row_in_the_file_wherever_it_was_split(jflows, tmp_path):
    for row in (3, 77):
        x = rows(100)
        x[row, 0] = 0
        path = write(tmp_path / "zero.csv", x)
        result = jflows("train", "maf", *TINY, "--data", path, "--positive", "income", "--out", tmp_path / "run")
        assert (
            f"got 0 in row {row} (1 such rows). Remove these rows, or give zeros a value by --replace" in result.stderr
        )


def test_zeros_are_replaced_by_the_stated_number_alone():
    config = library.DataConfig(positive=("income",), simplex=(("a", "b", "c"),), replace_zeros=0.01)
    x = np.array([[0.0, 0.5, 0.5, 0.0], [3.0, 0.2, 0.3, 0.5]])
    found = config.domains.of(("income", "a", "b", "c")).replace_zeros(x, config.replace_zeros)
    np.testing.assert_allclose(found, [[0.01, 0.495, 0.495, 0.01], [3.0, 0.2, 0.3, 0.5]])


def test_an_option_may_be_given_several_times(mixed, jflows):
    result = jflows(
        "info", "maf", "--data", mixed, "--positive", "income", "--positive", "b", "--interval", "a=0,1;share=0,1"
    )
    assert result.exit_code == 0, result.stderr
    assert "Interval" in result.stdout and "Exp" in result.stdout
