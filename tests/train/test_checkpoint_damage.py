"""Checkpoints under attack: flipped bits, truncated files, a full disk, and a kill in the middle of a save."""

import random
import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jflows.train.checkpoint import Checkpoints
from jflows.train.storage import DamagedError
from tests.train.checkpointing import (
    MESSAGE_LIMIT,
    assert_same,
    error_of,
    flip_bit,
    run_python,
    training_of,
    variables_of,
)

# Damage


def data_file(step: Path) -> Path:
    """The largest file, which holds numbers."""
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_every_flipped_bit_of_the_arrays_is_found(tmp_path, capfd):
    rng = random.Random(0)
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    tree = {"params": {"weights": weights, "bias": weights[0], "codes": np.arange(100)}}
    Checkpoints(tmp_path).save(1, tree)
    files = [path for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*") if path.stat().st_size]
    files = [path for path in files if path.is_file()]
    assert len(files) >= 4 and data_file(tmp_path) in files
    for file in files * 4 + [data_file(tmp_path)] * 20:
        original = file.read_bytes()
        flip_bit(file, rng.randrange(len(original)), rng.randrange(8))
        text = error_of(Checkpoints(tmp_path).read)
        assert "step 1 is damaged: state/" in text and "does not match its checksum" in text
        file.write_bytes(original)
    assert_same(Checkpoints(tmp_path).read().variables, tree)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("change", ["bit", "shape", "dtype", "absent", "error"])
def test_wrong_arrays_from_intact_files_are_found(two_steps, monkeypatch, change):
    restore = ocp.Checkpointer.restore

    def altered(self, directory, args):
        arrays = restore(self, directory, args=args)
        kernel = arrays.pop("ema/dense/kernel")
        if change == "error":
            raise KeyError("first line\n" + 10_000 * "x")
        if change != "absent":
            bits = kernel.view(np.uint32) ^ np.uint32(change == "bit")
            dtype = np.int32 if change == "dtype" else np.float32
            arrays["ema/dense/kernel"] = bits.view(dtype).reshape((3, 4) if change == "shape" else (4, 3))
        return arrays

    monkeypatch.setattr(ocp.Checkpointer, "restore", altered)
    expected = "KeyError: 'first line" if change == "error" else "ema/dense/kernel does not match its checksum"
    assert f"step 2 is damaged: {expected}" in error_of(Checkpoints(two_steps).read)


def test_every_flipped_bit_of_the_json_is_found(tmp_path):
    Checkpoints(tmp_path).save(1, {"params": {"x": np.ones(2)}}, meta={"flow": [1, -2.5, None, "é"], "n": True})
    file = tmp_path / "checkpoints" / "1" / "meta.json"
    original = file.read_bytes()
    checkpoints, intact = Checkpoints(tmp_path), Checkpoints(tmp_path)._content(1)
    for position in range(0, len(original), 3):
        flip_bit(file, position, position % 8)
        try:
            assert checkpoints._content(1) == intact  # a space that became another one
        except DamagedError:
            pass
        else:
            assert chr(original[position]).isspace()
        file.write_bytes(original)
    assert checkpoints.read().meta["flow"] == [1, -2.5, None, "é"]


def damage_truncate(step: Path):
    file = data_file(step)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_zeros(step: Path):
    file = data_file(step)
    data = bytearray(file.read_bytes())
    data[40:104] = bytes(64)
    file.write_bytes(data)


DAMAGES = {
    "truncated": damage_truncate,
    "zeros": damage_zeros,
    "deleted": lambda step: data_file(step).unlink(),
    "emptied": lambda step: [path.write_bytes(b"") for path in step.rglob("*") if path.is_file()],
    "no state": lambda step: shutil.rmtree(step / "state"),
    "no manifest": lambda step: (step / "state" / "manifest.ocdbt").unlink(),
    "no meta": lambda step: (step / "meta.json").unlink(),
    "cut meta": lambda step: (step / "meta.json").write_text('{"crc32": 1, "content": {'),
    "other json": lambda step: (step / "meta.json").write_text("[1, 2]"),
    "deep json": lambda step: (step / "meta.json").write_text("[" * 100_000),
    "binary meta": lambda step: (step / "meta.json").write_bytes(b"\xff\xfe\x00"),
    "empty directory": lambda step: (shutil.rmtree(step), step.mkdir()),
    "a file": lambda step: (shutil.rmtree(step), step.write_text("")),
    "another step": lambda step: (shutil.rmtree(step), shutil.copytree(step.with_name("1"), step)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_latest_falls_back_and_training_goes_on(two_steps, damage, capfd):
    step = two_steps / "checkpoints" / "2"
    DAMAGES[damage](step)
    assert "step 2 is damaged" in error_of(lambda: Checkpoints(two_steps).read(step=2))
    with pytest.warns(UserWarning, match="step 2 is damaged: .*; using step 1 instead"):
        assert Checkpoints(two_steps).read().step == 1
    checkpoints = Checkpoints(two_steps)
    with pytest.warns(UserWarning, match="step 2 is damaged: .*; using step 1 instead") as record:
        restored = checkpoints.restore(variables_of(0), training_of(0))
    assert len(record) == 1 and len(str(record[0].message)) < MESSAGE_LIMIT and record[0].filename == __file__
    assert restored.step == 1
    assert_same(restored.training, training_of(1))
    assert step.exists() and checkpoints.steps() == [1]
    assert checkpoints.save(2, variables_of(2), training_of(2))
    assert checkpoints.steps() == Checkpoints(two_steps).steps() == [1, 2]
    assert (two_steps / "checkpoints" / "2.damaged").exists()
    assert_same(Checkpoints(two_steps).restore(variables_of(0), training_of(0)).training, training_of(2))
    assert capfd.readouterr() == ("", "")


def test_all_damaged(two_steps, capfd):
    for step in ("1", "2"):
        damage_truncate(two_steps / "checkpoints" / step)
    text = error_of(lambda: Checkpoints(two_steps).restore(variables_of(0), training_of(0)))
    assert str(two_steps) in text and "step 2 is damaged" in text and "step 1 is damaged" in text
    assert Checkpoints(two_steps).best_step() is None
    assert capfd.readouterr() == ("", "")


# Failing and dying while saving


def test_failed_write_leaves_the_previous_and_no_trace(two_steps, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.args, "PyTreeSave", fail)
    threads, checkpoints = set(threading.enumerate()), Checkpoints(two_steps)
    text = error_of(lambda: checkpoints.save(3, variables_of(3), training_of(3)))
    assert str(two_steps) in text and "earlier checkpoints are intact" in text and "No space left" in text
    monkeypatch.undo()
    assert set(threading.enumerate()) <= threads
    assert sorted(path.name for path in checkpoints.directory.iterdir()) == ["1", "2"]
    assert checkpoints.save(3, variables_of(3), training_of(3)) and checkpoints.steps() == [2, 3]


def test_full_disk_for_real(two_steps):
    """A limit on the size of files makes the write of the arrays fail within Orbax."""
    code = """
        import resource, sys, threading, numpy as np
        from jflows.train.checkpoint import Checkpoints
        checkpoints = Checkpoints(sys.argv[1])
        state = {"params": {"x": np.random.default_rng(0).normal(size=200_000)}}
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            checkpoints.save(3, state)
        except Exception as error:
            print(type(error).__name__, error, len(threading.enumerate()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(checkpoints.read().step, checkpoints.save(3, state), checkpoints.read().step)
    """
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("the size of files is limited on this machine")
    done = run_python(code, two_steps)  # Orbax' barrier after a failure would hold its exit for 300 s
    first, second = done.stdout.splitlines()
    assert first.startswith("RunError Checkpoints.save") and "earlier checkpoints are intact" in first
    assert first.endswith(" 1") and second == "2 True 3" and done.stderr == ""


# One import serves all kills: each life of the run is a fork, taken before JAX starts threads.
KILLED = """
    import os, random, signal, sys, time, numpy as np, orbax.checkpoint
    from jflows.train.checkpoint import Checkpoints

    checkpoints, weights = Checkpoints(sys.argv[1]), np.random.default_rng(0).normal(size=(20, 2000))
    MOMENTS = [
        ("open", "meta.json"),  # arrays written, no table
        ("os.rename", "state.orbax"),  # within Orbax
        ("os.rename", ".saving'"),  # complete, without its name
        ("shutil.rmtree", ".deleted"),  # before an old one is taken away
        ("os.rmdir", "state"),  # while an old one is deleted
        *[None] * 5,  # at a random time
    ]

    def live(moment, ready):
        step = 0
        if checkpoints.steps():
            step = checkpoints.restore({}, {"step": 0}).training["step"]
            found = checkpoints.read()
            assert found.step == step == checkpoints.latest_step()
            assert all((found.variables["params"][f"layer_{i}"] == row + step).all() for i, row in enumerate(weights))
        names = os.listdir(checkpoints.directory)
        print(step, *sorted({name.split(".", 1)[1] for name in names if "." in name}), flush=True)
        start = step

        def watch(event, arguments):
            if moment and step > start + 1 and event == moment[0] and moment[1] in repr(str(arguments[0])):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        while True:
            step += 1
            tree = {f"layer_{i}": row + step for i, row in enumerate(weights)}
            checkpoints.save(step, {"params": tree}, {"step": step}, scores={step: 1 / step})
            os.write(ready, b".")

    os.makedirs(checkpoints.directory)
    for number, moment in enumerate(MOMENTS):
        receive, send = os.pipe()
        process = os.fork()
        if process == 0:
            try:
                live(moment, send)
            finally:
                os._exit(1)
        os.close(send)
        os.read(receive, 1)
        if moment is None:
            time.sleep(random.Random(number).uniform(0, 0.1))
            os.kill(process, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL, moment
"""


def test_kill_9_while_saving_leaves_a_complete_latest(tmp_path):
    done = run_python(KILLED, tmp_path, PYTHONWARNINGS="ignore")
    assert (done.returncode, done.stderr) == (0, "")
    lives = [line.split() for line in done.stdout.splitlines()]
    steps, leftovers = [int(life[0]) for life in lives], [life[1:] for life in lives]
    assert len(lives) == 10 and steps == sorted(set(steps)) and steps[0] == 0
    assert leftovers[:6] == [[], ["saving"], ["saving"], ["saving"], [], ["deleted"]]
    checkpoints = Checkpoints(tmp_path)
    latest = checkpoints.read().step
    assert latest > steps[-1] and checkpoints.save(latest + 1, {"params": {}})
    assert all(path.name.isdecimal() for path in checkpoints.directory.iterdir())
