"""`benchmarks/accelerator.py` in miniature: it was written for a GPU, and must be right before one is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jflows.errors import InvalidTypeError
from jflows.testing import float32_errors

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_part_gives_rows():
    command = [sys.executable, str(ROOT / "benchmarks" / "accelerator.py"), "--small", "--minutes", "5"]
    own = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["platform"] == "cpu" and not any("left_out" in row for row in rows)
    judged = [row for row in rows if "ok" in row]
    assert {row["part"] for row in judged} == {"bijectors", "presets"} and all(row["ok"] for row in judged)


def test_errors_are_measured_and_not_made_up():
    from jflows.bijectors import Exp

    assert 0 < float32_errors(Exp(), (3,), domain=(0.5, 2.0)).round_trip < 1e-5
    with pytest.raises(InvalidTypeError, match="float32_errors: `bijector` must be a jflows Bijector; got int"):
        float32_errors(3, (2,))
    with pytest.raises(InvalidTypeError, match="float32_errors: `domian` must be an option of check_bijector"):
        float32_errors(Exp(), (3,), domian=(0.5, 2.0))
