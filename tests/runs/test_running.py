"""`jflows.run`: from Python as from the command line, repeated from its config.json, and its parts alone."""

import dataclasses
import functools
import json
import math
import shutil

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import jflows
from jflows import DataConfig, Recipe, RunError
from jflows.cli import main
from jflows.data import TableData
from jflows.flows.presets import PRESETS
from jflows.runs import TrainedRun, prepare, read_metrics, read_recipe, report, running, score
from jflows.runs.files import read_json
from jflows.train import fit

RATES = ("examples_per_second", "compile_seconds")
TIMES = ("train_seconds", "evaluation_seconds")


def without_times(run) -> tuple[list, dict]:
    metrics = [{name: value for name, value in entry.items() if name not in RATES} for entry in read_metrics(run)]
    result = read_json("test", "run", run / "result.json", fix="")
    return metrics, {name: value for name, value in result.items() if name not in TIMES}


def arrays(run) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(jflows.load(run, checkpoint="latest", weights="params")[1])]


def test_a_run_has_everything_in_its_directory(trained):
    out = trained.directory
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "metrics.jsonl", "result.json", "checkpoints"),
        *trained.files,
    }
    assert set(trained.files) == {"learning_curve.png", "pairs.png", "page.png"}
    assert trained.result["test_nats"] == trained.score.nats and trained.result["unit"] == "nats"
    assert (trained.result["steps"], trained.result["planned_steps"]) == (20, 20)
    assert not trained.interrupted and "score=" in repr(trained) and "variables" not in repr(trained)
    log_prob = trained.flow.log_prob(trained.variables, trained.recipe.data.load("test").x)
    assert abs(float(log_prob.mean()) - trained.score.nats) < 1e-4


@pytest.mark.usefixtures("without_pictures")
def test_the_command_line_gives_the_same_run(trained, tiny, tmp_path):
    args = ["train", "realnvp", "--out", str(tmp_path / "other")]
    for name, value in tiny.items():
        if name != "progress":
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            args += [f"--{name.replace('_', '-')}", text]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "other" / "config.json").read_text() == (trained.directory / "config.json").read_text()
    assert without_times(tmp_path / "other") == without_times(trained.directory)
    for one, other in zip(arrays(tmp_path / "other"), arrays(trained.directory), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", ["python", "command line"])
@pytest.mark.by_default("command line")
@pytest.mark.usefixtures("without_pictures")
def test_config_json_repeats_a_run_bit_for_bit(trained, tmp_path, how):
    again, config = tmp_path / "again", trained.directory / "config.json"
    if how == "python":
        jflows.run(config, again, progress=False)
    else:
        assert CliRunner().invoke(main, ["train", "--config", str(config), "--out", str(again)]).exit_code == 0
    assert without_times(again) == without_times(trained.directory)
    for one, other in zip(arrays(again), arrays(trained.directory), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_recipe_a_preset_and_a_partial_are_the_same(trained, tiny):
    options = {name: value for name, value in tiny.items() if name != "progress"}
    partial = functools.partial(jflows.realnvp, num_layers=1, hidden_sizes=(4,))
    flat = {name: value for name, value in options.items() if name not in ("num_layers", "hidden_sizes")}
    for recipe in (Recipe(flow=partial).with_options(**flat), Recipe(flow=jflows.realnvp).with_options(**options)):
        assert recipe.to_json() == trained.recipe.to_json()


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_options(trained, tiny, tmp_path):
    out = tmp_path / "short"
    jflows.run("realnvp", out, **{**tiny, "steps": 10})
    longer = jflows.run("realnvp", out, resume=True, steps=20, progress=False)
    assert longer.result["steps"] == 20 and longer.recipe.train.batch_size == 16
    with pytest.raises(RunError, match="must not hold checkpoints of another run"):
        jflows.run("realnvp", out, **tiny)
    with pytest.raises(RunError, match="`hidden_sizes` must be as in the run; got \\(4,\\) -> \\(8,\\)"):
        jflows.run("realnvp", out, resume=True, hidden_sizes=(8,), progress=False)
    with pytest.raises(RunError, match="`config` must be as in the run; got 'realnvp' -> 'maf'"):
        jflows.run("maf", out, resume=True, progress=False)


def test_a_run_does_not_go_on_to_a_step_before_its_last(trained, tmp_path):
    out = shutil.copytree(trained.directory, tmp_path / "run")
    before = (out / "config.json").read_bytes()
    with pytest.raises(RunError, match="`steps` must not end before step 20, at which the run stands; got 10 steps"):
        jflows.run("realnvp", out, resume=True, steps=10, progress=False)
    assert (out / "config.json").read_bytes() == before


@pytest.mark.usefixtures("without_pictures")
def test_a_run_without_its_checkpoints_says_that_it_starts_again(trained, tmp_path):
    out = shutil.copytree(trained.directory, tmp_path / "run")
    shutil.rmtree(out / "checkpoints")
    with pytest.warns(UserWarning, match="run has no checkpoint: the run starts again, from step 0"):
        again = jflows.run("realnvp", out, resume=True, progress=False)
    assert again.result["steps"] == 20


@pytest.mark.usefixtures("without_pictures")
def test_a_run_whose_score_is_nan_ends_with_an_error(tiny, tmp_path, monkeypatch):
    scored = running.scored
    nan = lambda *args, **options: scored(*args, **options)._replace(nats=math.nan)
    monkeypatch.setattr(running, "scored", nan)
    with pytest.raises(RunError, match="`score` must not be NaN on the test rows; .*; got NaN in "):
        jflows.run("realnvp", tmp_path / "run", **tiny)
    assert math.isnan(json.loads((tmp_path / "run" / "result.json").read_text())["test_nats"])


def test_the_parts_can_be_used_alone(trained, tmp_path):
    prepared = prepare(trained.recipe, "mine")
    assert (len(prepared.data), len(prepared.validation), len(prepared.test)) == (98, 10, 12)
    fitted = fit(prepared.flow, prepared.data, trained.recipe.train, validation=prepared.validation, progress=False)
    found = score(prepared, fitted, tmp_path, progress=False)
    assert found.evaluation.nats == trained.score.nats
    assert report(prepared, fitted.variables, found.evaluation, tmp_path) == [
        "learning_curve.png",
        "pairs.png",
        "page.png",
    ]


@pytest.mark.usefixtures("without_pictures")
def test_epochs_count_passes(rows, tmp_path, tiny):
    options = {name: value for name, value in tiny.items() if name != "steps"}
    assert jflows.run("realnvp", tmp_path / "run", epochs=2, **options).result["steps"] == 13  # of 98 rows by 16


def test_a_trained_run_answers_from_its_directory(trained):
    opened = TrainedRun.open(trained.directory)
    data = opened.data()
    assert opened.evaluate(data, batch_size=7, progress=False).nats == pytest.approx(trained.score.nats, abs=1e-5)
    assert opened.sample(5).shape == (5, 2) and opened.clusters(data) is None
    assert (opened.sample(5, seed=1) != opened.sample(5)).any()
    assert read_recipe(trained.directory).recipe.to_json() == trained.recipe.to_json()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_has_help(preset):
    done = CliRunner().invoke(main, ["train", preset, "--help"])
    assert done.exit_code == 0 and "--data TEXT" in done.output and "The flow:" in done.output
    assert "--steps INTEGER" in done.output and "--loss " in done.output


def test_data_must_be_given_and_fit(tmp_path, tiny):
    with pytest.raises(jflows.InvalidValueError, match="`data` must be given; got ''. Name a data set"):
        jflows.run("maf", tmp_path)
    with pytest.raises(jflows.DataError, match="`data` must suit glow"):
        jflows.run("glow", tmp_path, data=tiny["data"])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_pictures")
def test_runs_without_a_place_go_into_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert jflows.run(jflows.realnvp, **tiny).directory == running.RUNS / "realnvp"


def test_labels_are_for_losses_that_take_them(rows):
    config = DataConfig(name=str(rows), labels_per_class=3)
    data = config.load("train")
    assert (config.for_training(data, takes_labels=True, seed=0).label >= 0).sum() == 6
    assert config.for_training(data, takes_labels=False, seed=0).label is data.label
    unlabelled = DataConfig(name=str(rows)).for_training(data, takes_labels=True, seed=0)
    assert unlabelled.label is None and len(unlabelled) == len(data)
    everything = DataConfig(name=str(rows), labels_per_class=None).for_training(data, takes_labels=True, seed=0)
    assert everything.partly_labelled and (everything.label == data.label).all()
    assert len(DataConfig(name=str(rows), num_train=5).load("train")) == 5
    assert set(DataConfig(name=str(rows), classes=(1,)).load("train").label) == {0}


def test_a_run_of_another_preset_is_not_resumed(trained, rows):
    with pytest.raises(RunError, match="`config` must be as in the run; got 'realnvp' -> 'glow'"):
        jflows.run("glow", trained.directory, data=str(rows), resume=True)


def test_columns_in_another_order_are_never_taken_for_each_other(trained, tiny):
    run = TrainedRun.open(trained.directory)
    first = TableData("a", np.random.default_rng(0).normal(size=(40, 2)), columns=("u", "v"))
    second = dataclasses.replace(first, x=first.x[:, ::-1], columns=("v", "u"))
    named = dataclasses.replace(run, stored=run.stored._replace(facts={**run.stored.facts, "columns": ["u", "v"]}))
    assert named.scores(first, progress=False).shape == (40,)
    for call in (named.scores, named.evaluate):
        with pytest.raises(jflows.DataError, match=r"must have the columns u, v, in this order; got v, u. Load them"):
            call(second, progress=False)
    config = dataclasses.replace(trained.recipe.train, steps=1, eval_every=1)
    with pytest.raises(jflows.DataError, match="fit: `validation` must have the columns u, v, in this order"):
        fit(trained.flow, first, config, validation=second, progress=False)
    assert run.scores(TableData("array", first.x), progress=False).shape == (40,)  # an array has no names to go by
