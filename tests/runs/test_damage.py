"""Damaged run directories: every command gives the same numbers as before, or one line that says what is wrong.

Bits are flipped in every file of one tiny run, and files are deleted one at a time.
"""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import jflows
from jflows import JflowsError, RunError
from jflows.runs import RunDirectory, TrainedRun, compare, read_metrics
from jflows.train.checkpoint import Checkpoints

STRUCTURED = ("config.json", "metrics.jsonl", "result.json", "meta.json")  # flipped often, as these are read as text
LINE = 1500  # characters at most of a message


def sampled(run: Path, checkpoint: str) -> np.ndarray:
    return TrainedRun.open(run, checkpoint=checkpoint).sample(3)


def compared(run: Path) -> list:
    rows = compare([run, run.parent / "twin"])
    return [(row.score, row.standard_error, row.steps, row.num_test) for row in rows]


COMMANDS = {
    "auto": lambda run: sampled(run, "auto").tolist(),
    "best": lambda run: sampled(run, "best").tolist(),
    "latest": lambda run: sampled(run, "latest").tolist(),
    "compare": compared,
    "curve": read_metrics,
}


def check(run: Path, expected: dict) -> dict[str, str]:
    """The error of each command that is refused; asserts that all others give what they gave before the damage."""
    refused = {}
    for name, command in COMMANDS.items():
        try:
            assert command(run) == expected[name], name
        except JflowsError as error:
            refused[name] = str(error)
            assert "\n" not in str(error) and len(str(error)) < LINE
    return refused


@pytest.fixture(scope="module")
def intact(trained, tmp_path_factory) -> Path:
    """A run whose best checkpoint is not its last: step 10 of 20."""
    run = tmp_path_factory.mktemp("damage") / "run"
    shutil.copytree(trained.directory, run)
    shutil.rmtree(run / "checkpoints")
    old, new = Checkpoints(trained.directory), Checkpoints(run)
    for step, scores in ((10, {10: 1.0}), (20, {10: 1.0, 20: 2.0})):
        saved = old.read(step=step)
        new.save(step, saved.variables, {"step": step}, saved.meta, scores)
    assert new.best_step() == 10
    shutil.copytree(run, run.parent / "twin")
    return run


@pytest.fixture(scope="module")
def expected(intact) -> dict:
    found = {name: command(intact) for name, command in COMMANDS.items()}
    assert found["auto"] == found["best"] != found["latest"]
    return found


@pytest.fixture
def run(intact, tmp_path) -> Path:
    for name in ("run", "twin"):
        shutil.copytree(intact, tmp_path / name)
    return tmp_path / "run"


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.stat().st_size and path.suffix != ".png")


def test_a_flipped_bit_anywhere_changes_no_number(run, expected):
    chosen = random.Random(0)
    for path in files_of(run):
        original, refused = path.read_bytes(), {}
        positions = chosen.sample(range(len(original)), min(len(original), 12 if path.name in STRUCTURED else 1))
        for position in positions:
            data = bytearray(original)
            data[position] ^= 1 << chosen.randrange(8)
            path.write_bytes(data)
            refused |= check(run, expected)
        path.write_bytes(original)
        used = {"config.json": "auto", "metrics.jsonl": "curve", "result.json": "compare"}
        wanted = used.get(path.name, "best" if "10" in path.parts else "latest")
        assert refused.get(wanted), path
    assert check(run, expected) == {}


def test_a_file_that_is_gone_changes_no_number(run, expected):
    for path in files_of(run):
        original = path.read_bytes()
        path.unlink()
        assert check(run, expected), path
        path.write_bytes(original)
    for folder in (run / "checkpoints" / "10", run / "checkpoints" / "10" / "state", run / "checkpoints"):
        shutil.move(folder, run.parent / "aside")
        assert {"auto", "best"} <= check(run, expected).keys(), folder
        shutil.move(run.parent / "aside", folder)
    assert check(run, expected) == {}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def killed(tiny, tmp_path_factory) -> Path:
    """A run of 20 steps that ended at the checkpoint of step 13, between two lines of metrics; step 10 is its best."""
    run, save = tmp_path_factory.mktemp("killed") / "run", RunDirectory.save

    def save_and_die(self, step, state, standing):
        save(self, step, state, standing)
        if step == 13:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunDirectory, "save", save_and_die)
        jflows.run("realnvp", run, **{**tiny, "checkpoint_every": 13})
    assert Checkpoints(run).steps() == [10, 13] and Checkpoints(run).best_step() == 10
    return run


@pytest.mark.usefixtures("without_pictures")
def test_a_resumed_run_writes_the_metrics_of_one_that_never_stopped(killed, trained, tmp_path):
    shutil.copytree(killed, tmp_path / "run")
    done = jflows.run("realnvp", tmp_path / "run", resume=True, progress=False)
    found, wanted = read_metrics(tmp_path / "run"), read_metrics(trained.directory)
    assert [entry["step"] for entry in found] == [5, 10, 15, 20] == [entry["step"] for entry in wanted]
    for name in ("loss", "grad_norm", "learning_rate"):  # the mean of steps 11 to 15 is over all five
        assert [entry[name] for entry in found] == [entry[name] for entry in wanted], name
    assert done.score == trained.score


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: flip(run / "metrics.jsonl", b'"validation_nll": '), "step 10 does not match its checksum"),
        (lambda run: append(run / "metrics.jsonl", b"5\n"), "a line is no object of numbers with a step: b'5'"),
        (lambda run: append(run / "metrics.jsonl", b'{"loss": 5}\n'), "a line is no object of numbers with a step"),
        (lambda run: append(run / "metrics.jsonl", b'{"step": 5, \xff}\n'), "a line is not JSON"),
        (
            lambda run: (run / "metrics.jsonl").unlink(),
            "must have a metrics.jsonl; .* or write an empty file",
        ),
        (lambda run: flip(run / "checkpoints" / "10" / "meta.json", b'"scores": [[10, '), "step 10 is damaged: meta"),
        (lambda run: flip(run / "config.json", b'"seed": '), "config.json .*does not match its checksum"),
    ],
)
def test_a_damaged_run_is_not_resumed(killed, tmp_path, damage, message):
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    damage(run)
    before = {path: path.read_bytes() for path in files_of(run)}
    with pytest.raises(RunError, match=message):
        jflows.run("realnvp", run, resume=True, progress=False)
    assert {path: path.read_bytes() for path in files_of(run)} == before


@pytest.mark.usefixtures("without_pictures")
def test_a_run_goes_on_from_the_last_intact_checkpoint(killed, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    flip(run / "checkpoints" / "13" / "meta.json", b'"scores": [[10, ')
    append(run / "metrics.jsonl", b'{"step": 15, "lo')  # and what the kill has left of a line
    with pytest.warns(UserWarning, match="step 13 is damaged: meta .*; using step 10 instead"):
        done = jflows.run("realnvp", run, resume=True, progress=False)
    assert done.score == trained.score


def flip(path: Path, after: bytes) -> None:
    """Changes the digit that follows these bytes."""
    data = bytearray(path.read_bytes())
    data[data.index(after) + len(after)] ^= 1
    path.write_bytes(data)


def append(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line)
