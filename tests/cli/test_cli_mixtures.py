"""`jflows` on mixtures of flows: a run with few labels, what it writes, and mistakes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

TINY = "--num-train 64 --num-layers 1 --hidden-sizes 4 --encoder-sizes 4 --labels-per-class 4 --pretrain-steps 5"
TINY = f"{TINY} --batch-size 16 --init-batch 32 --steps 20 --log-every 10 --checkpoint-every 20 --parallel none".split()


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
    told = jflows("info", "vmonf_pinwheel", "--kind", "base", "--weights", "learned").stdout
    assert "trunk" in told and "encoder" not in told and "weights" in told and "base DiagonalNormal" in told


def test_of_several_restarts_the_one_with_the_highest_bound_is_chosen(tmp_path, monkeypatch, capsys):
    path = Path(__file__).resolve().parents[2] / "experiments" / "clusters.py"
    spec = importlib.util.spec_from_file_location("clusters", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    args = [str(path), "vmonf_circles", *TINY, "--restarts", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", args)
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0
    report = json.loads((tmp_path / "clusters.json").read_text())
    bounds = [row["train_elbo"] for row in report["restarts"]]
    assert [row["seed"] for row in report["restarts"]] == [0, 1] and bounds[0] != bounds[1]
    assert report["chosen_seed"] == bounds.index(max(bounds))
    assert report["accuracy"] == report["restarts"][report["chosen_seed"]]["accuracy"]
    assert 0.4 < report["gaussian_mixture"]["accuracy"] < 0.6  # two rings of one centre
    assert (tmp_path / "clusters.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--num-components", "1"], "`--num-components` must be at least 2"),
        (["--component", "glow"], "`--component` must be one of 'realnvp', 'maf'"),
        (["--kind", "vae"], "`--kind` must be one of 'flows', 'base'"),
        (["--labels-per-class", "0"], "`--labels-per-class` must be positive to train on rows with a label"),
        (["--classes", "0,7"], "must have rows of classes (0, 7); got no row of class 7"),
        (["--encoder-sizes", "0"], "`--encoder-sizes` must hold at least one positive size"),
        (["--labelled-share", "1.5"], "`--labelled-share` must lie in [0, 1)"),
        (["--pretrain-steps", "3000"], "`--pretrain-steps` must be below --steps=3000"),
        (["--spread", "0"], "`--spread` must be positive"),
        (["--data", "digits"], "must be a table, for a flow of vectors; got the images 'digits'"),
        (["--labels-per-class", "200", "--num-train", "64"], "must have 200 rows of each class"),
        (["--classes", "1", "--num-train", "-1"], "`--num-train` must be at least 0"),
        (["--temperature", "0.5"], "`--temperature` must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(jflows, tmp_path, args, part):
    result = jflows("train", "vmonf_circles", *args, "--out", tmp_path / "run")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert part in result.stderr
