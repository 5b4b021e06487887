"""`jflows densities`: the figure of several runs, and runs that it cannot draw."""

import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from jflows.cli import main
from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.flows import maf, normal
from jflows.runs import densities
from jflows.runs.trained import TrainedRun


def test_runs_are_drawn_by_one_command(trained, tmp_path):
    out, own = tmp_path / "figure.png", str(trained.directory)
    done = CliRunner().invoke(main, ["densities", own, own, "--title", "toys", "--out", str(out)])
    assert done.exit_code == 0 and done.output == f"2 runs in {out}\n" and out.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("density", "got"),
    [(normal((3,)), r"absent, of events of shape \(3,\)\. Try"), (maf((2,), context_dim=1), r"a context \(vectors\)")],
)
def test_runs_of_other_shapes_are_refused(density, got, monkeypatch):
    monkeypatch.setattr(TrainedRun, "open", lambda run: types.SimpleNamespace(density=density, directory=Path(run)))
    with pytest.raises(InvalidValueError, match=f"must be of data with two columns, without a context; got .*{got}"):
        densities(["absent"])


def test_runs_that_are_none(tmp_path):
    with pytest.raises(InvalidTypeError, match="densities: `runs` must be a list of run directories"):
        densities("one")
    with pytest.raises(InvalidValueError, match="densities: `runs` must be at least one run; got none"):
        densities([])
    with pytest.raises(RunError, match="must be a"):
        densities([tmp_path])
    with pytest.raises(InvalidValueError, match="densities: `seed` must be 0 to"):
        densities(["one"], seed=-1)
