"""Real processes on this machine train, score, sample, stop and die together; one process does the same to compare."""

import json
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import jflows
from jflows.processes.launching import Ended, launch
from tests.processes import worker

WORKER = Path(worker.__file__)
RUNS = {
    "2-jit": (2, 1, "jit"),
    "2-shard_map": (2, 2, "shard_map"),
    "2-pmap": (2, 2, "pmap"),
    "4-jit": (4, 1, "jit"),
    "4-fsdp": (4, 1, "fsdp"),
    "4-shard_map": (4, 1, "shard_map"),
    "4-pmap": (4, 1, "pmap"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "2-jit")) for name in RUNS])
def test_processes_do_together_what_one_does(name, tmp_path, monkeypatch):
    num, devices, parallel = RUNS[name]
    monkeypatch.setenv("PYTHONPATH", str(WORKER.parents[2]))
    begin_alone(tmp_path / "begun", parallel, monkeypatch)
    printed, last_words = [], []
    command = [sys.executable, str(WORKER), str(tmp_path), parallel]
    ended = launch(command, num, devices, out=printed.append, err=last_words.append)

    assert ended == Ended(137, f"process 1 of {num} was killed by SIGKILL; the others were ended."), last_words
    assert printed == [b"process 0 is done\n"] and last_words[-1] == b"the last words of process 1\n"
    found = [json.loads((tmp_path / f"found_{index}.json").read_text()) for index in range(num)]
    check_messages(found, num, devices)
    # SIGTERM to process 1 alone has stopped all of them, at one step, and the checkpoint let them go on.
    assert all(each["stopped"] == [True, worker.STOP, False, worker.STEPS] for each in found)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 4  # process 0 alone has written
    check_states(tmp_path, parallel, num)
    check_scores(tmp_path, worker.WIDE if parallel == "fsdp" else worker.NARROW, num)


def begin_alone(directory, parallel, monkeypatch):
    """Half of a run by one process with eight devices, which others then end."""
    monkeypatch.setattr(worker.train_config, "make_optimizer", worker.train_config.make_optimizer)  # put back
    event = threading.Event()
    halfway = lambda entry: event.set() if entry["step"] == worker.STOP else None
    begun = worker.fit("fsdp" if parallel == "fsdp" else "jit", directory, callback=halfway, stop=event)
    assert begun.interrupted and int(begun.state.step) == worker.STOP


def check_messages(found, num, devices):
    for each in found:
        assert (
            "fit: `batch_size` must be equal in all processes; got 16 in process 0 and 32 in process 1"
            in each["unlike"]
        )
        assert f"`parallel` must divide the work among many processes; got 'none' with {num}." in each["none"]
        rule = f"`batch_size` must be a multiple of the {num * devices} devices of {num} processes; got 15. Change it."
        assert rule in each["divides"]
    assert found[0]["failed"] == "no space left"
    wanted = "run: `process 0` must not fail; got OSError: no space left."
    assert all(each["failed"].startswith(wanted) for each in found[1:])


def check_states(out, parallel, num):
    """All processes hold the same bits, which one process reads; and those of one process up to rounding."""
    names = ("stopped", "ended", "begun")
    states = {name: [load(out / f"{name}_{index}.npz") for index in range(num)] for name in names}
    for first, *others in states.values():
        assert all(np.array_equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    alone = worker.fit("fsdp" if parallel == "fsdp" else "none", None)
    assert_near(states["ended"][0], worker.leaves(alone.state))
    assert_near(states["begun"][0], worker.leaves(alone.state))  # by one process, then by `num`
    resumed = worker.fit("fsdp" if parallel == "fsdp" else "jit", out / "run", resume=True, stop=stop())
    for a, b in zip(worker.leaves(resumed.state), states["ended"][0], strict=True):
        np.testing.assert_array_equal(a, b)  # written by `num` processes, read by one with eight devices


def check_scores(out, flow, num):
    variables = jflows.load(out / "run", checkpoint="latest")[1]
    with jax.default_device(jax.devices()[0]):
        wanted = worker.scored(variables, flow)
    for index in range(num):
        with np.load(out / f"scored_{index}.npz") as found:
            assert all(np.array_equal(found[name], value) for name, value in wanted.items())


def assert_near(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def stop() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def load(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]
