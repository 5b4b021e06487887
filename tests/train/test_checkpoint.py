"""Checkpoints: what is saved comes back bit for bit, on any device, and only what should be kept is kept."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.train import storage
from jflows.train.checkpoint import Checkpoints, check_unused
from tests.train.checkpointing import (
    Counters,
    assert_same,
    error_of,
    run_python,
    training_of,
    variables_of,
)

# What comes back


def test_restore_gives_the_saved_structure_types_and_bits(two_steps):
    abstract = jax.eval_shape(lambda: (variables_of(0), training_of(0)))
    for template in [abstract, (variables_of(0), training_of(0))]:
        restored = Checkpoints(two_steps).restore(*template)
        assert restored.step == 2 and restored.meta == {"flow": "nice", "step": 2} and restored.scores == {}
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
    found = {}
    for step, score in enumerate(scores):
        found |= {} if score is None else {step: score}
        assert checkpoints.save(step, {"params": {"x": np.float32(step)}}, scores=found)
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
    last = save_scores(tmp_path / "c", [jnp.float32(2.0), 1.0, 3.0], keep=1)
    assert last.steps() == [1, 2] and last.read(step=1).scores == {0: 2.0, 1: 1.0}
    with pytest.raises(InvalidValueError, match="Checkpoints: `keep` must be positive; got 0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(InvalidValueError, match="Checkpoints: `keep_best` must be >= 0; got -1"):
        Checkpoints(tmp_path, keep_best=-1)


def test_the_best_is_told_from_intact_checkpoints_alone(tmp_path):
    checkpoints = save_scores(tmp_path, [5, 1, 3, 4])
    assert checkpoints.steps() == [1, 2, 3] and checkpoints.best_step() == 1
    best, latest = (tmp_path / "checkpoints" / name for name in "13")
    saved = best.read_bytes() if best.is_file() else (best / "meta.json").read_bytes()
    (best / "meta.json").write_bytes(saved.replace(b"1.0", b"9.0"))  # its own score does not count
    assert Checkpoints(tmp_path).best_step() == 1
    assert "step 1 is damaged: meta does not match its checksum" in error_of(lambda: Checkpoints(tmp_path).read(step=1))
    (latest / "meta.json").unlink()
    text = error_of(Checkpoints(tmp_path).best_step)
    assert "undamaged checkpoints to tell which is the best; got step 3 is damaged" in text and ": 1, 2." in text
    shutil.rmtree(latest)
    shutil.rmtree(best)
    assert "must hold the checkpoint of step 1, whose score is the best" in error_of(Checkpoints(tmp_path).best_step)


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
    assert "must not hold checkpoints of another run" in text and "resume=True" in text and "`out`" in text
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
        assert "must hold a readable checkpoint; got no such directory" in text and "another out" in text
    (tmp_path / "checkpoints").mkdir()
    assert "got none" in error_of(Checkpoints(tmp_path).read)
    (tmp_path / "file").write_text("")
    assert "no such directory" in error_of(Checkpoints(tmp_path / "file").read)
    assert "could not be written" in error_of(lambda: Checkpoints(tmp_path / "file").save(0, {"params": {}}))
    save_scores(tmp_path, [1.0])
    assert "`step` must be a saved step of" in error_of(lambda: Checkpoints(tmp_path).read(step=7))


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
    for thread in set(threading.enumerate()) - before:
        thread.join(10)  # one that has done its work may not have ended yet
    assert set(threading.enumerate()) <= before, threading.enumerate()
    assert logging.getLogger("absl").level == absl.logging.converter.absl_to_standard(absl.logging.INFO)
"""


def test_nothing_is_printed_and_no_thread_stays(tmp_path):
    done = run_python(QUIET, tmp_path, PYTHONWARNINGS="error::ResourceWarning")
    lines = [line for line in done.stderr.splitlines() if "jax._src" not in line and "xla_bridge" not in line]
    assert (done.returncode, done.stdout, lines) == (0, "", [])


def arrays() -> dict[str, jax.Array]:
    return {"replicated": jnp.arange(6, dtype=jnp.float32), "sharded": jnp.arange(16, dtype=jnp.float32)}


def on_eight_devices() -> tuple[dict[str, jax.Array], jax.Array, NamedSharding]:
    """Parameters of which one is split over all devices of this process, a key, and the sharding of what is not."""
    mesh = jax.make_mesh((8,), ("batch",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    shardings = {"replicated": everywhere, "sharded": NamedSharding(mesh, PartitionSpec("batch"))}
    return jax.device_put(arrays(), shardings), jax.device_put(jax.random.key(5), everywhere), everywhere


def check_restored_on_eight_devices(checkpoints: Checkpoints) -> None:
    params, key, everywhere = on_eight_devices()
    for template, options in [
        ((params, key), {}),
        (jax.eval_shape(lambda: (arrays(), jax.random.key(5))), {"sharding": everywhere}),
    ]:
        found = checkpoints.restore({"params": template[0]}, {"key": template[1]}, **options)
        got = found.variables["params"]
        expected = everywhere if options else params["sharded"].sharding
        assert got["sharded"].sharding.is_equivalent_to(expected, 1), got["sharded"].sharding
        assert got["replicated"].sharding.device_set == set(jax.devices())
        assert found.training["key"].sharding.device_set == set(jax.devices())
        assert (np.asarray(got["sharded"]) == np.arange(16)).all()
        assert (jax.random.key_data(found.training["key"]) == jax.random.key_data(key)).all()


def test_eight_devices_to_one_and_back(tmp_path, capfd):
    assert jax.device_count() == 8
    params, key, _ = on_eight_devices()
    Checkpoints(tmp_path).save(1, {"params": params}, {"key": key})
    check_restored_on_eight_devices(Checkpoints(tmp_path))
    template = jax.eval_shape(lambda: (arrays(), jax.random.key(0)))
    found = Checkpoints(tmp_path).restore({"params": template[0]}, {"key": template[1]})
    assert_same(found.variables["params"], arrays())
    assert_same(found.training["key"], jax.random.key(5))
    assert {a.sharding.device_set == {jax.devices()[0]} for a in jax.tree.leaves(found.variables)} == {True}
    Checkpoints(tmp_path).save(2, found.variables, found.training)
    check_restored_on_eight_devices(Checkpoints(tmp_path))
    assert capfd.readouterr() == ("", "")


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
    saved["content"]["format"] += 1
    saved["crc32"] = storage.crc32_of(saved["content"])
    file.write_text(json.dumps(saved))
    assert "got format 3. Use the version of jflows that wrote it" in error_of(Checkpoints(two_steps).read)


def test_int4_is_what_ml_dtypes_calls_it():
    assert np.dtype("int4") == ml_dtypes.int4  # tables name types that only ml_dtypes registers
