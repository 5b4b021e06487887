"""`TrainedRun.export`: a folder whose programs run in a process that can import nothing but JAX and what it needs."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from jflows.errors import InvalidTypeError, InvalidValueError, MissingPackageError, RunError
from jflows.flows.dequantize import example_keys
from jflows.runs import TrainedRun
from jflows.runs.files import read_json

# `pip install jax flatbuffers` brings no more: everything else, jflows and Flax included, cannot be found.
ALONE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
KNOWN = {*sys.stdlib_module_names, "jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum", "flatbuffers"}
class Alone:
    def find_spec(self, name, path=None, target=None):
        of_platform = name.startswith("_sysconfigdata")
        return PathFinder.find_spec(name, path, target) if of_platform or name.split(".")[0] in KNOWN else None
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Alone()]
"""
OTHERS = """
try:
    import {name}
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("{name} was imported")
"""
SAVED = """
given = dict(np.load(sys.argv[1]))
x = sample(variables, given["key_data"], np.float32(1))
np.savez(sys.argv[2], x=x, nats=log_prob(variables, given["x"]))
"""


@pytest.fixture(scope="module")
def opened(trained) -> TrainedRun:
    return TrainedRun.open(trained.directory)


@pytest.fixture(scope="module")
def exported(opened, tmp_path_factory):
    return opened.export(tmp_path_factory.mktemp("exported") / "new")


def test_the_lines_of_the_readme_run_without_jflows_and_give_its_numbers(opened, exported, tmp_path):
    (lines,) = re.findall(r"```python\n(.*?)```", (exported.path / "README.md").read_text(), re.DOTALL)
    blocked = "".join(OTHERS.format(name=name) for name in ("jflows", "flax", "optax"))
    key_data = np.asarray(jax.random.key_data(example_keys(jax.random.key(3), np.arange(5, dtype=np.uint32))))
    x = opened.data().x[:7]
    np.savez(tmp_path / "given.npz", x=x, key_data=key_data)
    command = [
        sys.executable,
        "-I",
        "-c",
        ALONE + blocked + lines + SAVED,
        tmp_path / "given.npz",
        tmp_path / "found.npz",
    ]
    done = subprocess.run(command, cwd=exported.path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(16, 2) (16,)\n"
    found = np.load(tmp_path / "found.npz")
    with jax.enable_x64(False):
        np.testing.assert_allclose(found["nats"], opened.density.log_prob(opened.variables, x), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found["x"], opened.sample(5, seed=3), rtol=1e-6, atol=1e-6)


def test_the_manifest_says_what_is_there(exported):
    found = read_json("test", "path", exported.path / "manifest.json", fix="")
    assert found["platforms"] == ["cpu", "cuda", "tpu"] and found["batch_size"] is None
    assert found["config"] == "realnvp" and found["versions"]["jax"] == jax.__version__
    of_log_prob, of_sample = (found["programs"][name] for name in ("log_prob", "sample"))
    assert [each["name"] for each in of_log_prob["arguments"]] == ["variables", "x"]
    assert of_log_prob["arguments"][1]["shape"] == ["b", 2] and of_log_prob["result"]["shape"] == ["b"]
    assert [each["name"] for each in of_sample["arguments"]] == ["variables", "key_data", "temperature"]
    names = ["log_prob.jax_export", "sample.jax_export", "variables.npz"]
    assert list(found["files"]) == list(exported.sizes) == names
    for name, each in found["files"].items():
        content = (exported.path / name).read_bytes()
        assert each == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert exported.sizes[name] == len(content)
    assert sorted(path.name for path in exported.path.iterdir()) == [
        "README.md",
        *names[:1],
        "manifest.json",
        *names[1:],
    ]


def test_names_of_columns_and_classes_are_told(opened, tmp_path):
    facts = {**opened.stored.facts, "columns": ["a", "b"], "class_names": ["low", "high"]}
    told = dataclasses.replace(opened, stored=opened.stored._replace(facts=facts))
    path = told.export(tmp_path / "new", platforms=("cpu",), batch_size=3).path
    text, manifest = (path / "README.md").read_text(), json.loads((path / "manifest.json").read_text())
    assert "\n- The columns of x are a, b.\n- The classes are low, high.\n" in text
    assert "\n- b is 3, the number of rows of a call.\n" in text and "size=(3, 2)" in text
    assert manifest["columns"] == ["a", "b"] and "context" not in manifest


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(platforms=("rocm",)), InvalidValueError, "export: `platforms` must be some of cpu, cuda, tpu"),
        (dict(batch_size=0), InvalidValueError, "export: `batch_size` must be at least 1; got 0"),
        (dict(out=3), InvalidTypeError, "export: `out` must be a str or a path; got int"),
        (dict(out="."), RunError, "export: `out` must be a directory that is empty or not there"),
    ],
)
def test_wrong_input(opened, tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").touch()
    with pytest.raises(error, match=message):
        opened.export(**{"out": tmp_path / "new", **options})
    assert not (tmp_path / "new").exists()


def test_what_jax_needs_for_it_is_asked_for_first(opened, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(MissingPackageError, match="`flatbuffers` must be importable.* Run `pip install flatbuffers`"):
        opened.export(tmp_path / "new")
    assert not (tmp_path / "new").exists()
