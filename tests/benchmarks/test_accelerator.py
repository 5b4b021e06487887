"""`benchmarks/accelerator.py` in miniature: it was written for a GPU, and must be right before one is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jflows.errors import InvalidTypeError
from jflows.ops.programs import product_flops
from jflows.testing import float32_errors

ROOT = Path(__file__).parents[2]


def test_every_part_gives_rows():
    command = [sys.executable, str(ROOT / "benchmarks" / "accelerator.py"), "--small", "--minutes", "5"]
    own = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["platform"] == "cpu" and not any("left_out" in row for row in rows)
    judged = [row for row in rows if "ok" in row]
    assert {row["part"] for row in judged} == {"bijectors", "presets"} and all(row["ok"] for row in judged)
    timed = [row for row in rows if "share_of_peak" in row]
    assert {row["what"] for row in timed} == {"log_prob", "step", "sample"}
    assert all(row["ms"] > 0 and row["planned_bytes"] > 0 and row["gflop"] > 0 for row in timed)
    assert {row["beside"] for row in rows if "beside" in row} >= {"distrax"}


def test_operations_are_counted():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    product = 2 * 3 * 4 * 5
    assert product_flops(jax.make_jaxpr(jnp.matmul)(a, b)) == product
    steps = jax.make_jaxpr(lambda b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, None, length=7)[0])(b)
    assert product_flops(steps) == 7 * product
    chosen = jax.make_jaxpr(lambda p: jax.lax.cond(p, lambda: (a @ b).sum(), lambda: 0.0))(True)
    assert product_flops(chosen) == product
    image, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 8))
    conv = lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert product_flops(jax.make_jaxpr(conv)(image)) == 2 * (2 * 6 * 6 * 8) * 27
    from jflows.ops.conv import conv2d

    square = jax.make_jaxpr(jax.grad(lambda kernel: conv2d(image, kernel).sum()))(kernel)
    assert product_flops(square) == 2 * 2 * (2 * 6 * 6 * 8) * 27  # the convolution, and its kernel gradient


def test_errors_are_measured_and_not_made_up():
    from jflows.bijectors import Exp

    assert 0 < float32_errors(Exp(), (3,), domain=(0.5, 2.0)).round_trip < 1e-5
    with pytest.raises(InvalidTypeError, match="float32_errors: `bijector` must be a jflows Bijector; got int"):
        float32_errors(3, (2,))
