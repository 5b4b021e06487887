"""Checkpoints: what is saved comes back bit for bit, damage is found, and a kill at any moment costs one save."""

import json
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import struct

from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.train import checkpoint as module
from jflows.train.checkpoint import Checkpoints, check_unused

MESSAGE_LIMIT = 1000  # characters: one line that a person can read


class Counters(NamedTuple):
    skipped: Any
    total: Any


@struct.dataclass
class Training:
    opt_state: Any
    key: Any
    counters: Counters
    step: Any


def variables_of(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def params():
        return {
            "dense": {
                "kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32),
                "bias": jnp.full(3, seed, jnp.float32),
            },
            "empty": {},
            "missing": None,
        }

    return {"params": params(), "ema": params(), "constants": {"order": jnp.asarray(rng.permutation(5))}}


def training_of(seed: int) -> Training:
    params = variables_of(seed)["params"]["dense"]
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    counters = Counters(jnp.int32(seed), jnp.int32(seed + 1))
    return Training(optimizer.init(params), jax.random.key(seed), counters, jnp.int32(seed))


def assert_same(actual: Any, expected: Any):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if isinstance(b, jax.Array):
            assert isinstance(a, jax.Array) and a.dtype == b.dtype
        if jnp.issubdtype(getattr(b, "dtype", np.float32), jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def run_python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        cwd=Path(module.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )


def flip_bit(file: Path, position: int, bit: int):
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(data)


def error_of(call) -> str:
    with pytest.raises(RunError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and len(text) < MESSAGE_LIMIT
    return text


@pytest.fixture
def two_steps(tmp_path):
    """A run with steps 1 and 2, a fresh copy for each test."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, variables_of(step), training_of(step), {"flow": "nice", "step": step})
    return tmp_path


# What comes back


def test_restore_gives_the_saved_structure_types_and_bits(two_steps):
    abstract = jax.eval_shape(lambda: (variables_of(0), training_of(0)))
    for template in [abstract, (variables_of(0), training_of(0))]:
        restored = Checkpoints(two_steps).restore(*template)
        assert restored.step == 2 and restored.meta == {"flow": "nice", "step": 2} and restored.metrics == {}
        assert_same(restored.variables, variables_of(2))
        assert_same(restored.training, training_of(2))
        assert isinstance(restored.training.counters, Counters)
    older = Checkpoints(two_steps).restore(*abstract, step=1)
    assert_same(older.training, training_of(1))
    only_ema = Checkpoints(two_steps).restore({"ema": variables_of(0)["ema"]})
    assert only_ema.training is None and list(only_ema.variables) == ["ema"]


def test_read_needs_no_template_and_gives_nested_dicts_of_numpy(two_steps):
    found = Checkpoints(two_steps).read()
    assert found.step == 2 and found.training is None and list(found.variables) == ["constants", "ema", "params"]
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(found.variables))
    assert_same(found.variables, jax.tree.map(np.asarray, variables_of(2)))
    assert found.variables["params"]["empty"] == {} and found.variables["params"]["missing"] is None
    assert list(Checkpoints(two_steps).read(["ema"], step=1).variables) == ["ema"]


def test_read_loads_only_what_is_asked_for(two_steps, monkeypatch):
    seen = []
    restore = ocp.Checkpointer.restore
    monkeypatch.setattr(
        ocp.Checkpointer,
        "restore",
        lambda self, directory, args: seen.append(args.item) or restore(self, directory, args=args),
    )
    Checkpoints(two_steps).read(["constants"])
    Checkpoints(two_steps).read()
    assert sorted(seen[0]) == ["constants/order"] and not any(name.startswith("training") for name in seen[1])


DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int32", "int8", "uint32", "int4"]
DTYPES += ["uint8", "bool", "complex64"]


def test_all_leaf_types(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {d: rng.integers(0, 2, (2, 3)).astype(np.dtype(d)) for d in DTYPES}
    special = np.array([np.nan, -0.0, np.inf, 5e-324])
    numpy_only = {"special": special, "scalar": np.float64(0.1), "integer": np.int64(2**40), "zero_d": np.zeros(())}
    strided = {"transposed": np.arange(6.0).reshape(2, 3).T, "big_endian": np.arange(3, dtype=">f4")}
    keys = {"key": jax.random.key(3), "rbg": jax.random.key(3, impl="rbg"), "keys": jax.random.split(jax.random.key(1))}
    python = {"integer": 7, "real": 0.5, "flag": True}
    tree = {"numpy": arrays, "numpy_only": numpy_only, "strided": strided, "keys": keys, "python": python}
    tree |= {"none": None, "empty": {}, "no_rows": jnp.zeros((0, 3)), "a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}}
    tree |= {"list": [jnp.ones(2), (jnp.zeros(1), ())], "space in key": jnp.ones(1)}
    Checkpoints(tmp_path).save(0, {"params": arrays, "bare": jnp.ones(2)}, tree)
    restored = Checkpoints(tmp_path).restore({"params": arrays, "bare": jnp.ones(2)}, tree)
    expected = {**tree, "strided": {**strided, "big_endian": np.arange(3, dtype=np.float32)}}
    assert_same(restored.training, expected)
    for name, value in python.items():
        assert type(restored.training["python"][name]) is type(value)
    assert type(restored.training["numpy_only"]["integer"]) is np.int64
    assert_same(Checkpoints(tmp_path).read().variables, {"params": arrays, "bare": np.ones(2)})


def test_a_state_without_any_array(tmp_path):
    Checkpoints(tmp_path).save(5, {"params": {}}, meta={"note": "ä"})
    assert Checkpoints(tmp_path).read() == (5, {"params": {}}, None, {"note": "ä"}, {})


def test_float64_survives_a_reader_without_x64(tmp_path):
    value = np.float64(1) / 3
    Checkpoints(tmp_path).save(0, {"params": {"x": value}})
    assert Checkpoints(tmp_path).read().variables["params"]["x"] == value
    text = error_of(lambda: Checkpoints(tmp_path).restore({"params": {"x": jnp.zeros((), jnp.float32)}}))
    assert "float32[] here and float64[] there" in text


def test_state_is_readable_with_orbax_alone(two_steps):
    tree = ocp.PyTreeCheckpointer().restore(two_steps.absolute() / "checkpoints" / "2" / "state")
    np.testing.assert_array_equal(tree["params/dense/kernel"], variables_of(2)["params"]["dense"]["kernel"])


# Which are kept


def save_scores(run: Path, scores: list[float | None], **options) -> Checkpoints:
    checkpoints = Checkpoints(run, **options)
    for step, score in enumerate(scores):
        metrics = {} if score is None else {"validation_bits_per_dim": score}
        assert checkpoints.save(step, {"params": {"x": np.float32(step)}}, metrics=metrics)
    return checkpoints


@pytest.mark.parametrize(
    "scores, kept, best",
    [
        ([5, 3, 4, 2, 6, 7, 8], [3, 5, 6], 3),
        ([1, 2, 3, 4], [0, 2, 3], 0),
        ([4, 3, 2, 1], [2, 3], 3),
        ([float("nan"), 9, 9, 9.5, 9.5], [2, 3, 4], 2),
        ([float("nan")] * 4, [2, 3], None),
        ([float("-inf"), float("inf"), 1, 2], [0, 2, 3], 0),
        ([None, 3, None, None, None], [1, 3, 4], 1),
    ],
)
def test_latest_two_and_best_are_kept(tmp_path, scores, kept, best):
    checkpoints = save_scores(tmp_path, scores)
    for reopened in (checkpoints, Checkpoints(tmp_path)):
        assert reopened.steps() == kept and reopened.best_step() == best
        assert reopened.latest_step() == len(scores) - 1
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == sorted(map(str, kept))


def test_keep_options(tmp_path):
    assert save_scores(tmp_path / "a", [1, 2, 3, 4, 5], keep=1, keep_best=0).steps() == [4]
    assert save_scores(tmp_path / "b", [1, 2, 3, 4, 5], keep=1, keep_best=2).steps() == [0, 1, 4]
    named = Checkpoints(tmp_path / "c", keep=1, best_metric="nll")
    for step, nll in enumerate([2.0, 1.0, 3.0]):
        named.save(step, {"params": {}}, metrics={"nll": jnp.float32(nll)})
    assert named.steps() == [1, 2] and named.read(step=1).metrics == {"nll": 1.0}
    with pytest.raises(InvalidValueError, match="Checkpoints: `keep` must be positive; got 0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(InvalidValueError, match="Checkpoints: `keep_best` must be >= 0; got -1"):
        Checkpoints(tmp_path, keep_best=-1)


# What is refused


def test_saving_a_step_again_or_an_earlier_one(two_steps):
    checkpoints = Checkpoints(two_steps)
    before = (two_steps / "checkpoints" / "2" / "meta.json").stat().st_mtime_ns
    assert checkpoints.save(2, variables_of(2), training_of(2), {"other": "meta"}) is False
    assert (two_steps / "checkpoints" / "2" / "meta.json").stat().st_mtime_ns == before
    for step, seed in [(2, 9), (1, 1), (0, 0)]:
        text = error_of(lambda: checkpoints.save(step, variables_of(seed), training_of(seed)))  # noqa: B023
        assert f"`step` must be above the latest saved step 2; got {step}" in text and "Resume" in text
    assert checkpoints.save(3, variables_of(3)) is True


def test_used_directory_is_refused(two_steps, tmp_path_factory):
    text = error_of(lambda: check_unused(two_steps))
    assert "must not hold checkpoints of another run" in text and "`--resume`" in text and "`--out`" in text
    check_unused(tmp_path_factory.mktemp("fresh"))
    check_unused(two_steps / "does not exist")


@pytest.mark.parametrize(
    "leaf, name", [("text", "str"), (object(), "object"), (np.array("x"), "ndarray"), (2**70, "int"), (len, "builtin")]
)
def test_leaf_that_cannot_be_saved_is_named(tmp_path, leaf, name):
    with pytest.raises(InvalidTypeError, match=rf"`params/layer_1/x` must be an array, .* got {name}.*Convert it"):
        Checkpoints(tmp_path).save(0, {"params": {"layer_1": {"x": leaf}}})
    assert not (tmp_path / "checkpoints").exists()


def test_arguments_of_save(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InvalidTypeError, match=r"`meta` must be a JSON object; got .*float32.* `.tolist\(\)`"):
        checkpoints.save(0, {}, meta={"x": np.float32(1)})
    with pytest.raises(InvalidValueError, match="`step` must be >= 0; got -1"):
        checkpoints.save(-1, {})
    with pytest.raises(InvalidValueError, match="must not come with a collection named `training`"):
        checkpoints.save(0, {"training": {}})
    with pytest.raises(InvalidValueError, match="must not have a `/` in a key"):
        checkpoints.save(0, {"params": {"a/b": np.ones(1)}})
    assert not (tmp_path / "checkpoints").exists()


def test_template_of_another_model_names_the_leaf(two_steps):
    checkpoints, variables = Checkpoints(two_steps), variables_of(0)
    kernel, bias = jnp.ones((4, 3), jnp.float32), jnp.ones(3, jnp.float32)
    text = error_of(lambda: checkpoints.restore({"params": {"dense": {"kernel": jnp.ones((4, 5)), "bias": bias}}}))
    assert "`params/dense/kernel` must be as saved in" in text and "float64[4, 5] here and float32[4, 3] there" in text
    missing = {"params": {"dense": {"kernel": kernel}}}
    assert "no such leaf here and float32[3] there" in error_of(lambda: checkpoints.restore(missing))
    extra = {"constants": {**variables["constants"], "mean": jnp.ones(2)}}
    assert "float64[2] here and no such leaf there" in error_of(lambda: checkpoints.restore(extra))
    other_key = training_of(0).replace(key=jax.random.key(0, impl="rbg"))
    assert "key<rbg>[] here and key<fry>[] there" in error_of(lambda: checkpoints.restore(variables, other_key))
    for call in (lambda: checkpoints.read(["spam", "ema"]), lambda: checkpoints.restore({"spam": {}})):
        text = error_of(call)
        assert "must be among those of" in text and ": constants, ema, params, training; got spam. Ask" in text


def test_nothing_to_read(tmp_path):
    for call in (Checkpoints(tmp_path / "spam").read, lambda: Checkpoints(tmp_path / "spam").restore({})):
        text = error_of(call)
        assert "must hold a readable checkpoint; got no such directory" in text and "`--out`" in text
    (tmp_path / "checkpoints").mkdir()
    assert "got none" in error_of(Checkpoints(tmp_path).read)
    (tmp_path / "file").write_text("")
    assert "no such directory" in error_of(Checkpoints(tmp_path / "file").read)
    assert "could not be written" in error_of(lambda: Checkpoints(tmp_path / "file").save(0, {"params": {}}))
    save_scores(tmp_path, [1.0])
    assert "`step` must be a saved step of" in error_of(lambda: Checkpoints(tmp_path).read(step=7))


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
        except module._DamagedError:
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
            checkpoints.save(step, {"params": tree}, {"step": step}, metrics={"validation_bits_per_dim": 1 / step})
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


# Silence, devices, surroundings

QUIET = """
    import logging, sys
    logging.basicConfig(level=logging.INFO)
    import absl.logging, jax, numpy as np, threading
    absl.logging.set_verbosity(absl.logging.INFO)
    from jflows.train.checkpoint import Checkpoints
    assert "orbax" not in sys.modules
    checkpoints = Checkpoints(sys.argv[1])
    state = {"params": {"x": np.ones(3), "y": jax.numpy.ones((2, 2))}}
    before = set(threading.enumerate())
    for step in range(4):
        checkpoints.save(step, state, {"key": jax.random.key(0)})
    checkpoints.restore(state, {"key": jax.random.key(0)}), checkpoints.read(), checkpoints.best_step()
    assert set(threading.enumerate()) <= before, threading.enumerate()
    assert logging.getLogger("absl").level == absl.logging.converter.absl_to_standard(absl.logging.INFO)
"""


def test_nothing_is_printed_and_no_thread_stays(tmp_path):
    done = run_python(QUIET, tmp_path, PYTHONWARNINGS="error::ResourceWarning")
    lines = [line for line in done.stderr.splitlines() if "jax._src" not in line and "xla_bridge" not in line]
    assert (done.returncode, done.stdout, lines) == (0, "", [])
    assert logging.getLogger("absl").level <= logging.WARNING


SAVE_ON_EIGHT = """
    import sys, jax, jax.numpy as jnp, numpy as np
    from jax.sharding import NamedSharding, PartitionSpec
    from jflows.train.checkpoint import Checkpoints
    mesh = jax.make_mesh((8,), ("batch",))
    place = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))
    params = {"replicated": place(jnp.arange(6.0)), "sharded": place(jnp.arange(16.0), "batch")}
    key = place(jax.random.key(5))
    checkpoints = Checkpoints(sys.argv[1])
    if sys.argv[2] == "save":
        checkpoints.save(1, {"params": params}, {"key": key})
    sharding = NamedSharding(mesh, PartitionSpec())
    for template, options in [((params, key), {}), (jax.eval_shape(lambda: (params, key)), {"sharding": sharding})]:
        found = checkpoints.restore({"params": template[0]}, {"key": template[1]}, **options)
        got = found.variables["params"]
        expected = sharding if options else params["sharded"].sharding
        assert got["sharded"].sharding.is_equivalent_to(expected, 1), got["sharded"].sharding
        assert got["replicated"].sharding.device_set == set(jax.devices())
        assert found.training["key"].sharding.device_set == set(jax.devices())
        assert (np.asarray(got["sharded"]) == np.arange(16)).all()
        assert (jax.random.key_data(found.training["key"]) == jax.random.key_data(jax.random.key(5))).all()
"""


def test_eight_devices_to_one_and_back(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = run_python(SAVE_ON_EIGHT, tmp_path, "save", **flags)
    assert (done.returncode, done.stderr) == (0, "")
    params = {"replicated": jnp.arange(6, dtype=jnp.float32), "sharded": jnp.arange(16, dtype=jnp.float32)}
    template = jax.eval_shape(lambda: (params, jax.random.key(0)))
    found = Checkpoints(tmp_path).restore({"params": template[0]}, {"key": template[1]})
    assert_same(found.variables["params"], params)
    assert_same(found.training["key"], jax.random.key(5))
    assert {a.sharding.device_set == {jax.devices()[0]} for a in jax.tree.leaves(found.variables)} == {True}
    Checkpoints(tmp_path).save(2, found.variables, found.training)
    done = run_python(SAVE_ON_EIGHT, tmp_path, "restore", **flags)
    assert (done.returncode, done.stderr) == (0, "")


def test_restored_arrays_can_be_donated_and_do_not_recompile(two_steps):
    traces = []

    def step(state):
        traces.append(1)
        return jax.tree.map(lambda x: x * 2, state)

    step = jax.jit(step, donate_argnums=0)
    fresh = step({"w": variables_of(2)["params"]["dense"]["kernel"]})
    restored = Checkpoints(two_steps).restore(variables_of(0)).variables["params"]["dense"]["kernel"]
    again = step({"w": restored})
    assert_same(again, fresh)
    assert len(traces) == 1 and step._cache_size() == 1


def test_relative_directory_and_running_event_loop(tmp_path, monkeypatch):
    import asyncio

    monkeypatch.chdir(tmp_path)

    async def cell():  # as in a notebook
        checkpoints = Checkpoints("run")
        checkpoints.save(1, variables_of(1))
        monkeypatch.chdir("/")
        return checkpoints.read().step

    assert asyncio.run(cell()) == 1 and (tmp_path / "run" / "checkpoints" / "1").is_dir()


def test_foreign_entries_are_left_alone(two_steps):
    directory = two_steps / "checkpoints"
    for name in ("notes.txt", "007", "best"):
        (directory / name).write_text("mine")
    (directory / "5.saving").mkdir()
    (directory / "0.deleted").mkdir()
    checkpoints = Checkpoints(two_steps)
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(3, {"params": {}})
    assert sorted(path.name for path in directory.iterdir()) == ["007", "2", "3", "best", "notes.txt"]


def test_a_later_format_is_not_taken_for_damage(two_steps):
    file = two_steps / "checkpoints" / "2" / "meta.json"
    saved = json.loads(file.read_text())
    saved["content"]["format"] = 2
    saved["crc32"] = module._crc32(saved["content"])
    file.write_text(json.dumps(saved))
    assert "got format 2. Use the version of jflows that wrote it" in error_of(Checkpoints(two_steps).read)


def test_int4_is_what_ml_dtypes_calls_it():
    assert np.dtype("int4") == ml_dtypes.int4  # tables name types that only ml_dtypes registers
