"""Every option of every command at absurd values: one line and exit code 2, or a run that begins; never a traceback."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from jflows import TrainConfig
from jflows.cli import main
from jflows.cli.training import train
from jflows.data import load
from jflows.eval import memory
from jflows.flows import realnvp
from jflows.runs import running
from jflows.train import fit

ABSURD = ("", "nan", "-inf", "1e400", str(10**30), str(-(10**30)), str(2**63), "-1", "~no-one/x", "a\0b", "²")
ON_RUNS = [name for name, command in main.commands.items() if any(p.name == "run" for p in command.params)]


class Started(Exception):
    """Training would begin."""


def outcome(args: list[str], monkeypatch) -> str:
    """The one line on stderr, or "started"."""

    def begin(*_, **__):
        raise Started

    monkeypatch.setattr(running, "fit", begin)
    done = CliRunner().invoke(main, args)
    if isinstance(done.exception, Started):
        return "started"
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, (args, done.output, done.exception)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("jflows.data: ")]
    assert len(lines) == 1 and lines[0].startswith("jflows: ") and len(lines[0]) < 1000, (args, done.stderr)
    return lines[0]


@pytest.mark.parametrize("name", ["realnvp", "vmonf"])
@pytest.mark.slow
def test_options_of_training(name, monkeypatch, tmp_path):
    command = train.get_command(click.Context(train), name)
    assert command is not None
    for param in command.params:
        flag = max(param.opts, key=len)
        values = () if param.is_flag or flag in ("--out", "--start-from", "--import") else ABSURD
        for index, value in enumerate(values):
            args = ["train", name, "--data", "two_moons", "--out", str(tmp_path / f"{flag[2:]}{index}"), flag, value]
            outcome(args, monkeypatch)


@pytest.mark.parametrize("name", ON_RUNS)
def test_options_of_commands_on_a_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for param in main.commands[name].params:
        if isinstance(param, click.Option) and not param.is_flag:
            for value in ABSURD:
                outcome([name, "absent", max(param.opts, key=len), value], monkeypatch)
    for value in ("", "a\0b", "~no-one/x"):
        assert "'RUN'" in outcome([name, value], monkeypatch)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["train", "--config="], "`CONFIG` must be given"),
        (["train", "--config", "absent.json"], "`CONFIG` must be an existing .py file, a run directory, or the conf"),
        (["train", "maf", "--config", "a.json"], "`--config` must stand in the place of the name; got it after 'maf'"),
        (["train", "realnvp", "--data", "two_moons", "--sweep", "num_layers="], "'num_layers='. Name its values."),
        (["train", "realnvp", "--data", "two_moons", "--out", ""], "'--out': must be a path; got ''"),
        (
            ["train", "vmonf", "--data", "two_moons", "--component", "glow"],
            "`--component` must be a preset of flows of vectors",
        ),
        (["compare", "absent", "absent"], "compare: `RUNS` must be a run directory with a config.json"),
        (["evaluate", "runs/a/checkpoints/40"], "not one of its checkpoints; got runs/a/checkpoints/40. Name runs/a"),
    ],
)
def test_the_mistake_is_named(args, part, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert part in outcome(args, monkeypatch)


MOONS = load("two_moons")
QUICK = dict(steps=2, parallel="none", log_every=1)


@pytest.mark.parametrize(
    ("flow", "changes", "message"),
    [
        (
            realnvp((2,), 10**6),
            {},
            "`flow` must let parameters, average and optimizer fit into memory",
        ),
        (realnvp((2,), 1), {"batch_size": 2 * 10**9}, "`batch_size` must let the batches of one call fit into memory"),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_made(flow, changes, message, monkeypatch):
    monkeypatch.setattr(memory, "free_on_host", lambda: 10**10)
    with pytest.raises(ValueError, match=message):
        fit(flow, MOONS, TrainConfig(**QUICK, **changes))


def test_a_run_that_is_no_run_directory():
    path: Any = "runs/a"
    with pytest.raises(TypeError, match="fit: `run` must be a run directory that is opened; got str"):
        fit(realnvp((2,), 1), MOONS, TrainConfig(**QUICK), run=path)
