"""A small training state and what the checkpoint tests share."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from jflows.errors import RunError
from jflows.train import checkpoint as module

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
                "kernel": np.asarray(rng.normal(size=(4, 3)), np.float32),
                "bias": jnp.full(3, seed, jnp.float32),
            },
            "empty": {},
            "missing": None,
        }

    return {"params": params(), "ema": params(), "constants": {"order": jax.device_put(rng.permutation(5))}}


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
