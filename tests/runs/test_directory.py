"""Run directories: files that are never half written, and stored recipes that cannot be read."""

import json

import jax
import jax.numpy as jnp
import pytest

import jflows
from jflows import InvalidTypeError, InvalidValueError, RunError
from jflows.runs import read_recipe
from jflows.runs.configs import find_recipe, list_presets
from jflows.runs.directory import alone_in
from jflows.runs.files import saving, write_text


def nested(depth):
    return {} if depth == 0 else {"a": nested(depth - 1)}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), saving(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and [entry.name for entry in path.parent.iterdir()] == ["file.txt"]
    with pytest.raises(RunError, match="must be writable; got .* Free some disk space"):
        write_text(path / "below", "x")


def test_two_processes_do_not_share_a_directory(tmp_path):
    with (
        alone_in(tmp_path / "run"),
        pytest.raises(RunError, match="`out` must not be in use by another process"),
        alone_in(tmp_path / "run"),
    ):
        pass
    with alone_in(tmp_path / "run"):  # free again
        pass
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text: "{", RunError, "must have a readable config.json"),
        (lambda text: "[]", RunError, "must have a readable config.json; got .*it holds no object"),
        (lambda text: json.dumps({"steps": 3}), RunError, "must have a readable config.json; got .*no checksum"),
        (lambda text: "[" * 100_000, RunError, "must have a readable config.json; got .*recursion"),
        (
            lambda text: text.replace(": 20,", ": 21,", 1),
            RunError,
            "does not match its checksum: it is damaged",
        ),
    ],
)
def test_a_config_json_that_is_none(trained, tmp_path, change, error, message):
    text = (trained.directory / "config.json").read_text()
    (tmp_path / "config.json").write_text(change(text))
    with pytest.raises(error, match=message):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flow": 5}, InvalidTypeError, 'config.json: `flow` must be an object with the key "preset"; got int'),
        ({"data": 5}, InvalidTypeError, "config.json: `data` must be an object; got int"),
        ({"format": 9}, InvalidValueError, "config.json: `format` must be 1"),
        ({"layers": 9}, InvalidValueError, "config.json: `layers` must be a key of recipe"),
        ({"facts": 9}, RunError, "`config` is no text, or `facts` no object"),
        ({"facts": nested(60)}, RunError, "nested more than 50 deep"),
    ],
)
def test_a_config_json_written_by_hand(trained, tmp_path, change, error, message):
    content = json.loads((trained.directory / "config.json").read_text())
    del content["crc32"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    assert read_recipe(path).recipe == trained.recipe  # as a file; as that of a run, it must be as it was written
    with pytest.raises(RunError, match="has no checksum, the key 'crc32'"):
        read_recipe(tmp_path)
    path.write_text(json.dumps(content | change))
    with pytest.raises(error, match=message):
        read_recipe(path)


def test_presets_are_listed_without_importing_them():
    from jflows.flows.presets import PRESETS

    listed = list_presets()
    assert set(listed) == {name for name, preset in PRESETS.items() if preset.__module__.startswith("jflows.")}
    assert all(line.endswith((".", "layers.", "density.")) for line in listed.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glow_mnits", "must be the name of a config or of a preset, a run directory, or .*Did you mean glow_mnist"),
        ("absent.py", "must be an existing .py file"),
        ("some/folder", "must be an existing .py file"),
    ],
)
def test_names_that_are_no_config(name, message):
    with pytest.raises(InvalidValueError, match=message):
        find_recipe(name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_variables_are_loaded_in_another_type(trained, dtype):
    flow, stored = jflows.load(trained.directory)
    loaded, variables = jflows.load(trained.directory, dtype=dtype)
    assert loaded == flow
    for leaf, old in zip(jax.tree.leaves(variables), jax.tree.leaves(stored), strict=True):
        assert leaf.dtype == (dtype if jnp.issubdtype(old.dtype, jnp.floating) else old.dtype)
        assert jnp.array_equal(leaf, old.astype(leaf.dtype))
    x = jnp.zeros((1, *flow.event_shape), jnp.float32)
    assert jax.eval_shape(lambda x: flow.log_prob(variables, x), x).dtype == (
        "float64" if dtype == "float64" else "float32"
    )


def test_a_type_that_variables_cannot_have_is_refused(trained):
    with pytest.raises(InvalidValueError, match="load: `dtype` must be one of 'float16', 'bfloat16', .* got 'int8'"):
        jflows.load(trained.directory, dtype="int8")
    with (
        jax.enable_x64(False),
        pytest.raises(InvalidValueError, match=r"must be a type that JAX holds.*jax_enable_x64"),
    ):
        jflows.load(trained.directory, dtype="float64")
