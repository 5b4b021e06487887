"""What a user can get wrong: one line on stderr, exit code 2, nothing lost."""

import errno
import fcntl
import os
import shutil

import click
import numpy as np
import pytest
from PIL import Image

from jflows.cli.groups import INTERRUPTED
from jflows.cli.words import worded
from jflows.errors import InvalidValueError, JflowsError
from jflows.runs import trained as trained_runs
from jflows.runs.files import read_json, write_json

DIGITS = ("train", "glow_digits")


def message(result, code: int = 2) -> str:
    """The one line on stderr; asserts everything else that the command line promises."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("jflows.data: ")]
    assert len(lines) == 1 and lines[0].startswith("jflows: "), result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["trian"], ["`command` must be one of", "got 'trian'", "Did you mean train?"]),
        (["train"], ["`CONFIG` must be given", "`jflows configs`"]),
        (
            ["train", "glow_digts"],
            ["`CONFIG` must be the name of a config", "'glow_digts'", "Did you mean glow_digits"],
        ),
        (["train", "absent.py"], ["must be an existing .py file", "'absent.py'", "Check the path"]),
        (["info", "glow_mnits"], ["'glow_mnits'", "Did you mean glow_mnist"]),
        ([*DIGITS, "--widht", "3"], ["--widht", "--width", "jflows train glow_digits --help"]),
        ([*DIGITS, "--width", "wide"], ["'--width'", "'wide' must be a whole number", "--help"]),
        (
            [*DIGITS, "--num-steps", "4,x"],
            ["'--num-steps'", "'4,x' must be a whole number or whole numbers separated by commas, such as 8,16"],
        ),
        ([*DIGITS, "--batch-size", "-1"], ["jflows: train: `--batch-size` must be at least 1; got -1"]),
        ([*DIGITS, "--accumulate", "3"], ["`--accumulate` must divide --batch-size=32; got 3"]),
        (["info", "glow_digits", "--width", "0"], ["jflows: info: `--width` must be at least 1; got 0"]),
        ([*DIGITS, "--optimizer", "sgd"], ["jflows: train: `--optimizer` must be one of 'adam', 'adamw'; got 'sgd'"]),
        (
            [*DIGITS, "--num-bits", "8"],
            ["train: `--data` must have at least the 8 bits", "4 bits in 'digits'", "--num-bits=4"],
        ),
        (
            [*DIGITS, "--data", "mnsit"],
            ["`--data` must be one of 'digits', 'mnist'", "'mnsit'", "Did you mean mnist or"],
        ),
        (
            [*DIGITS, "--data", "power"],
            ["train: `--data` must suit glow", "(height, width, channels)", "got 'power' of shape (6,)"],
        ),
        (
            [*DIGITS, "--num-levels", "4", "--num-steps", "1"],
            ["train: `--num-levels`", "multiples of 2^num_levels", "Lower --num-levels"],
        ),
        ([*DIGITS, "--num-steps", "1,2,3"], ["train: `--num-steps`", "one number, or one per level", "num_levels=2"]),
        ([*DIGITS, "--out", "absent", "--resume"], ["train: `--out` must be a run directory", "absent", "Train one"]),
        (["evaluate"], ["Missing argument 'RUN'", "jflows evaluate --help"]),
        (["evaluate", "absent"], ["jflows: evaluate: `RUN` must be a run directory", "absent", "Train one"]),
        (["sample", "absent", "--num", "0"], ["'--num'", "0 is not in the range"]),
        (["sample", "absent", "--out", "grid.gif"], ["'--out'", "must end in .png or .csv or .npy; got 'grid.gif'"]),
        (["sample", "absent", "--tempreature", "1"], ["--tempreature", "--temperature"]),
        (["evaluate", "absent", "--checkpoint", "newest"], ["'newest' must be auto, latest, best or a step"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and len(value[0].split()) == 1 else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(jflows, monkeypatch, tmp_path, args, parts):
    monkeypatch.chdir(tmp_path)
    line = message(jflows(*args))
    for part in parts:
        assert part in line
    assert not any(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("class A(:\n", ["must be a Python file", "SyntaxError", "line 1"]),
        ("x = 1\n", ["must define `config = jflows.Recipe(...)`", "got nothing of that name"]),
    ],
)
def test_a_config_file_that_is_none(jflows, tmp_path, text, parts):
    path = tmp_path / "broken.py"
    path.write_text(text)
    line = message(jflows("train", path))
    assert all(part in line for part in parts)


BLANK = np.zeros((20, 8, 8, 1), np.uint8)
NAN = np.where(np.arange(20)[:, None, None, None] == 3, np.nan, BLANK)


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (NAN, ["train: ImageData 'data.npz': `x` must be finite integers", "NaN in row 3", "Remove these rows"]),
        (BLANK + 0.5, ["must hold integers in 0..255", "float64", "Convert it"]),
        (BLANK[..., 0], ["rank 4", "(20, 8, 8)", "Add the channel axis"]),
        (BLANK.astype(int) - 1, ["0..255", "-1..-1 in row 0"]),
        (
            BLANK[:, :7],
            ["`--num-levels`", "multiples of 2^num_levels", "(7, 8)", "Crop or resize the images to multiples of"],
        ),
        (np.arange(60.0).reshape(20, 3), ["train: `--data` must suit glow", "got 'data.npz' of shape (3,)"]),
    ],
    ids=["nan", "float", "rank", "range", "odd height", "table"],
)
def test_bad_data(jflows, tmp_path, x, parts):
    np.savez(tmp_path / "data.npz", x=x)
    line = message(jflows(*DIGITS, "--data", tmp_path / "data.npz", "--out", tmp_path / "run"))
    assert all(part in line for part in parts)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pictures(tmp_path):
    """A folder of images without one size, a file that is no image, and a hidden one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(20):
        Image.new("L", (8, 9 if index == 0 else 8)).save(folder / f"{index}.png")
    (folder / "notes.txt").touch()
    (folder / ".hidden").touch()
    return folder


def test_images_of_mixed_sizes_and_other_files(jflows, pictures, tmp_path):
    shown = jflows(*DIGITS, "--data", pictures, "--out", tmp_path / "run")
    assert shown.exit_code == 2
    warning, error = shown.stderr.splitlines()
    assert warning.endswith("pictures: passed over 1 file without the suffix of an image, such as notes.txt.")
    assert error.startswith("jflows: train: load: `") and error.endswith("to one shape, or set --image-size.")
    shown = jflows("info", "glow_digits", "--data", pictures, "--image-size", 8, "--steps", 3)
    assert shown.exit_code == 0, shown.stderr  # and 3 steps are fewer than the warm-up of the config
    assert shown.stderr.splitlines() == [warning]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("must be 0 with {width=4}.", "must be 0 with --width=4."),
        ("Set {size}, or {width}.", "Set --image-size, or --width."),
        ("Lower {learning_rate}, set {conditional=False}.", "Lower --learning-rate, set --no-conditional."),
        ("With {conditional=True}, {component.num_layers=2}.", "With --conditional, --component.num-layers=2."),
        ("the width of runs/learning_rate, {other=3}, `width`", "the width of runs/learning_rate, --other=3, `width`"),
    ],
)
def test_settings_are_spelt_as_options(text, expected):
    names = ("width", "learning_rate", "conditional", "component.num_layers", "image_size")
    params = [click.Option([f"--{name.replace('_', '-')}", name.replace(".", "__")]) for name in names]
    error = InvalidValueError("Glow", "width", "is wrong", 3, text)
    command = click.Command("train", params=params)
    assert worded(error, command, "train") == f"train: `--width` is wrong; got 3. {expected}"
    elsewhere = worded(InvalidValueError("Glow", ("width", "depth"), "are wrong"), command, "train")
    assert elsewhere == "train: Glow: `--width, depth` are wrong."


def test_data_that_do_not_fit_the_run(jflows, trained, tmp_path):
    np.savez(tmp_path / "colour.npz", x=np.zeros((20, 8, 8, 3), np.uint8))
    line = message(jflows("evaluate", trained, "--data", tmp_path / "colour.npz"))
    assert "shape of the density's data, (8, 8, 1); got shape (8, 8, 3)" in line


def test_data_of_a_run_that_are_gone(jflows, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = read_json("test", "run", run / "config.json", fix="")
    write_json(run / "config.json", config | {"data": config["data"] | {"name": "gone.npz"}})
    assert "'gone.npz'" in (line := message(jflows("reconstruct", run))) and "--data" in line
    shown = jflows("reconstruct", run, "--data", "digits", "--num", 2)
    assert shown.exit_code == 0 and (run / "reconstruction.png").is_file()


def test_the_nearest_run_is_named(jflows, trained):
    line = message(jflows("evaluate", trained.parent / "trianed"))
    assert "evaluate: `RUN` must be a run directory with a config.json; got " in line and line.endswith(
        f"Did you mean {trained}?"
    )


def test_a_step_without_a_checkpoint(jflows, trained):
    line = message(jflows("evaluate", trained, "--checkpoint", 7))
    assert "evaluate: `--checkpoint` must be a saved step of" in line and "; got 7. Saved: " in line, line


def test_label_without_a_class_conditional_flow(jflows, trained):
    line = message(jflows("sample", trained, "--label", 3))
    assert "`--label` needs a class-conditional flow; got 3" in line and "--conditional" in line


def test_used_run_directory_is_left_alone(jflows, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    line = message(jflows(*DIGITS, "--out", trained))
    assert "train: `--out` must not hold checkpoints of another run" in line and "--resume" in line and "--out" in line
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


def test_run_directory_of_a_process_at_work(jflows, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        line = message(jflows(*DIGITS, "--out", tmp_path))
    finally:
        os.close(folder)
    assert "must not be in use by another process" in line and "choose another directory" in line


def test_resume_with_other_settings(jflows, trained):
    line = message(jflows(*DIGITS, "--out", trained, "--resume", "--width", 16))
    assert "train: `--width` must be as in the run; got 4 -> 16" in line
    line = message(jflows("train", "glow_mnist", "--out", trained, "--resume"))
    assert "train: `CONFIG` must be as in the run; got 'glow_digits' -> 'glow_mnist'" in line


def damage_config(run):
    (run / "config.json").write_text("{")


def damage_files(step, arrays):
    """Cuts all files of one checkpoint in half: those of the arrays, or the others."""
    for path in step.rglob("*"):
        if path.is_file() and ("state" in path.relative_to(step).parts) == arrays:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_arrays(run):
    for step in (run / "checkpoints").iterdir():
        damage_files(step, arrays=True)


def damage_structure(run):
    for step in (run / "checkpoints").iterdir():
        damage_files(step, arrays=False)


def damage_all(run):
    shutil.rmtree(run / "checkpoints")


@pytest.mark.parametrize(
    ("damage", "args", "part"),
    [
        (damage_config, ["evaluate"], "must have a readable config.json"),
        (damage_arrays, ["sample"], "must hold a readable checkpoint"),
        (damage_structure, ["info"], "must hold a readable checkpoint"),
        (damage_all, ["evaluate"], "must hold a readable checkpoint"),
    ],
)
def test_damaged_run(jflows, trained, tmp_path, damage, args, part):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run)
    assert part in message(jflows(*args, run))


def test_a_damaged_last_checkpoint_is_never_replaced_by_another(jflows, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage_files(run / "checkpoints" / "20", arrays=False)
    for args in ([], ["--checkpoint", "best"]):
        line = message(jflows("sample", run, "--num", 1, *args))
        assert "undamaged checkpoints to tell which is the best; got step 20 is damaged" in line
        assert line.endswith("Choose a step by --checkpoint: 10.")
    assert "step 20 is damaged" in message(jflows("sample", run, "--num", 1, "--checkpoint", "latest"))
    shown = jflows("sample", run, "--num", 1, "--checkpoint", 10, "--out", tmp_path / "one.png")
    assert (shown.exit_code, shown.stderr) == (0, "")


def test_full_disk(jflows, trained, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    line = message(jflows("sample", trained, "--num", 1, "--out", tmp_path / "grid.png"))
    assert "`" + str(tmp_path / "grid.png") + "` must be writable; got No space left on device. Free some" in line
    assert not list(tmp_path.iterdir())


def test_interruption_and_defects(jflows, trained, monkeypatch):
    def raise_(error):
        def draw(*_, **__):
            raise error

        return draw

    monkeypatch.setattr(trained_runs, "sample_in_chunks", raise_(KeyboardInterrupt()))
    assert message(jflows("sample", trained), INTERRUPTED) == "jflows: interrupted."
    monkeypatch.setattr(trained_runs, "sample_in_chunks", raise_(ZeroDivisionError("a defect")))
    with pytest.raises(ZeroDivisionError):
        jflows("sample", trained)
    monkeypatch.setattr(trained_runs, "sample_in_chunks", raise_(JflowsError("a", "b", "c\nd")))
    assert message(jflows("sample", trained)) == "jflows: sample: a: `b` c d."
