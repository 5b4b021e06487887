"""Restarts, folds and sweeps: what is trained, what is chosen, what is written."""

import numpy as np
import pytest

import jflows
from jflows import InvalidTypeError, InvalidValueError, RunError
from jflows.cli.results import result_in_words
from jflows.runs import studies, study_figures
from jflows.runs.data import DataConfig
from jflows.runs.files import read_json

MIXTURE = dict(component__num_layers=1, component__hidden_sizes=(4,), encoder_sizes=(4,), num_components=2)


def read(out) -> dict:
    return read_json("test", "run", out / "study.json", fix="")


@pytest.mark.usefixtures("without_pictures")
def test_restarts_are_chosen_by_training_rows(tiny, tmp_path):
    result = jflows.run("realnvp", tmp_path / "seeds", restarts=2, **tiny)
    content = read(tmp_path / "seeds")
    scores = [row["train_score"] for row in content["runs"]]
    assert content["study"] == "restarts" and [row["seed"] for row in content["runs"]] == [0, 1]
    assert scores[0] != scores[1] and content["chosen"] == {"seed": scores.index(max(scores))}
    assert result.recipe.train.seed == content["chosen"]["seed"] and result.result == content
    assert result.score.nats == pytest.approx(content["runs"][content["chosen"]["seed"]]["score"], abs=1e-4)
    assert {path.name for path in result.directory.iterdir()} == {"seed_0", "seed_1", "study.json", "flows.png"}
    assert jflows.load(tmp_path / "seeds" / "seed_1")[0] == result.flow
    again = jflows.run("realnvp", tmp_path / "seeds", restarts=2, resume=True, **tiny)  # nothing is left to train
    assert [row["score"] for row in again.result["runs"]] == [row["score"] for row in content["runs"]]


@pytest.mark.slow
def test_restarts_of_mixtures_are_chosen_by_the_bound(tiny, tmp_path):
    options = {name: value for name, value in tiny.items() if name not in ("num_layers", "hidden_sizes")}
    options |= dict(num_validation=0, eval_every=0)
    result = jflows.run("vmonf", tmp_path / "seeds", restarts=2, **MIXTURE, **options)
    rows = result.result["runs"]
    best = max(rows, key=lambda row: row["train_score"])
    assert result.result["chosen"] == {"seed": best["seed"]} and all(row["elbo"] <= row["nats"] for row in rows)
    assert 0 <= best["accuracy"] <= 1 and result.result["gaussian_mixture"]["accuracy"] > 0.9
    assert (result.directory / "clusters.png").stat().st_size > 5000
    data = DataConfig(name=tiny["data"]).load("train")
    assert studies.train_score(result, data) == pytest.approx(best["train_score"], abs=1e-3)


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_of_one_option(tiny, tmp_path):
    result = jflows.run("realnvp", tmp_path / "sweep", sweep=("batch_size", (16, 8)), **tiny)
    rows = read(tmp_path / "sweep")["runs"]
    assert [row["batch_size"] for row in rows] == [16, 8]
    assert result.result["chosen"] == {"batch_size": max(rows, key=lambda row: row["train_score"])["batch_size"]}
    assert (tmp_path / "sweep" / "batch_size_8" / "result.json").is_file()


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_of_several_options_runs_their_product_and_grows(tiny, tmp_path):
    sweep = {"batch_size": (16, 8), "seed": (0,)}
    jflows.run("realnvp", tmp_path / "sweep", sweep=sweep, **tiny)
    result = jflows.run("realnvp", tmp_path / "sweep", sweep={**sweep, "seed": (0, 1)}, resume=True, **tiny)
    rows = read(tmp_path / "sweep")["runs"]
    assert [(row["batch_size"], row["seed"]) for row in rows] == [(16, 0), (16, 1), (8, 0), (8, 1)]
    assert (tmp_path / "sweep" / "batch_size_8_seed_1" / "result.json").is_file()
    pairs = [[row["score"] for row in rows[i : i + 2]] for i in (0, 2)]
    over = result.result["over_seeds"]
    assert [(row["batch_size"], row["num_runs"]) for row in over] == [(16, 2), (8, 2)]
    assert [row["score"] for row in over] == pytest.approx([np.mean(pair) for pair in pairs], abs=1e-3)
    assert [row["deviation"] for row in over] == pytest.approx([np.std(pair, ddof=1) for pair in pairs], abs=1e-3)
    printed = result_in_words(result).splitlines()
    assert sum(line.startswith("batch_size 8, seed ") for line in printed) == 2 and len(printed) == 7
    assert sum("chosen by training rows" in line for line in printed) == 1 and "over 2 seeds" in printed[4]
    best = max(rows, key=lambda row: row["train_score"])
    assert result.result["chosen"] == {name: best[name] for name in sweep}


def test_curves_over_seeds_are_grouped_by_the_other_options():
    labels = [{"coupling": "affine", "width": 4, "seed": seed} for seed in (0, 1)]
    labels.append({"coupling": "additive", "width": 4, "seed": 0})
    groups = study_figures._over_seeds(labels, [[{"step": i}] for i in range(3)])
    assert groups == {("affine", "width 4"): [[{"step": 0}], [{"step": 1}]], ("additive", "width 4"): [[{"step": 2}]]}


def test_a_sweep_is_checked_before_its_first_run(tmp_path):
    """The second value does not fit the images, which no single setting tells."""
    options = dict(num_steps=1, width=4, steps=1, sweep=("num_levels", (1, 4)))
    with pytest.raises(InvalidValueError, match="`num_levels` must leave a height and width"):
        jflows.run("glow_digits", tmp_path / "study", **options)
    assert not (tmp_path / "study").exists()


@pytest.mark.usefixtures("without_pictures")
def test_folds_are_averaged(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(DataConfig, "load", _by_fold(DataConfig.load))
    result = jflows.run("realnvp", tmp_path / "folds", folds=2, **tiny)
    content = read(tmp_path / "folds")
    scores = [row["score"] for row in content["runs"]]
    assert content["chosen"] is None and "train_score" not in content["runs"][0] and scores[0] != scores[1]
    assert content["score"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert content["standard_error"] == pytest.approx(abs(scores[0] - scores[1]) / 2, abs=1e-3)
    assert result.score.nats == pytest.approx(np.mean(scores), abs=1e-4)
    assert result.score.nats_standard_error == pytest.approx(content["standard_error"], abs=1e-4)
    assert (tmp_path / "folds" / "flows.png").is_file()


def _by_fold(load):
    """Of a table without folds: the rows of a fold are moved by its number."""

    def loaded(config, split):
        assert config.fold is not None
        data = load(jflows.DataConfig(name=config.name, num_validation=config.num_validation), split)
        return data.take(np.arange(len(data)), x=data.x * (1 + config.fold))

    return loaded


def test_folds_are_for_data_that_have_them(tiny, tmp_path):
    with pytest.raises(
        InvalidValueError, match="`folds` is for tables that papers score in ten folds, .*; got 2. Leave it out"
    ):
        jflows.run("realnvp", tmp_path, folds=2, **tiny)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (dict(restarts=2, folds=2), "`restarts, folds` must not be asked for together. Choose one of them"),
        (dict(restarts=0), "`restarts` must be 1 to 1000; got 0"),
        (dict(folds=-1), "`folds` must be 1 to 1000; got -1"),
        (dict(sweep=("num_layers", ())), "`sweep` must hold at least one value"),
        (dict(sweep=("num_layers", "12")), "`sweep` must hold at least one value; got '12'"),
        (dict(sweep=("num_layer", (1, 2))), "Did you mean num_layers"),
        (dict(sweep=("num_layers", (1, 0))), "`num_layers` must be at least 1; got 0"),
        (dict(sweep={"num_layers": (1, 2), "seeds": (0, 1)}), "`seeds` must be an option of this recipe"),
        (dict(sweep={}), "`sweep` must hold at least one value"),
        (dict(sweep={"seed": range(200), "steps": range(1, 9)}), "`sweep` must make at most 1000 runs; got 1600"),
        (dict(sweep=("seed", (0, 1)), restarts=2), "must not be asked for together. Choose one of them; a sweep may"),
    ],
)
def test_a_study_that_makes_no_sense(tiny, tmp_path, study, message):
    with pytest.raises(InvalidValueError, match=message):
        jflows.run("realnvp", tmp_path / "study", **study, **tiny)
    assert not (tmp_path / "study").exists()


def test_a_run_without_a_finite_score_is_never_chosen():
    rows = [{"train_score": float("nan")}, {"train_score": -3.0}, {"train_score": -2.0}, {"train_score": float("inf")}]
    assert studies._best("sweep", rows) == 2
    with pytest.raises(RunError, match="must have a run with a finite score on training rows; got nan"):
        studies._best("sweep", rows[:1])


@pytest.mark.parametrize("option", ["num_bits", "columns", "fold", "classes", "data"])
def test_what_does_not_compare_is_not_swept(option):
    recipe = jflows.Recipe(flow=jflows.glow)
    with pytest.raises(InvalidValueError, match="must not be an option that changes what is scored, as the scores"):
        studies.members_of(recipe, 1, 0, (option, (1, 2)))


@pytest.mark.parametrize(
    "study",
    [
        {"restarts": 1.5},
        {"restarts": None},
        {"folds": "x"},
        {"sweep": True},
        {"sweep": (3, (1,))},
        {"sweep": "x"},
        {"sweep": {3: (1,)}},
    ],
)
def test_studies_of_other_types_are_named(study):
    given = {"restarts": 1, "folds": 0, "sweep": None, **study}
    with pytest.raises(InvalidTypeError, match=f"run: `{next(iter(study))}` must be "):
        studies.members_of(jflows.Recipe(flow=jflows.maf), **given)


def test_a_sweep_has_different_values():
    with pytest.raises(InvalidValueError, match="must hold different values"):
        studies.members_of(jflows.Recipe(flow=jflows.maf), 1, 0, ("seed", (1, 1)))
