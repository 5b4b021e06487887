"""The figure of data, density and samples: its panels and its messages."""

import jax
import numpy as np
import pytest

from jflows.data.toys import circles
from jflows.errors import InvalidValueError
from jflows.eval import Modelled, densities, densities_figure
from jflows.flows import maf, normal
from jflows.flows.presets import vmonf

KEY = jax.random.key(0, impl="unsafe_rbg")
X = circles(300).x


@pytest.fixture(scope="module")
def figure():
    flow, mixture = normal((2,)), vmonf((2,), 2, normal, encoder_sizes=(4,))
    rows = [Modelled("one", flow, flow.init(KEY, X), X), Modelled("two", mixture, mixture.init(KEY, X), 3 * X)]
    return densities_figure(rows, title="both")


def test_a_row_has_three_panels_of_one_box(figure):
    axes = figure.axes
    assert [each.get_title("left") for each in axes] == ["data", "density", "samples", "", "", ""]
    assert [text.get_text() for text in figure.texts] == ["one", "two", "both"]
    for row in (axes[:3], axes[3:]):
        assert len({(*each.get_xlim(), *each.get_ylim()) for each in row}) == 1
    assert axes[3].get_xlim()[1] > 2 * axes[0].get_xlim()[1]


def test_panels_show_the_rows_and_the_density(figure):
    flow = normal((2,))
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), X)
    assert len(figure.axes[2].collections[0].get_offsets()) == densities.SHOWN
    image = figure.axes[1].images[0]
    left, right, bottom, _ = image.get_extent()
    cell = (right - left) / densities.GRID
    at = np.array([[left + 90.5 * cell, bottom + 40.5 * cell]], np.float32)
    wanted = np.exp(flow.log_prob(flow.init(KEY, X), at))
    np.testing.assert_allclose(np.asarray(image.get_array())[40, 90], wanted[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "densities_figure: `rows` must hold at least one model; got none"),
        ([Modelled("a", normal((3,)), {}, X)], r"must hold densities of two columns, .*; got event_shape \(3,\)"),
        ([Modelled("a", maf((2,), context_dim=1), {}, X)], "without a context; got .* context 'vectors'"),
        ([Modelled("a", normal((2,)), {}, X[0])], r"`rows` must hold data \[num, 2\]; got shape \(2,\)"),
    ],
)
def test_bad_input(rows, message):
    with pytest.raises(InvalidValueError, match=message):
        densities_figure(rows)
