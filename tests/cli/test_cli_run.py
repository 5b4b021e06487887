"""From `train` to `resume`: every command on one tiny run, and runs that are killed or stopped."""

import json
import math
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jflows import __version__, glow
from jflows.flows.presets import PRESETS
from jflows.runs import read_metrics
from jflows.train.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {"learning_curve.png", "samples.png", "interpolation.png", "reconstruction.png"} | {
    f"samples_T{temperature}.png" for temperature in ("0.00", "0.25", "0.60", "0.70", "0.80", "0.90", "1.00")
}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def leaves(run):
    """All arrays of the last checkpoint, by name: parameters, averages, optimizer state, key, step."""
    saved = Checkpoints(run).read(("params", "ema", "constants", "training"))
    flat, _ = jax.tree_util.tree_flatten_with_path((saved.variables, saved.training))
    is_key = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    plain = {jax.tree_util.keystr(p): jax.random.key_data(leaf) if is_key(leaf) else leaf for p, leaf in flat}
    return saved.step, plain


def assert_same_run(run, other):
    (step, mine), (other_step, theirs) = leaves(run), leaves(other)
    assert step == other_step and mine.keys() == theirs.keys() and len(mine) > 20
    for name, leaf in mine.items():
        np.testing.assert_array_equal(leaf, theirs[name], err_msg=name)


def test_train_writes_everything_and_prints_one_line(trained):
    result = json.loads((trained / "result.json").read_text())
    assert 1 < result["test_bits_per_dim"] < 20 and 0 < result["standard_error"] < 1
    assert (result["num_test"], result["steps"], result["config"]["flow"]["width"]) == (360, 20, 4)
    assert result["train_seconds"] > 0
    assert {path.name for path in trained.glob("*.png")} == PICTURES
    assert all(path.stat().st_size < 300_000 for path in trained.glob("*.png"))
    assert not list(trained.glob(".*"))  # nothing left half written
    assert [entry["step"] for entry in read_metrics(trained)] == [5, 10, 15, 20]
    printed = (trained.parent / "trained.stdout").read_text()
    assert printed.count("\n") == 1
    assert f"test {result['test_bits_per_dim']:.4f}" in printed and str(trained) in printed
    noise = [line for line in (trained.parent / "trained.stderr").read_text().splitlines() if line]
    assert all(line.startswith(("jflows.data: ", "training: ", "evaluating: ")) for line in noise), noise


def test_evaluate_in_a_new_process_repeats_the_result(trained, jflows_process):
    result = json.loads((trained / "result.json").read_text())
    done = jflows_process("evaluate", trained, "--batch-size", 100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{result['test_bits_per_dim']:.4f} ± {result['standard_error']:.4f} bits/dim")
    assert "on 360 test images of digits" in done.stdout


@pytest.mark.slow
def test_sample_in_a_new_process_depends_on_seed_and_temperature(trained, jflows_process, jflows, tmp_path):
    done = jflows_process("sample", trained, "--num", 6, "--columns", 3, "--out", tmp_path / "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert pixels(tmp_path / "a.png").shape == (2 * 59 + 3, 3 * 59 + 3, 3)  # 56 pixels and a gap of 3
    for name, args in {"b": ["--seed", 1], "c": ["--temperature", 0]}.items():
        out = tmp_path / f"{name}.png"
        assert jflows("sample", trained, "--num", 6, "--columns", 3, "--out", out, *args).exit_code == 0
    a, b, c = (pixels(tmp_path / f"{name}.png") for name in "abc")
    assert (a != b).any() and (a != c).any()
    tiles = [
        c[3 + row * 59 : 59 + row * 59, 3 + column * 59 : 59 + column * 59] for row in (0, 1) for column in range(3)
    ]
    assert all((tile == tiles[0]).all() for tile in tiles[1:])  # at temperature 0 all draws are the mean


def test_images_are_written_as_an_array_too(trained, jflows, tmp_path):
    out = tmp_path / "a.npy"
    assert jflows("sample", trained, "--num", 20, "--out", out).exit_code == 0
    drawn = np.load(out)
    assert (drawn.shape, drawn.dtype) == ((20, 8, 8, 1), np.uint8) and drawn.max() <= 15
    for args, message in (
        (["--columns", 3], "`--columns` is for a picture of images, not for an array; got 3"),
        (["--temperature", "0.5,1"], "`--out` must end in .png with several temperatures"),
    ):
        shown = jflows("sample", trained, *args, "--out", out)
        assert shown.exit_code == 2 and message in shown.stderr
    shown = jflows("sample", trained, "--num", 10_001)
    assert (
        "`--num` must be at most 10,000 in one picture; got 10001. Write them to a .npy file by --out" in shown.stderr
    )


@pytest.mark.parametrize("mode", ["linear", "spherical"])
@pytest.mark.by_default("linear")
def test_interpolate_draws_paths(trained, jflows, tmp_path, mode):
    args = ["--num-pairs", 2, "--num-steps", 4, "--mode", mode, "--out", tmp_path / "paths.png"]
    shown = jflows("interpolate", trained, *args)
    assert shown.exit_code == 0 and f"2 {mode} paths between test images of digits" in shown.output
    assert pixels(tmp_path / "paths.png").shape == (2 * 59 + 3, 4 * 59 + 3, 3)


def test_interpolate_pairs_images_of_one_class(trained, jflows, tmp_path):
    args = ["--num-pairs", 2, "--num-steps", 4, "--out", tmp_path / "paths.png"]
    assert jflows("interpolate", trained, *args, "--same-class").exit_code == 0
    np.savez(tmp_path / "bare.npz", x=np.zeros((20, 8, 8, 1), np.uint8))
    shown = jflows("interpolate", trained, *args, "--same-class", "--data", tmp_path / "bare.npz")
    assert shown.exit_code == 2 and "`--data` must have labels, to pair images of one class" in shown.stderr
    assert "Leave out --same-class, or name other data by --data" in shown.stderr


def test_reconstruct_prints_a_small_error(trained, jflows, tmp_path):
    shown = jflows("reconstruct", trained, "--num", 5, "--out", tmp_path / "rebuilt.png")
    assert shown.exit_code == 0 and (tmp_path / "rebuilt.png").is_file()
    assert float(shown.output.split("images: ")[1].split()[0]) < 1e-3
    shown = jflows("reconstruct", trained, "--num", 5000, "--out", tmp_path / "all.png")
    assert (
        shown.exit_code == 2
        and "`--num` must be at most 360, as 'digits' has 360 images here; got 5000" in shown.stderr
    )


def test_checkpoint_and_weights_can_be_chosen(trained, jflows):
    outputs = set()
    for args in (["--weights", "params"], ["--weights", "ema"], ["--checkpoint", "10"], ["--checkpoint", "best"]):
        shown = jflows("evaluate", trained, *args)
        assert shown.exit_code == 0, shown.output
        outputs.add(shown.output.split(" bits/dim")[0])
    assert len(outputs) >= 3  # best is the latest here


def test_info_lists_layers_of_a_run_and_of_a_config(trained, jflows):
    by_run = jflows("info", trained).output
    by_config = jflows("info", "glow_digits", "--num-levels", 1, "--num-steps", 1, "--width", 4).output
    assert by_run == by_config
    total = json.loads((trained / "result.json").read_text())["num_parameters"]
    assert f"{total:,}" in by_run.splitlines()[-1]
    for layer in ("UniformDequantize, 4 bits", "Squeeze", "Repeat", "InvertibleLinear", "4 × 4 × 4"):
        assert layer in by_run
    planned = jflows("info", trained, "--memory").output
    assert planned.startswith(by_run) and "of parameters, average and optimizer, " in planned


def test_info_of_the_published_glow_has_44_million_parameters():
    table = glow((32, 32, 3), num_levels=3, num_steps=32, width=512).summary(batch_size=0)
    assert table.num_parameters == 44_052_816
    repeats = [row for row in table.rows if row.name.startswith("Repeat")]
    assert [row.num_parameters for row in repeats] == [32 * 347_328, 32 * 430_752, 32 * 598_464]
    assert [row.shape for row in repeats] == [(16, 16, 12), (8, 8, 24), (4, 4, 48)]
    assert math.prod(table.rows[-1].shape) == 32 * 32 * 3


def test_configs_and_version(jflows):
    lines = [line.strip() for line in jflows("configs").output.splitlines()]
    (line,) = [line for line in lines if line.startswith("glow_digits ")]
    assert "smallest real run" in line and any(line.startswith("realnvp ") for line in lines)
    assert len(lines) == len(list((ROOT / "experiments" / "configs").glob("[!_]*.py"))) + len(PRESETS) + 2
    assert jflows("--version").output == f"jflows {__version__}\n"
    assert all(command in jflows().output for command in ("train", "evaluate", "sample", "info", "configs"))


def test_a_config_of_the_users_own_by_path(jflows, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Small."""\n\nfrom functools import partial\n\nfrom jflows import DataConfig, Recipe, glow\n\n'
        "config = Recipe(\n    flow=partial(glow, num_levels=1, num_steps=1, num_bits=4, width=5),\n"
        '    data=DataConfig(name="digits"),\n)\n'
    )
    shown = " ".join(jflows("train", path, "--help").output.split())
    assert "--width INTEGER Number of hidden channels" in shown and "[default: 5; at least 1]" in shown
    assert "levels_0" in jflows("info", path).output


def test_a_run_that_was_stopped_and_killed_resumes_bit_for_bit(trained, train_tiny, jflows_process, tmp_path):
    """One run for both signals: each more process takes seconds to trace and to load its programs."""
    run = tmp_path / "interrupted"
    stopped = train_tiny(run, signal_at=(5, signal.SIGTERM))
    assert (stopped.returncode, stopped.stdout) == (0, "")
    line = stopped.stderr.splitlines()[-1]
    assert line.startswith("jflows: stopped by SIGTERM") and f"--out {run} --resume" in line
    assert Checkpoints(run).latest_step() == 5 and not (run / "result.json").exists()
    # The settings come from the run: none is repeated here.
    resume = ("train", "glow_digits", "--out", run, "--resume")
    killed = jflows_process(*resume, signal_at=(15, signal.SIGKILL))
    assert killed.returncode == -signal.SIGKILL
    assert Checkpoints(run).latest_step() == 10 and not (run / "result.json").exists()
    resumed = jflows_process(*resume, pictures=False)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(run, trained)
    results = [json.loads((directory / "result.json").read_text()) for directory in (run, trained)]
    assert results[0]["test_bits_per_dim"] == results[1]["test_bits_per_dim"]
    assert [entry["step"] for entry in read_metrics(run)] == [5, 10, 15, 20]


def test_sample_draws_a_row_for_each_temperature(trained, jflows, tmp_path):
    shown = jflows("sample", trained, "--temperature", "0,0.5,1", "--num", 4, "--out", tmp_path / "t.png")
    assert shown.exit_code == 0 and f"4 samples at each of the temperatures 0, 0.5, 1 in {tmp_path}" in shown.output
    grid = pixels(tmp_path / "t.png")[:, -(4 * 59 + 3) :]
    assert grid.shape == (3 * 59 + 3, 4 * 59 + 3, 3)
    cold, warm = grid[3:59], grid[62:118]
    assert all((cold[:, 3 + k * 59 : 59 + k * 59] == cold[:, 3:59]).all() for k in range(4)) and (cold != warm).any()
    shown = jflows("sample", trained, "--temperature", "0.5,1", "--columns", 4)
    assert shown.exit_code == 2 and "`--columns` must be left out with several numbers of --temp" in shown.stderr
    shown = jflows("sample", trained, "--temperature", "0.5,hot")
    assert shown.exit_code == 2 and "'hot' is not a valid number" in shown.stderr


def test_levels_are_drawn_for_flows_that_have_some(trained, jflows, tmp_path):
    shown = jflows("levels", trained)
    assert shown.exit_code == 2 and shown.stderr.count("\n") == 1
    assert f"levels: `RUN` must be that of a flow with at least two levels; got {trained} with 1." in shown.stderr
