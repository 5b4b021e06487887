"""`benchmarks/scaling.py`: what it reads from a compiled program, and the whole of it in miniature."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"

PROGRAM = """
%body (p: f32[4]) -> f32[4] {
  %all-reduce.1 = (f32[256]{0}, f32[2,8]{1,0}) all-reduce(%a, %b), channel_id=1
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %while.1 = (s32[], f32[4]{0}) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"4"}}
  %all-reduce.2 = f32[] all-reduce(%loss), channel_id=2, to_apply=%add
}
"""


def test_sums_in_a_loop_over_layers_count_once_for_each_layer():
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    assert spec is not None and spec.loader is not None
    scaling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scaling)
    assert scaling.reduces_of(PROGRAM) == (4 * 2 + 1, 4 * (4 * 256 + 4 * 16) + 4)


@pytest.mark.slow
def test_every_number_of_devices_and_processes_gives_a_row():
    small = "--steps 1 --calls 1 --width 8 --batch-size 32 --devices 1,2 --processes 2"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *small.split()], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one, two, processes = map(json.loads, done.stdout.splitlines())
    assert [row["devices"] for row in (one, two, processes)] == [1, 2, 2]
    assert one["reduced_bytes"] == 0 and two["parameter_bytes"] <= two["reduced_bytes"] == processes["reduced_bytes"]
    assert two["sums"] > 0 and two["model_ms"] > two["sum_ms"] > 0
