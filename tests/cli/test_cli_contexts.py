"""`jflows` on a table with weights and contexts: by name from training to samples, in any order of columns."""

import csv
import json

import numpy as np
import pytest

import jflows as library
from jflows.errors import InvalidValueError

TINY = "--num-layers 1 --hidden-sizes 4 --batch-size 16 --init-batch 32 --warmup-steps 5 --steps 10 --log-every 10"
TINY = f"{TINY} --checkpoint-every 10 --parallel none".split()
NUM = 60
NAMES = ("size", "a", "b", "mass", "w")
RANDOM = np.random.RandomState(0)
ROWS = np.column_stack([RANDOM.randn(NUM, 4), RANDOM.randint(0, 3, NUM)])


def write(path, names, rows=ROWS):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *np.asarray(rows)[:, [NAMES.index(name) for name in names]].tolist()])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write(folder / "t.csv", NAMES)
    write(folder / "mixed.csv", ("w", "mass", "b", "size", "a"))
    write(folder / "alike.csv", ("mass", "b", "size", "a"))
    write(folder / "one.csv", ("a", "b"), ROWS[:1])
    write(folder / "contexts.csv", ("b", "size", "a"), ROWS[:7])
    write(folder / "far.csv", NAMES, np.where(np.arange(5) < 4, 3 * ROWS[:20], np.maximum(ROWS[:20], 1)))
    return folder


@pytest.fixture(scope="module")
def trained(folder, jflows):
    out = folder / "run"
    asked = ("--data", folder / "t.csv", "--context", "a,b", "--weight", "w", "--out", out)
    result = jflows("train", "realnvp", *TINY, *asked)
    assert result.exit_code == 0, result.stderr
    return out, result


def test_names_of_columns_are_stored(trained):
    facts = json.loads((trained[0] / "config.json").read_text())["facts"]
    assert (facts["columns"], facts["context"], facts["weighted"]) == (["size", "mass"], ["a", "b"], True)
    result = json.loads((trained[0] / "result.json").read_text())
    assert 0 < result["effective_num_test"] < result["num_test"] <= 6
    assert "whose weights make them worth" in trained[1].stdout
    assert library.load(trained[0])[0].context_shape == (2,)


def test_calibration_is_printed_and_drawn(trained, folder, jflows):
    asked = ("--data", folder / "t.csv", "--weight", "none", "--num", 50, "--num-draws", 9, "--out", folder / "c.png")
    shown = jflows("calibrate", trained[0], *asked)
    assert shown.exit_code == 0, shown.output
    first, ranks, *tests, last, where = shown.stdout.splitlines()
    assert first == "calibration of 50 rows of t.csv, given their contexts:"
    assert ranks.split() == ["ranks", "among", "9", "draws", "width", "place", "ks", "p"]
    assert [line.split()[0] for line in tests] == ["size", "mass", "coverage", "latents,", "0", "1", "all"]
    p_value = float(last.split("p = ")[1].split()[0])
    assert (p_value <= 0.05) == ("it is not calibrated" in last) and "(ranks " in last
    assert where == f"picture in {folder / 'c.png'}" and (folder / "c.png").stat().st_size > 10_000
    weighted = jflows("calibrate", trained[0], "--data", folder / "t.csv")
    assert weighted.exit_code == 2 and "calibrate: `--weight` must be none" in weighted.stderr
    few = jflows("calibrate", trained[0], "--weight", "none")
    assert few.exit_code == 2 and "calibrate: `--data` must have at least 20 rows; got 6 of" in few.stderr


def test_columns_are_found_by_name_in_any_order(trained, folder, jflows):
    printed = [jflows("evaluate", trained[0], "--data", folder / name).stdout for name in ("t.csv", "mixed.csv")]
    assert printed[0].replace("t.csv", "") == printed[1].replace("mixed.csv", "")
    alike = jflows("evaluate", trained[0], "--data", folder / "alike.csv")
    assert alike.exit_code == 2 and "must have weights, as the data of the run have in the column 'w'" in alike.stderr
    assert "--weight=none to count all rows alike" in alike.stderr
    assert jflows("evaluate", trained[0], "--data", folder / "alike.csv", "--weight", "none").exit_code == 0
    other = jflows("evaluate", trained[0], "--weight", "mass")
    assert other.exit_code == 2 and "must be different columns, each with one role; got 'mass' twice" in other.stderr
    missing = jflows("evaluate", trained[0], "--data", write(folder / "no_b.csv", ("size", "mass", "a", "w")))
    assert missing.exit_code == 2 and "must have the columns of contexts of the run, a, b; got " in missing.stderr
    assert "without 'b'. It has size, mass, a, w" in missing.stderr


def test_samples_have_the_contexts_asked_for(trained, folder, jflows):
    out = folder / "s.csv"
    printed = jflows("sample", trained[0], "--num", 3, "--context", "b=2,a=0.5", "--out", out).stdout
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == ["size", "mass", "a", "b"] and "s.csv, with their contexts" in printed
    assert np.array(rows, float)[:, 2:].tolist() == [[0.5, 2]] * 3
    jflows("sample", trained[0], "--context", folder / "contexts.csv", "--out", out)
    rows = np.array(list(csv.reader(out.read_text().splitlines()))[1:], float)
    np.testing.assert_allclose(rows[:, 2:], ROWS[:7, 1:3], rtol=1e-6)
    printed = jflows("sample", trained[0], "--context", "a=0,b=0", "--out", folder / "s.npy").stdout
    assert np.load(folder / "s.npy").shape == (64, 2) and "s.npy, without their contexts" in printed


def test_contexts_move_samples(trained):
    run = library.runs.TrainedRun.open(trained[0])
    near, far = (run.sample(50, context={"a": a, "b": 0.0}) for a in (0.0, 30.0))
    np.testing.assert_array_equal(near, run.sample(50, context=np.zeros(2)))
    assert np.abs(near - far).max() > 1e-3
    with pytest.raises(InvalidValueError, match=r"must be one for all samples, or one for each; got 3 for num=2"):
        run.sample(2, context=np.zeros((3, 2)))
    with pytest.raises(InvalidValueError, match=r"must be numbers of shape \(2,\).*got float64 of shape \(1, 3\)"):
        run.sample(2, context=np.zeros(3))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("a=1", "sample: `--context` must give a value for each of a, b, and for no other; got a."),
        ("a=1,b=2,bb=3", "got a, b, bb. Did you mean b?"),
        ("a=1,b=x", "must be values by name, or the path of a table; got 'a=1,b=x'. Write a=1,b=2.5."),
        ("a=1,b=inf", "must be finite in float32; got inf"),
        ("a=1,a=2,b=3", "must give one value for a name; got a twice"),
        ("=", "must be values by name, or the path of a table"),
        ("one.csv", "must be a table of at least 2 rows; got shape (1, 2) in one.csv. Write a single context by its"),
        ("nowhere.csv", "must be an existing file or folder"),
        ("t.csv --num 3", "must be one for all samples, or one for each; got 60 for num=3"),
    ],
)
def test_contexts_that_do_not_fit_are_one_line(trained, folder, jflows, monkeypatch, context, message):
    monkeypatch.chdir(folder)
    result = jflows("sample", trained[0], "--context", *context.split())
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_scores_of_rows_are_written_in_order(trained, folder, jflows):
    printed = jflows("score", trained[0], "--data", folder / "mixed.csv", "--out", folder / "out.csv", "--against",
                     folder / "far.csv").stdout  # fmt: skip
    header, *rows = (folder / "out.csv").read_text().splitlines()
    flow, variables = library.load(trained[0])
    x, context = ROWS[:, [0, 3]].astype(np.float32), ROWS[:, 1:3].astype(np.float32)
    assert header == "log_prob_nats"
    np.testing.assert_allclose(np.array(rows, float), flow.log_prob(variables, x, context), rtol=1e-5, atol=1e-5)
    assert f"scores of {NUM} rows of mixed.csv, " in printed and "out.csv\nAUROC 0." in printed
    assert "a draw from the rows of mixed.csv is more likely than one from the rows of far.csv; ties count" in printed
    assert jflows("score", trained[0]).stdout.startswith("scores of 6 test rows of t.csv, ")
    assert (trained[0] / "scores.csv").exists()


def test_scores_that_are_not_finite(trained, jflows, monkeypatch, folder):
    from jflows.runs import scores as module

    made = lambda *values: lambda *args: iter([np.array([0.5] * (NUM - 2)), np.array(values)])
    monkeypatch.setattr(module, "row_scores", made(-np.inf, 1.0))
    printed = jflows("score", trained[0], "--data", folder / "t.csv").stdout
    assert "0.5000 to 1.0000 nats; 1 of them outside of the support of the density, with density 0; " in printed
    monkeypatch.setattr(module, "row_scores", made(np.nan, np.nan))
    result = jflows("score", trained[0], "--data", folder / "t.csv")
    assert result.exit_code == 2
    assert "`--data` must have no row whose score is NaN; got 2 of 60 in 't.csv': rows 58, 59." in result.stderr


def test_pairs_are_drawn_by_the_run_and_by_a_command(trained, jflows, folder):
    assert (trained[0] / "pairs.png").stat().st_size > 10_000 and "pairs.png" in trained[1].stdout
    out = folder / "chosen.png"
    asked = ("--columns", "mass,size", "--context", "a=1,b=2", "--num", 100, "--out", out)
    assert jflows("pairs", trained[0], *asked).stdout == f"100 samples beside test rows of t.csv in {out}\n"
    assert out.stat().st_size > 5000
    unknown = jflows("pairs", trained[0], "--columns", "mess")
    assert unknown.exit_code == 2 and "`--columns` must be different ones of size, mass; got 'mess'" in unknown.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("realnvp --context a --no-conditional", "`--conditional` must be left out or True with --context"),
        ("realnvp --context a,d", "`--context` must name columns of t.csv"),
        ("realnvp --columns size,mass,a --context a", "must be different columns, each with one role; got 'a' twice"),
        ("normal --context a", "`--context` is not for this flow, which takes no context vector"),
        ("vmonf --component normal --num-components 2 --context a", "takes no context vector"),
        ("realnvp --weight b", "`--weight` must be finite and not negative"),
        ("realnvp --conditional", "needs data with contexts"),
    ],
)
def test_contradictions_are_one_line(folder, jflows, options, message):
    name, *given = options.split()
    result = jflows("train", name, *given, "--data", folder / "t.csv", "--out", folder / "never")
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (folder / "never" / "config.json").exists()
