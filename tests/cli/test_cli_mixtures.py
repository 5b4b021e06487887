"""`jflows` on mixtures of flows: a run with few labels, what it writes, and mistakes."""

import json

import pytest

from jflows.eval import bic

TINY = "--num-train 64 --component.num-layers 1 --component.hidden-sizes 4 --encoder-sizes 4 --labels-per-class 4"
TINY = f"{TINY} --pretrain-steps 5 --batch-size 16 --init-batch 32 --steps 20 --log-every 10 --checkpoint-every 20"
TINY = f"{TINY} --parallel none".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, jflows):
    out = tmp_path_factory.mktemp("runs") / "circles"
    result = jflows("train", "vmonf_circles", *TINY, "--out", out)
    assert result.exit_code == 0, result.stderr
    return out, result


def test_a_run_tells_of_clusters(trained):
    out, printed = trained
    assert "nats" in printed.stdout and "clusters.png" in printed.stdout and "of 2 components in" in printed.stdout
    found = json.loads((out / "result.json").read_text())["mixture"]
    assert 0.5 <= found["accuracy"] <= 1 and found["elbo"] <= found["nats"]
    assert found["train_elbo"] <= found["train_nats"] and "BIC of the training rows" in printed.stdout
    assert found["bic"] == pytest.approx(bic(found["train_nats"], found["free_parameters"], 64), abs=0.1)
    assert sum(map(sum, found["table"])) == 10_000 and len(found["share"]) == 2
    assert (out / "clusters.png").stat().st_size > 5000


def test_a_run_is_evaluated_sampled_and_described(trained, jflows):
    nats = json.loads((trained[0] / "result.json").read_text())["test_nats"]
    assert jflows("evaluate", trained[0]).stdout.startswith(f"{nats:.4f} ± ")
    assert jflows("sample", trained[0], "--num", "5").exit_code == 0
    assert len((trained[0] / "sample.csv").read_text().splitlines()) == 6
    assert jflows("sample", trained[0], "--num", "5", "--label", "1").exit_code == 0
    assert "must be a component, 0 to 1; got 2" in jflows("sample", trained[0], "--label", "2").stderr
    assert "accuracy 0." in jflows("evaluate", trained[0], "--batch-size", "2000").stdout
    told = jflows("info", trained[0]).stdout
    assert "encoder MLP" in told and "component × 2" in told and "Coupling" in told
    result = jflows("interpolate", trained[0])
    assert result.exit_code == 2 and "a mixture of tables" in result.stderr


def test_other_kinds_are_described(jflows):
    told = jflows("info", "flow_gmm", "--data", "pinwheel", "--weights", "learned").stdout
    assert "trunk" in told and "encoder" not in told and "weights" in told and "base DiagonalNormal" in told


def test_a_component_has_the_options_of_its_preset(jflows):
    told = jflows("info", "vmonf_pinwheel", "--component", "maf", "--component.num-layers", "2").stdout
    assert "Repeat × 2" in told
    shown = jflows("train", "vmonf_pinwheel", "--component", "maf", "--help").stdout
    assert "--component.inner" in shown and "--component.permutation" in shown
    result = jflows("info", "vmonf_pinwheel", "--component.inner", "affine")
    assert result.exit_code == 2 and "No such option '--component.inner'" in result.stderr


def test_of_several_restarts_the_one_with_the_highest_bound_is_chosen(tmp_path, jflows):
    result = jflows("train", "vmonf_circles", *TINY, "--restarts", "2", "--out", tmp_path / "study")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "study" / "study.json").read_text())
    bounds = [row["train_score"] for row in report["runs"]]
    assert [row["seed"] for row in report["runs"]] == [0, 1] and bounds[0] != bounds[1]
    chosen = report["chosen"]["seed"]
    assert chosen == bounds.index(max(bounds))
    assert f"seed {chosen}: " in result.stdout and result.stdout.count("(chosen by training rows)") == 1
    assert 0.4 < report["gaussian_mixture"]["accuracy"] < 0.6  # two rings of one centre
    assert (tmp_path / "study" / "clusters.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--num-components", "1"], "`--num-components` must be at least 2"),
        (["--component", "glov"], "`--component` must be one of "),
        (["--component.num-layers", "0"], "train: `--component.num-layers` must be at least 1; got 0"),
        (["--weights", "vae"], "`--weights` must"),
        (["--labels-per-class", "0"], "`--labels-per-class` must be positive with --labelled-share"),
        (["--classes", "0,7"], "must have rows of classes (0, 7); got no row of class 7"),
        (["--encoder-sizes", "0"], "`--encoder-sizes` must have entries that are at least 1"),
        (["--labelled-share", "1.5"], "`--labelled-share` must lie in [0, 1); got 1.5"),
        (["--spread", "1"], "No such option '--spread'"),
        (["--data", "digits"], "`--component` must be a preset of flows of images, for events of shape (8, 8, 1)"),
        (["--component", "glow"], "`--component` must be a preset of flows of vectors, for events of shape (2,)"),
        (["--encoder-sizes", ""], "`--encoder-sizes` must hold at least 1 entry"),
        (["--labels-per-class", "200", "--num-train", "64"], "must have 200 rows of each class"),
        (["--classes", "1", "--num-train", "-1"], "`--num-train` must be at least 1"),
        (["--temperature", "0.5"], "`--temperature` must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(jflows, tmp_path, args, part):
    result = jflows("train", "vmonf_circles", *args, "--out", tmp_path / "run")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert part in result.stderr
