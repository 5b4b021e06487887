"""`jflows recalibrate`: an undertrained run gets a base that fits rows better which took no part in choosing it."""

import pytest

import jflows as library
from jflows.errors import InvalidValueError, RunError
from jflows.runs import TrainedRun, recalibrate_run


def test_the_new_run_scores_better_and_cannot_be_trained_on(trained, jflows, tmp_path):
    out = tmp_path / "new"
    shown = jflows("recalibrate", trained, "--out", out, "--base", "diagonal")
    assert shown.exit_code == 0, shown.output
    first, gain, last = shown.output.splitlines()
    assert first.startswith("bases fitted to 20 validation images, and their gain on 20 others over the flow's own")
    assert gain.split()[0] == "diagonal" and gain.endswith("(chosen)")
    assert last == f"the flow with this base is in {out}"
    old, new = TrainedRun.open(trained), TrainedRun.open(out)
    rows = old.data()  # test rows, which took no part
    assert new.evaluate(rows).bits_per_dim < old.evaluate(rows).bits_per_dim - 0.005
    assert library.load(out)[0] == new.density
    again = jflows("train", "glow_digits", "--resume", "--out", out)
    assert again.exit_code == 2
    assert (
        "`--out` must not be one with a recalibrated base, which its recipe does not have; got made from"
        in again.output
    )


def test_a_base_that_is_no_better_is_not_written(trained, jflows, tmp_path):
    shown = jflows("recalibrate", trained, "--out", tmp_path / "new", "--base", "scale")
    assert shown.output.splitlines()[-1].startswith("none is better by two standard errors: the flow keeps its base")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(base="normal"), InvalidValueError, "recalibrate: `base` must be one of 'auto', 'scale', 'diagonal'"),
        (dict(base="classes"), library.errors.DataError, "must have two classes or more, of two rows or more"),
        (dict(out="."), RunError, "recalibrate: `out` must be a directory that is empty or not there"),
    ],
)
def test_wrong_input(trained, tmp_path, options, error, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    out = tmp_path / "full" if "out" in options else tmp_path / "new"
    with pytest.raises(error, match=message):
        recalibrate_run(TrainedRun.open(trained), out, base=options.get("base", "auto"))
