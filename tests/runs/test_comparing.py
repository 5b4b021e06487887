"""`jflows compare`: the table, the figure, and runs that do not compare."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import jflows
from jflows import InvalidTypeError, InvalidValueError, RunError
from jflows.cli import main
from jflows.runs import baseline, compare
from jflows.runs.comparing import table
from jflows.runs.files import read_json, write_json


@pytest.fixture
def two(trained, tmp_path):
    """The run, and a copy with a better score."""
    better = tmp_path / "better"
    shutil.copytree(trained.directory, better)
    result = read_json("test", "run", better / "result.json", fix="")
    write_json(better / "result.json", {**result, "test_nats": result["test_nats"] + 1.0})
    return trained.directory, better


def change(run, **changes) -> None:
    result = read_json("test", "run", run / "result.json", fix="")
    write_json(run / "result.json", {**result, **changes})


def test_the_best_run_comes_first(two, trained, tmp_path):
    found = compare(two, tmp_path / "curves.png")
    assert [row.run.name for row in found] == ["better", "trained"]
    assert found[1].score == trained.score.nats and found[1].preset == "realnvp" and found[1].steps == 20
    assert (tmp_path / "curves.png").stat().st_size > 5000
    lines = table(found).splitlines()
    assert lines[0].split() == ["run", "flow", "nats", "±", "steps", "parameters", "seconds"]
    assert lines[2].startswith("trained  realnvp") and f"{trained.score.nats:.4f}" in lines[2]


def test_a_command_prints_the_table(two, tmp_path):
    done = CliRunner().invoke(main, ["compare", *map(str, two), "--out", str(tmp_path / "curves.png")])
    assert done.exit_code == 0 and done.output.splitlines()[1].startswith("better ")
    assert str(tmp_path / "curves.png") in done.output and (tmp_path / "curves.png").is_file()


def test_a_study_stands_for_its_runs(two, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_text("{}")
    for name, run in zip("ab", two, strict=True):
        shutil.copytree(run, study / name)
    assert [row.run for row in compare([study])] == [study / "b", study / "a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "bits_per_dim"}, "must be scored on the same data in the same unit; got nats in .*bits_per_dim in "),
        ({"num_test": 3}, "must be scored on the same data in the same unit; got 12 in .*, 3 in"),
    ],
)
def test_scores_that_do_not_compare(two, changes, message):
    change(two[1], **changes)
    with pytest.raises(InvalidValueError, match=message):
        compare(two)


def test_runs_that_are_none(two, tmp_path):
    with pytest.raises(InvalidValueError, match="`runs` must be at least two runs; got 1"):
        compare(two[:1])
    with pytest.raises(InvalidValueError, match="`runs` must be different runs; got .* and .*Name each once."):
        compare([*two, two[0]])
    with pytest.raises(RunError, match="must be a run directory with a config.json"):
        compare([two[0], tmp_path / "absent"])
    (two[1] / "result.json").unlink()
    with pytest.raises(RunError, match="must have a readable result.json.*train with resume=True"):
        compare(two)


def test_a_normal_is_the_baseline_of_a_table(rows):
    found = baseline(str(rows))
    assert -6 < found.score.nats < -2 and found.score.standard_error > 0
    with pytest.raises(jflows.DataError, match="`data` must be a table; got the images 'digits'"):
        baseline("digits")
    done = CliRunner().invoke(main, ["baseline", str(rows)])
    assert done.output == f"{rows}  {found.score.nats:.3f} ± {found.score.standard_error:.3f} nats\n"


def test_the_baseline_counts_rows_by_their_weights(tmp_path):
    path, values = tmp_path / "w.csv", np.random.RandomState(0).randn(60, 2)
    weight = np.arange(60) % 3
    np.savetxt(path, np.column_stack([values, weight]), delimiter=",", header="a,b,w", comments="")
    data = [jflows.data.load(path, split, weight="w") for split in ("train", "test")]
    repeated = [np.repeat(part.x, part.weight.astype(int), axis=0) for part in data]
    found = baseline(str(path), weight="w").score.nats
    assert found == pytest.approx(jflows.eval.gaussian_baseline(*repeated).nats, rel=1e-6)
    done = CliRunner().invoke(main, ["baseline", str(path), "--columns", "a,b", "--weight", "w"])
    assert f"{path}  {found:.3f}" in done.output
    np.savez(tmp_path / "c.npz", x=values, context=values)
    with pytest.raises(jflows.DataError, match="baseline: `data` must have no contexts, which the normal does not"):
        baseline(str(tmp_path / "c.npz"))


def test_runs_of_other_columns_or_bits_do_not_compare(two):
    config = read_json("test", "run", two[1] / "config.json", fix="")
    config["data"]["columns"] = ["0"]
    write_json(two[1] / "config.json", config)
    with pytest.raises(InvalidValueError, match=r"must have the same columns, as scores do not compare; got \(\) in "):
        compare(two)
    with pytest.raises(InvalidTypeError, match="must be a list of run directories; got 'run'"):
        compare("run")


def test_a_score_that_is_nan_comes_last(two):
    change(two[1], test_nats=float("nan"))
    assert [row.run.name for row in compare(two[::-1])] == ["trained", "better"]
