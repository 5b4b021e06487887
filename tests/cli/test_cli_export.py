"""`jflows export`: a flow of images as programs, in one line, and what the command refuses."""

import json

import jax
import numpy as np
import pytest

from jflows.runs import TrainedRun


def test_programs_of_images_take_keys_and_give_images(trained, jflows, tmp_path):
    out = tmp_path / "programs"
    shown = jflows("export", trained, "--platforms", "cpu", "--out", out)
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("log_prob.jax_export (") and "variables.npz (" in shown.output
    assert shown.output.endswith(f" for cpu and any number of rows; {out / 'README.md'} says how to run them\n")
    arguments = json.loads((out / "manifest.json").read_text())["programs"]["log_prob"]["arguments"]
    assert [(each.get("dtype"), each.get("shape")) for each in arguments[1:]] == [
        ("uint8", ["b", 8, 8, 1]),
        ("uint32", ["b", 2]),
    ]
    run = TrainedRun.open(trained)
    variables, x = dict(np.load(out / "variables.npz")), run.data().x[:3]
    program = jax.export.deserialize(bytearray((out / "log_prob.jax_export").read_bytes()))
    keys = jax.random.split(jax.random.key(0), 3)
    nats = jax.jit(program.call)(variables, x, jax.random.key_data(keys))
    with jax.enable_x64(False):
        wanted = jax.jit(run.density.log_prob)(run.variables, x, key=keys)
    np.testing.assert_allclose(nats, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--platforms", "gpu"], "export: `--platforms` must be some of cpu, cuda, tpu, each of them once; got gpu."),
        (["--platforms", ","], "export: `--platforms` must be some of cpu, cuda, tpu, each of them once; got none."),
        (["--batch-size", 0], "Invalid value for '--batch-size': 0 is not in the range"),
        (["--out", "."], "export: `--out` must be a directory that is empty or not there"),
    ],
)
def test_what_the_command_refuses_is_one_line(trained, jflows, args, message):
    shown = jflows("export", trained, *args)
    assert shown.exit_code == 2 and message in shown.stderr and shown.stderr.count("\n") == 1, shown.stderr
