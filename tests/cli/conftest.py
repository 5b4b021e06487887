"""One tiny run, trained once by the `jflows` command in a process of its own, for all tests of the command line."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jflows.cli import main

ROOT = Path(__file__).resolve().parents[2]
TINY = "--num-levels 1 --num-steps 1 --width 4 --batch-size 16 --init-batch 32 --warmup-steps 5 --num-validation 40"
TINY_RUN = f"{TINY} --steps 20 --log-every 5 --checkpoint-every 10 --steps-per-call 5".split()
# Sends this process a signal right after the metrics of one step are written, between two checkpoints.
SIGNAL_AT = """
import os, sys
from jflows.cli import main
from jflows.runs import RunDirectory
append = RunDirectory.append_metrics
def append_and_signal(run, entry):
    append(run, entry)
    if entry["step"] == int(sys.argv[1]):
        os.kill(os.getpid(), int(sys.argv[2]))
RunDirectory.append_metrics = append_and_signal
main(sys.argv[3:])
"""
WITHOUT_PICTURES = "from jflows.runs import running; running.write_reports = lambda *_: []\n"  # which take seconds
COMMAND = "import sys; from jflows.cli import main; main(sys.argv[1:])"


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """Prepared data stay in the checkout's cache, not in the user's."""
    monkeypatch.setenv("JFLOWS_CACHE", str(ROOT / ".cache" / "jflows"))


def in_process(*args: object) -> Result:
    """Runs `jflows` in this process; anything but a clean exit is an error of the test."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def in_new_process(
    *args: object, signal_at: tuple[int, signal.Signals] | None = None, pictures: bool = True
) -> subprocess.CompletedProcess:
    """Runs `jflows` as a user does: a new process, default precision, one device."""
    prefix = [COMMAND] if signal_at is None else [SIGNAL_AT, signal_at[0], int(signal_at[1])]
    prefix[0] = prefix[0] if pictures else WITHOUT_PICTURES + prefix[0]
    command = [str(part) for part in (sys.executable, "-c", *prefix, *args)]
    environment = {**os.environ, "JFLOWS_CACHE": str(ROOT / ".cache" / "jflows")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)


def train(out: Path, *args: object, **settings) -> subprocess.CompletedProcess:
    return in_new_process("train", "glow_digits", *TINY_RUN, "--out", out, *args, **settings)


@pytest.fixture(scope="session")
def jflows():
    return in_process


@pytest.fixture
def jflows_process():
    return in_new_process


@pytest.fixture
def train_tiny():
    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The directory of a finished run; shared by all pytest workers."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    run = shared / "trained"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "result.json").exists():
            done = train(run)
            assert done.returncode == 0, done.stderr
            (shared / "trained.stdout").write_text(done.stdout)
            (shared / "trained.stderr").write_text(done.stderr)
    return run
