"""`jflows latent`: the table, the figure, classes and contexts as groups, and runs that have no latents to test."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jflows as library
from jflows import bijectors as b
from jflows.cli.results import latent_in_words
from jflows.data import TableData
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidValueError
from jflows.flows import MixtureOfFlows
from jflows.runs import TrainedRun
from jflows.runs.reports.latent import draw_latent


def test_the_command_prints_a_table_and_draws_a_figure(trained, jflows, tmp_path):
    shown = jflows("latent", trained, "--num", 100, "--num-sets", 29, "--modes", "--out", tmp_path / "l.png")
    assert shown.exit_code == 0, shown.output
    first, head, *tests = shown.output.splitlines()
    assert first == "latents of 100 test images of digits beside 29 sets from the base (larger is further from it):"
    assert head.split() == ["test", "statistic", "median", "95", "%", "p"]
    names = ["mean", "variance", "skewness", "kurtosis", "ks", "sliced_ks", "radius", "correlation", "classifier"]
    found = {line.split()[0]: [float(part) for part in line.split()[1:]] for line in tests[: len(names)]}
    assert list(found) == names and all(median < high for _, median, high, _ in found.values())
    assert found["variance"][-1] == pytest.approx(1 / 30, abs=1e-4)  # after twenty steps of training
    assert "all tests together: p = 0.0333; they differ from draws of the base (at 0.05)" in shown.output
    modes = shown.output.partition("  modes ")[2].splitlines()
    names = [f"{each}_{family}" for each in ("dip", "gain") for family in ("random", "principal", "found")]
    assert [line.split()[0] for line in modes[1:7]] == names
    assert modes[7].startswith("all tests of modes together: p = ") and "of a dip beside uniform samples" in modes[7]
    assert tests[-1] == f"pictures in {tmp_path / 'l.png'} and {tmp_path / 'l_modes.png'}"
    for name, width in (("l.png", 1000), ("l_modes.png", 600)):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > width and len(np.unique(np.asarray(picture.convert("L")))) > 20


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--num", 10], "latent: Invalid value for '--num': 10 is not in the range 20<=x"),
        (
            ["--num", 5000],
            "latent: `--num` must be 20 to 360, as 'digits' has 360 rows here; got 5000. Ask for fewer, or name",
        ),
        (["--num", 30, "--modes"], "`--num` must be at least 40 to look for --modes; got 30. Ask for more, or leave"),
        (["--num-sets", 5], "Invalid value for '--num-sets': 5 is not in the range 19<=x"),
    ],
)
def test_what_the_command_refuses_is_one_line(trained, jflows, args, message):
    shown = jflows("latent", trained, *args)
    assert shown.exit_code == 2 and message in shown.stderr and shown.stderr.count("\n") == 1, shown.stderr


def test_runs_without_latents_to_test_are_refused_before_anything_is_computed(trained):
    run = TrainedRun.open(trained)
    x = np.zeros((30, 2), np.float32) + np.arange(30)[:, None]
    flow = library.realnvp((2,), 1, (4,))
    table = dataclasses.replace(run, density=flow, stored=run.stored._replace(facts={}))
    mixture = dataclasses.replace(table, density=MixtureOfFlows((flow,), 2))
    with pytest.raises(
        InvalidValueError, match="`run` must be that of a flow: a mixture of flows has no single latent"
    ):
        mixture.latent_tests(TableData("t", x))
    with pytest.raises(
        InvalidValueError, match="`weight` must be none, as the tests count all rows alike; .* weight=n"
    ):
        table.latent_tests(TableData("t", x, weight=np.ones(30)))
    with pytest.raises(InvalidValueError, match="latent: `num` must be 20 to 30, as 't' has 30 rows here; got 19"):
        table.latent_tests(TableData("t", x), num=19)
    with pytest.raises(DataError, match="`data` must have at least 20 rows; got 7 of 't'. Name other data"):
        table.latent_tests(TableData("t", x[:7]))


def test_classes_are_groups_and_small_ones_are_named(tmp_path):
    """A flow that ignores its classes: right on the whole, and wrong in each class."""
    embed = library.nn.ClassEmbed(3)
    flow = library.Flow(b.Identity(), StandardNormal((2,)), (2,), embed=embed, context_shape=())
    x = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    label = np.where(np.arange(200) < 10, 2, x[:, 0] > 0).astype(np.int32)
    data = TableData("halves", x, label=label, num_classes=3)
    variables = flow.init(jax.random.key(0), jnp.asarray(x), label)
    tested = draw_latent(flow, variables, data, tmp_path / "l.png", num_sets=39, names=("left", "right", "few"))
    assert (tested.groups, tested.left_out) == (("left", "right"), ("few",))
    p_values = {test.name: test.p_value for test in tested.report.tests}
    assert p_values["classifier_per_group"] == 1 / 40 < 0.05 < p_values["classifier"]
    lines = latent_in_words(tested, "rows of halves", tmp_path / "l.png").splitlines()
    assert tested.modes is None and lines[-1] == f"picture in {tmp_path / 'l.png'}"
    assert lines[-3].startswith("group that a classifier tells best from the base, of 2: ") and "q = " in lines[-3]
    assert lines[-2] == "groups with too few rows for a test of their own: few"
