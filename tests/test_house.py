"""Nobody asks what a value is, but for a few places with a reason."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import jflows
from jflows.train import NegativeLogLikelihood
from jflows.train.step import init_state, make_train_step
from jflows.typing import Batch

ROOT = Path(__file__).parents[1]


def house():
    """`benchmarks/house.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_questions_stand_where_a_reason_is_known():
    module = house()
    found = [site for site in module.sites(ROOT) if site.rule != "arguments"]
    assert sorted(site.file for site in found) == sorted(module.REASONS), [
        f"{s.file}:{s.line} {s.source}" for s in found
    ]
    assert len(found) <= 10


def test_every_rule_finds_its_question(tmp_path):
    """A rule that finds nothing would let everything pass."""
    lines = {
        "kind": "def f(data): return data.kind == 'images'",
        "capability": "def f(flow): return hasattr(flow, 'encode')",
        "fields": "def f(row): return [getattr(row, name) for name in ('a', 'b')]",
        "walk": "def f(map): return 1 if isinstance(map, Chain) else 2",
        "arguments": "def f(flow):\n    if not isinstance(flow, Flow):\n        raise InvalidTypeError",
    }
    for rule, source in lines.items():
        (tmp_path / "jflows").mkdir(exist_ok=True)
        (tmp_path / "jflows" / f"{rule}.py").write_text(source)
    assert {(site.file, site.rule) for site in house().sites(tmp_path)} == {(f"jflows/{r}.py", r) for r in lines}


@pytest.mark.parametrize(
    ("flow", "x", "most"),
    [
        (jflows.realnvp((6,)), jax.ShapeDtypeStruct((8, 6), jnp.float32), 23),
        (jflows.glow((8, 8, 1), num_levels=2, num_steps=2, width=8), jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.uint8), 31),
    ],
    ids=["realnvp", "glow"],
)
def test_a_training_step_passes_through_few_files(flow, x, most):
    """27 and 34 before the house was rebuilt, at 6709a1c; each file on the way must earn its place."""
    optimizer, key, rows = optax.adam(1e-3), jax.random.key(0), jax.ShapeDtypeStruct((8,), jnp.float32)
    state = jax.eval_shape(lambda: init_state(flow.init(key), optimizer, key))
    batch = Batch(x, None, rows, jax.ShapeDtypeStruct((8,), jnp.uint32))
    step = make_train_step(flow, optimizer, NegativeLogLikelihood())
    files = house().files_run(lambda: jax.eval_shape(step, state, batch), ROOT / "jflows")["step"]
    assert most - 3 <= len(files) <= most, sorted(files)  # fewer where a part was traced before
