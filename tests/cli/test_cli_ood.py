"""`jflows score --measure`: one column a measure, one line for each, curves, and runs that do not fit."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import jflows as library
from jflows.errors import InvalidValueError
from jflows.eval import ood
from jflows.flows import MixtureOfFlows
from jflows.runs import TrainedRun, scores_of_run

ALL = ",".join(ood.MEASURES)


@pytest.fixture(scope="module")
def copy(trained, tmp_path_factory):
    """The same run in another directory: as a background it cancels, and in an ensemble it agrees."""
    return shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "copy")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Images that no flow of digits has seen."""
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    np.savez(path, x=np.random.RandomState(0).randint(0, 16, (40, 8, 8, 1)).astype(np.uint8), num_bits=4)
    return path


def columns(path):
    with path.open() as file:
        names = file.readline().strip().split(",")
    return dict(zip(names, np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T, strict=True))


def test_all_measures_at_once(trained, copy, noise, jflows, tmp_path):
    out, picture = tmp_path / "m.csv", tmp_path / "roc.png"
    shown = jflows("score", trained, "--measure", ALL, "--num-train", 60, "--background", copy, "--ensemble", copy,
                   "--against", noise, "--roc", picture, "--out", out)  # fmt: skip
    assert shown.exit_code == 0, shown.output
    found = columns(out)
    assert list(found) == [ood.MEASURES[name]().column for name in ood.MEASURES]
    assert len(found["likelihood_nats"]) == 360 and np.isfinite(list(found.values())).all()
    np.testing.assert_array_equal(found["likelihood_ratio_nats"], 0)
    np.testing.assert_allclose(found["waic_nats"], found["likelihood_nats"], rtol=1e-6)
    lines = shown.output.splitlines()
    assert lines[0].startswith("likelihood of 360 test images of digits, ") and str(out) in lines[0]
    areas = {line.split(":")[0]: float(line.split()[2]) for line in lines if " AUROC " in line}
    assert list(areas) == list(ood.MEASURES) and areas["likelihood_ratio"] == 0.5
    assert lines[-1] == f"ROC curves in {picture}" and 5_000 < picture.stat().st_size < 100_000
    scored = jflows("score", trained, "--out", tmp_path / "s.csv")  # the score itself, as ever
    (bits,) = columns(tmp_path / "s.csv").values()
    assert "bits/dim" in scored.output
    np.testing.assert_allclose(found["likelihood_nats"], bits * 64 * np.log(2), rtol=1e-6)


def test_groups_have_one_number_each(trained, noise, jflows, tmp_path):
    shown = jflows("score", trained, "--measure", "typicality", "--group", 50, "--num-train", 60, "--against", noise,
                   "--out", tmp_path / "t.csv")  # fmt: skip
    assert shown.exit_code == 2 and "`--group` must be at most 40, the number of rows; got 50" in shown.stderr
    shown = jflows("score", trained, "--measure", "typicality", "--group", 20, "--num-train", 60, "--against", noise,
                   "--out", tmp_path / "t.csv")  # fmt: skip
    assert "typicality of 18 groups of 20 test images" in shown.output and "a group of 20 from the " in shown.output
    assert columns(tmp_path / "t.csv")["typicality_nats"].shape == (18,)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--measure", "typicallity"], "`--measure` must be one of 'likelihood', 'typicality', "),
        (["--measure", "typicallity"], "'radius'; got 'typicallity'. Did you mean typicality?"),
        (["--measure", "waic"], "`--ensemble` must be given for waic: it takes further runs, trained from other seeds"),
        (["--measure", "waic", "--ensemble", "RUN"], "`--ensemble` must be other runs than the scored one"),
        (["--measure", "likelihood_ratio"], "`--background` must be given for likelihood_ratio: it takes the run of a"),
        (["--measure", "radius", "--background", "RUN"], "`--background` is not for radius, which would ignore it"),
        (["--measure", "radius,radius"], "`--measure` must name at least one measure, and none twice"),
        (["--measure", "radius", "--group", "3"], "`--group` is an option of another measure than radius; got 3"),
        (["--measure", "typicality,radius", "--group", "3"], "`--group` must be 1 beside other measures"),
        (["--measure", "typicality", "--group", "0"], "`--group` must be at least 1; got 0"),
        (["--measure", "complexity", "--compressor", "rar"], "`--compressor` must be one of 'png', 'zlib'; got 'rar'"),
        (["--background", "RUN"], "`--background` is for measures; got "),
        (["--num-train", "9"], "`--num-train` is for measures; got 9. Choose a --measure."),
        (["--roc", "a.png"], "`--roc` needs a second data set; got a.png. Name one by --against."),
        (["--measure", "waic", "--ensemble", "absent"], "`--ensemble` must be a run directory with a config.json"),
        (["--measure", "likelihood_ratio", "--background", "absent"], "`--background` must be a run directory with a"),
        (["--against", "two_moons"], "score: `--against` must "),
        (["--against", "digitz"], "score: `--against` must be one of 'digits', "),
    ],
)
def test_what_does_not_fit_together_is_one_line(trained, jflows, args, message):
    shown = jflows("score", trained, *(str(trained) if arg == "RUN" else arg for arg in args))
    assert shown.exit_code == 2 and message in shown.stderr and shown.stderr.count("\n") == 1, shown.stderr


def test_runs_of_other_data_are_refused_before_anything_is_computed(trained):
    run = TrainedRun.open(trained)
    glow = lambda shape, **options: dataclasses.replace(run, density=library.glow(shape, 1, 1, 4, **options))
    stored = lambda **facts: run.stored._replace(facts={**run.stored.facts, **facts})
    table = dataclasses.replace(run, density=library.realnvp((2,), 1, (4,)), stored=stored(columns=["a", "b"]))
    renamed = dataclasses.replace(table, stored=stored(columns=["b", "a"]))
    ratio, waic = (ood.LikelihoodRatio(),), (ood.Waic(),)
    for mine, other, message in (
        (
            run,
            glow((8, 8, 1), num_bits=5),
            r"the same number of bits as the run, 4; got .* with 5. Train it .* num_bits=4",
        ),
        (run, glow((8, 16, 1), num_bits=4), r"the same shape as the run, \(8, 8, 1\); got .* with \(8, 16, 1\)"),
        (run, table, "the same kind of data as the run, images; got .* with table"),
        (table, renamed, "the same columns as the run, a, b; got .* with b, a"),
    ):
        for name, measures, given in (("background", ratio, other), ("ensemble", waic, [other])):
            with pytest.raises(InvalidValueError, match=f"`{name}` must be of a density of {message}"):
                mine.ood_scores(measures, [], **{name: given})
    mixture = MixtureOfFlows((library.realnvp((2,), 1, (4,)),), 2)
    for density, measure in ((mixture, ood.Radius()), (table.density, ood.Complexity())):
        with pytest.raises(InvalidValueError, match=f"`measure` must not be '{measure.name}' for a "):
            dataclasses.replace(table, density=density).ood_scores([measure], [])


def test_roc_curves_tell_data_of_one_name_apart_and_name_no_folders(trained, tmp_path, monkeypatch):
    run = TrainedRun.open(trained)
    recipe = dataclasses.replace(
        run.stored.recipe, data=dataclasses.replace(run.stored.recipe.data, name="/far/away/faces")
    )
    run = dataclasses.replace(run, stored=run.stored._replace(recipe=recipe))
    seen, draw = {}, scores_of_run.roc_figure
    monkeypatch.setattr(scores_of_run, "roc_figure", lambda *args, **words: seen.update(words) or draw(*args, **words))
    rows = run.data("digits", "test").take(np.arange(3))
    run.save_roc({"radius": (np.arange(3.0), np.arange(3.0) + 1)}, rows, rows, tmp_path / "roc.png")
    assert seen["title"] == "digits (second) against digits (first), by a flow of faces"
    assert seen["found"] == "share of digits (second) called unusual" and (tmp_path / "roc.png").is_file()


@pytest.mark.usefixtures("without_pictures")
def test_a_table_has_measures_too(tmp_path, jflows):
    path = tmp_path / "t.csv"
    np.savetxt(path, np.random.RandomState(0).randn(120, 2), delimiter=",", header="a,b", comments="")
    options = dict(num_layers=1, hidden_sizes=(4,), batch_size=16, steps=5, parallel="none", progress=False)
    library.run("realnvp", tmp_path / "run", data=str(path), **options)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    shown = jflows("score", tmp_path / "run", "--measure", "typicality,likelihood_ratio,waic,radius", "--data", path,
                   "--background", tmp_path / "other", "--ensemble", tmp_path / "other")  # fmt: skip
    assert shown.exit_code == 0, shown.output
    found = columns(tmp_path / "run" / "measures.csv")
    assert len(found) == 4 and all(len(values) == 120 for values in found.values())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["mutate"] == 0
