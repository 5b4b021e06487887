"""The lab report's configs: their sizes, which docstrings and docs state, and how fractions of them are asked for."""

import pytest

import jflows
from jflows.data import KNOWN
from jflows.flows.summary import abstract_variables, count_parameters
from jflows.runs import find_recipe

FULL = {"lab_cifar10": (22_028_112, 19_532), "lab_mnist": (15_785_376, 23_438)}
TRAINING = {"lab_cifar10": 50_000, "lab_mnist": 60_000}


@pytest.mark.parametrize("name", sorted(FULL))
def test_the_full_size_is_that_of_the_report(name):
    _, recipe = find_recipe(name)
    flow, train = recipe.build(recipe.data.outline()), recipe.train
    assert (count_parameters(abstract_variables(flow)), train.total_steps(TRAINING[name])) == FULL[name]
    assert flow.reading.num_bits == 5
    assert KNOWN[recipe.data.name].event_shape[0] + 2 * recipe.options()["padding"].value == 32


def test_the_warm_up_is_ten_of_a_hundred_epochs_and_must_fit_a_fraction():
    _, recipe = find_recipe("lab_cifar10")
    rate = recipe.train.make_schedule(19_532)
    assert (float(rate(0)), float(rate(1953)), float(rate(19_531))) == pytest.approx((0, 1e-3, 1e-3))
    with pytest.raises(jflows.InvalidValueError, match="`warmup_epochs` must be at most epochs=1, the length"):
        recipe.with_options(epochs=1)
    assert recipe.with_options(epochs=1, warmup_epochs=0.1).train.total_steps(50_000) == 196
    _, mnist = find_recipe("lab_mnist")
    assert float(mnist.train.make_schedule(10)(0)) == pytest.approx(1e-4)  # no warm-up
