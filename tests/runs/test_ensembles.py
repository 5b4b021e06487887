"""Ensembles of runs: complete members, and their mixture as a run that every command reads."""

import jax
import numpy as np
import pytest

import jflows
from jflows import InvalidValueError, RunError
from jflows.cli.results import result_in_words
from jflows.runs import TrainedRun, ensembles
from jflows.runs.files import read_json


@pytest.fixture(scope="module")
def ensemble(tiny, tmp_path_factory):
    return jflows.run("realnvp", tmp_path_factory.mktemp("runs") / "two", ensemble=2, **tiny)


def test_members_are_complete_runs_that_equal_single_ones(ensemble, trained):
    content = read_json("test", "run", ensemble.directory / "study.json", fix="")
    assert content["study"] == "ensemble" and [row["seed"] for row in content["runs"]] == [0, 1]
    files = {path.name for path in ensemble.directory.iterdir()}
    assert files == {"seed_0", "seed_1", "ensemble", "study.json", "flows.png"}
    member = TrainedRun.open(ensemble.directory / "seed_0")
    for a, b in zip(jax.tree.leaves(member.variables), jax.tree.leaves(trained.variables), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)  # Adam in float32
    own = read_json("test", "run", member.directory / "result.json", fix="")
    assert own["test_nats"] == pytest.approx(trained.result["test_nats"], abs=1e-3)
    assert (member.directory / "metrics.jsonl").is_file() and own["steps"] == trained.result["steps"]


def test_the_mixture_is_a_run_whose_density_is_the_mean_of_the_members(ensemble):
    whole = TrainedRun.open(ensemble.directory / "ensemble")
    members = [TrainedRun.open(ensemble.directory / f"seed_{seed}") for seed in (0, 1)]
    rows = whole.data()
    log_probs = np.stack([member.log_densities(rows, progress=False) for member in members])
    wanted = np.logaddexp(*log_probs) - np.log(2)
    np.testing.assert_allclose(whole.log_densities(rows, progress=False), wanted, atol=1e-5)
    assert ensemble.score.nats == pytest.approx(wanted.mean(), abs=1e-5)
    assert ensemble.score.nats >= log_probs.mean() and ensemble.result["score"] == pytest.approx(
        wanted.mean(), abs=1e-4
    )
    assert whole.sample(5).shape == (5, 2) and jflows.load(whole.directory)[0].num_components == 2
    assert "by the mixture of the members, in" in result_in_words(ensemble)


def test_an_ensemble_goes_on_and_its_mixture_does_not(ensemble, tiny):
    again = jflows.run("realnvp", ensemble.directory, ensemble=2, resume=True, **tiny)
    assert again.result["runs"][0]["score"] == ensemble.result["runs"][0]["score"] and again.score == ensemble.score
    with pytest.raises(
        RunError, match="must not be the mixture of an ensemble, which its recipe does not have; got made"
    ):
        jflows.run("realnvp", ensemble.directory / "ensemble", resume=True, **tiny)


@pytest.mark.parametrize(("num", "seed"), [(3, 0), (2, 1)])
def test_an_ensemble_goes_on_with_its_own_members_only(num, seed, ensemble, tiny):
    before = (ensemble.directory / "study.json").read_bytes()
    rule = f"must have the members of the directory, seeds 0, 1; got {num} members from seed {seed} on. Use ensemble"
    with pytest.raises(InvalidValueError, match=f"run: `ensemble` {rule}"):
        jflows.run("realnvp", ensemble.directory, ensemble=num, resume=True, **{**tiny, "seed": seed})
    assert (ensemble.directory / "study.json").read_bytes() == before and not (ensemble.directory / "seed_2").exists()


def test_members_of_an_ensemble_are_no_clusters(ensemble):
    whole = TrainedRun.open(ensemble.directory / "ensemble")
    assert "clusters" in whole.density.reports and whole.clusters(whole.data()) is None


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.by_default("2")
def test_a_member_that_failed_is_named_and_left_out(num, tiny, tmp_path, monkeypatch):
    fail = RunError("fit, step 3", "loss", "must be finite", "nan")
    train = ensembles.fit_ensemble
    monkeypatch.setattr(ensembles, "fit_ensemble", lambda *args, **options: [*train(*args, **options)[:-1], fail])
    result = jflows.run("realnvp", tmp_path / "some", ensemble=num, **tiny)
    assert result.result["runs"][-1] == {"seed": num - 1, "error": str(fail)}
    assert f"seed {num - 1}: failed, {fail}" in result_in_words(result)
    if num == 2:  # a single member is no mixture
        assert not (tmp_path / "some" / "ensemble").exists() and result.score.nats < 0
    else:
        assert jflows.load(tmp_path / "some" / "ensemble")[0].num_components == 2


def test_what_makes_no_ensemble_is_refused(tiny, tmp_path):
    with pytest.raises(InvalidValueError, match="run: `restarts, ensemble` must not be asked for together"):
        jflows.run("realnvp", tmp_path, ensemble=2, restarts=2, **tiny)
    options = {name: value for name, value in tiny.items() if name not in ("num_layers", "hidden_sizes")}
    with pytest.raises(
        InvalidValueError, match="`ensemble` must be of flows, not of mixtures of flows; got vmonf. Train"
    ):
        jflows.run("vmonf", tmp_path, ensemble=2, **options)
    assert not list(tmp_path.iterdir())
