"""`jflows` on tables: a user's own file, from training to samples, and the mistakes that are made with it."""

import csv
import json

import numpy as np
import pytest

import jflows as library
from jflows.data import load

TINY = "--num-layers 1 --hidden-sizes 4 --batch-size 16 --init-batch 32 --warmup-steps 5 --steps 20 --log-every 10"
TINY = f"{TINY} --eval-every 10 --checkpoint-every 20 --steps-per-call 10 --parallel none".split()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A table with a column of words."""
    path = tmp_path_factory.mktemp("data") / "people.csv"
    height, noise = np.random.RandomState(0).randn(2, 100)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "height", "weight", "age"])
        writer.writerows(
            [f"p{i}", 1.7 + 0.1 * h, 70 + 10 * h + 5 * n, 20 + i % 50]
            for i, (h, n) in enumerate(zip(height, noise, strict=True))
        )
    return path


@pytest.fixture(scope="module")
def trained(people, tmp_path_factory, jflows):
    out = tmp_path_factory.mktemp("runs") / "people"
    result = jflows("train", "maf", *TINY, "--data", people, "--columns", "weight,1", "--out", out)
    assert result.exit_code == 0, result.stderr
    return out, result


def test_training_tells_the_score_in_nats(trained):
    out, printed = trained
    result = json.loads((out / "result.json").read_text())
    assert f"test {result['test_nats']:.4f} ± {result['nats_standard_error']:.4f} nats (" in printed.stdout
    assert result["config"]["facts"]["columns"] == ["weight", "height"] and result["num_test"] == 10
    assert (out / "learning_curve.png").stat().st_size > 5000


def test_standardisation_counts_in_the_density(trained, people):
    flow, variables = library.load(trained[0])
    weight, height = load(people, columns=("weight", "height")).x.std(axis=0)
    log_prob = flow.log_prob(variables, load(people, "test", columns=("weight", "height")).x)
    expected = -np.log(2 * np.pi * np.e * weight * height)  # of two independent normals of these deviations
    assert abs(float(log_prob.mean()) - expected) < 1.0


def test_evaluate_needs_the_run_only(trained, jflows):
    result = jflows("evaluate", trained[0])
    nats = json.loads((trained[0] / "result.json").read_text())["test_nats"]
    assert result.stdout.startswith(f"{nats:.4f} ± ") and "on 10 test rows of people.csv" in result.stdout


def test_samples_are_rows_with_the_names_of_the_columns(trained, jflows):
    assert jflows("sample", trained[0], "--num", "5").exit_code == 0
    lines = (trained[0] / "sample.csv").read_text().splitlines()
    assert lines[0] == "weight,height" and len(lines) == 6
    weight = np.loadtxt(lines[1:], delimiter=",")[:, 0]
    assert ((weight > 20) & (weight < 120)).all()
    path = trained[0] / "rows.npy"
    assert jflows("sample", trained[0], "--num", "5", "--out", path).exit_code == 0
    np.testing.assert_allclose(np.load(path)[:, 0], weight, rtol=1e-6)


@pytest.mark.usefixtures("without_pictures")
def test_two_equal_training_runs_are_one_and_resumption_needs_no_options(trained, jflows):
    result = jflows("train", "maf", "--out", trained[0], "--resume", "--steps", "40")
    assert result.exit_code == 0, result.stderr
    assert json.loads((trained[0] / "result.json").read_text())["steps"] == 40


@pytest.mark.slow
def test_a_toy_has_validation_rows_of_its_own(jflows, tmp_path):
    result = jflows("train", "realnvp", "--data", "two_moons", *TINY, "--out", tmp_path / "moons")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "moons" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_nats" in line] == [10, 20]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["train", "maf"], ["column 'name'", "must hold numbers, not text", "--columns"]),
        (["train", "maf", "--columns", "wieght"], ["`--columns` must be names or positions", "Did you mean weight or"]),
        (["train", "maf", "--columns", "1,1"], ["`--columns` must not repeat a column"]),
        (["train", "maf", "--columns", "1,2", "--fold", "3"], ["`--fold` is for tables that papers score in ten fold"]),
        (
            ["train", "maf", "--columns", "1,2", "--patience", "3", "--eval-every", "9"],
            ["Set --num-validation, or --patience=0"],
        ),
        (["train", "realnvp", "--columns", "1"], ["`--data` must suit realnvp", "at least 2 dimensions"]),
        (["train", "glow_digits"], ["column 'name'"]),
    ],
)
def test_a_mistake_is_one_line(jflows, people, tmp_path, args, parts):
    result = jflows(*args, "--data", people, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["train", "maf", "--data", "mnist", "--out", "x"], "must suit maf"),
        (["train", "maf", "--data", "powr", "--out", "x"], "Did you mean power?"),
        (["train", "glow_digits", "--data", "power", "--out", "x"], "must suit glow"),
        (["train", "maf", "--data", "red_wine", "--fold", "10", "--out", "x"], "`--fold` must be one of 0, 1,"),
    ],
)
def test_names_of_data_are_checked(jflows, args, part):
    result = jflows(*args)
    assert result.exit_code == 2 and part in result.stderr


@pytest.mark.parametrize(
    "command", ["interpolate", "reconstruct", "manifold", "neighbours", "fidelity", "inpaint --mask left"]
)
def test_pictures_are_of_images(trained, jflows, command):
    command, *options = command.split()
    result = jflows(command, trained[0], *options)
    any_density = command in ("neighbours", "fidelity", "inpaint")
    of_images = "must be that of images" if any_density else "must be that of a flow of images"
    assert result.exit_code == 2 and of_images in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--out", "x.png"], "must end in .csv or .npy for a table"),
        (["--columns", "3"], "is for a picture of images, not for a table"),
    ],
)
def test_samples_of_tables_are_not_pictures(trained, jflows, args, part):
    result = jflows("sample", trained[0], *args)
    assert result.exit_code == 2 and part in result.stderr


def test_info_describes_a_flow_of_tables(jflows):
    result = jflows("info", "nsf_coupling", "--data", "power", "--num-layers", "2")
    assert "Repeat" in result.stdout and "Standardize" in result.stdout


def test_data_are_read_by_the_names_of_the_columns(trained, jflows, people, tmp_path):
    lines = [line.split(",") for line in people.read_text().splitlines()]
    for name, header in (("swapped", "height,weight"), ("renamed", "a,b")):
        rows = [f"{line[1]},{line[2]}" for line in lines[1:]]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    score = lambda *args: jflows("evaluate", trained[0], "--split", "train", *args).stdout.split()[:3]
    assert score("--data", tmp_path / "swapped.csv") == score()
    result = jflows("evaluate", trained[0], "--data", tmp_path / "renamed.csv")
    assert result.exit_code == 2 and "must have the columns of the run, weight, height" in result.stderr


@pytest.mark.slow
def test_a_run_goes_on_with_the_rows_it_began_with(jflows, tmp_path):
    table = np.random.RandomState(0).randn(60, 2)
    np.save(tmp_path / "rows.npy", table)
    args = ("train", "maf", *TINY, "--data", tmp_path / "rows.npy", "--out", tmp_path / "run")
    assert jflows(*args).exit_code == 0
    np.save(tmp_path / "rows.npy", table[:40])
    result = jflows("train", "maf", "--out", tmp_path / "run", "--resume", "--steps", "40")
    assert result.exit_code == 2 and "must hold the training rows that the run began with" in result.stderr


@pytest.mark.usefixtures("without_pictures")
def test_a_table_whose_likelihood_has_no_bound_is_told_in_one_line(tmp_path, jflows):
    shares = np.random.RandomState(0).dirichlet([2, 3, 4], size=100)
    np.savetxt(tmp_path / "shares.csv", shares, delimiter=",", header="a,b,c", comments="", fmt="%.6f")
    trained = jflows("train", "maf", "--data", tmp_path / "shares.csv", "--out", tmp_path / "run", *TINY)
    assert trained.exit_code == 0, trained.stderr
    (line,) = [line for line in trained.stderr.splitlines() if "without bound" in line]
    assert (
        line.startswith("jflows: fit: the likelihood of 'shares.csv' can grow without bound")
        and "--simplex a,b,c" in line
    )


@pytest.mark.usefixtures("without_pictures")
def test_a_second_file_is_scored_and_must_stay_as_it_was(people, tmp_path, jflows):
    rows = [line.split(",")[1:] for line in people.read_text().splitlines()]
    test = tmp_path / "test.csv"
    test.write_text("\n".join(",".join([row[1], row[0], row[2]]) for row in rows[:31]) + "\n")
    run, options = tmp_path / "run", ["--columns", "height,weight", *TINY, "--num-validation", "20"]
    trained = jflows("train", "maf", "--data", people, "--test-data", test, "--out", run, *options)
    assert trained.exit_code == 0, trained.stderr
    result = json.loads((run / "result.json").read_text())
    assert result["num_test"] == 30 and result["config"]["facts"]["num_examples"] == 80
    assert result["config"]["data"]["test_data"] == str(test.resolve())
    evaluated = jflows("evaluate", run)
    assert (
        evaluated.stdout.startswith(f"{result['test_nats']:.4f} ± ")
        and "on 30 test rows of test.csv" in evaluated.stdout
    )
    assert "on 100 rows of people.csv" in jflows("evaluate", run, "--data", people).stdout
    test.write_text(test.read_text() + "70,1.7,30\n")
    for split in ("test", "train"):
        changed = jflows("evaluate", run, "--split", split)
        assert (
            changed.exit_code == 2
            and "must hold the rows that the run was tested on; got other rows in" in changed.stderr
        )
    resumed = jflows("train", "maf", "--out", run, "--resume", "--steps", "40")
    assert resumed.exit_code == 2 and "must hold the test rows that the run began with" in resumed.stderr


@pytest.mark.usefixtures("without_pictures")
def test_all_rows_of_another_file_are_scored_and_changed_rows_are_an_error(people, tmp_path, jflows):
    mine = tmp_path / "mine.csv"
    mine.write_text(people.read_text())
    run = tmp_path / "run"
    options = [
        "--columns",
        "height,weight",
        "--steps",
        "2",
        "--batch-size",
        "16",
        "--num-layers",
        "1",
        "--hidden-sizes",
        "4",
    ]
    trained = jflows("train", "maf", "--data", mine, "--out", run, *options)
    assert trained.exit_code == 0, trained.stderr
    assert json.loads((run / "config.json").read_text())["data"]["name"] == str(mine.resolve())
    other = tmp_path / "other.csv"
    other.write_text(people.read_text())
    assert " on 100 rows of other.csv" in jflows("evaluate", run, "--data", other).stdout
    assert " on 10 test rows of other.csv" in jflows("evaluate", run, "--data", other, "--split", "test").stdout
    lines = mine.read_text().splitlines()
    mine.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    changed = jflows("evaluate", run)
    assert (
        changed.exit_code == 2 and "must hold the rows that the run was trained on; got other rows in" in changed.stderr
    )
    assert "or name it by --data" in changed.stderr
    assert jflows("evaluate", run, "--data", mine).exit_code == 0
