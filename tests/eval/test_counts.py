"""Every number of things that a function of evaluation takes is a whole number in its range, or refused in one line."""

import numpy as np
import pytest

import jflows
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import evaluate, importance_sample, interpolate, mixture_report
from jflows.eval.cluster_plots import responsibility_grid
from jflows.eval.clusters import cluster_scores, contingency_table, fit_gaussian_mixture
from jflows.eval.plots import image_grid, to_bytes
from jflows.flows import mixture_of_flows, with_mixture_base

FLOW = jflows.flows.normal((2,))
MIXTURE = jflows.flows.flow_gmm((2,), 2)
ROWS, PIXELS = np.zeros((4, 2)), np.zeros((1, 2, 2, 1), np.uint8)
COUNTS = {
    "num_draws of bits_per_dim": lambda n: FLOW.bits_per_dim({}, ROWS, num_draws=n),
    "num_draws of evaluate": lambda n: evaluate(FLOW, {}, [], None, num_draws=n),
    "num_samples": lambda n: importance_sample(FLOW, {}, len, None, num_samples=n),
    "batch_size": lambda n: importance_sample(FLOW, {}, len, None, 2, batch_size=n),
    "num_steps": lambda n: interpolate(FLOW, {}, ROWS, ROWS, num_steps=n),
    "num_points": lambda n: responsibility_grid(MIXTURE, {}, ROWS, num_points=n),
    "columns": lambda n: image_grid(PIXELS, columns=n),
    "num_bits": lambda n: to_bytes(PIXELS, num_bits=n),
    "num_classes": lambda n: mixture_report(MIXTURE, {}, [], num_classes=n),
    "num_labels": lambda n: cluster_scores([0], [0], num_labels=n),
    "num_components": lambda n: fit_gaussian_mixture(ROWS, n),
    "num_starts": lambda n: fit_gaussian_mixture(ROWS, 2, num_starts=n),
    "num_components of mixtures": lambda n: mixture_of_flows(FLOW, None, num_components=n),
    "num_components of bases": lambda n: with_mixture_base(FLOW, num_components=n),
    "batch_size of summary": lambda n: FLOW.summary(batch_size=n),
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_number_of_things_is_a_whole_number_in_its_range(name):
    argument = name.split(" ")[0]
    for bad in (2.5, True, "2"):
        with pytest.raises(InvalidTypeError, match=f"`{argument}` must be an int.*; got {bad!r}"):
            COUNTS[name](bad)
    with pytest.raises(InvalidValueError, match=f"`{argument}` must be .*; got -1"):
        COUNTS[name](-1)


def test_integers_of_numpy_are_whole_numbers():
    assert contingency_table([0], [1], num_clusters=np.int64(3)).shape == (1, 3)
