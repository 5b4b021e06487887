"""Pictures of mixtures: what is on the grid, a PNG that shows it, rows of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jflows
from jflows.errors import InvalidValueError
from jflows.eval.cluster_plots import (
    component_colours,
    component_samples,
    responsibility_grid,
    responsibility_map,
    responsibility_maps,
)
from jflows.flows import Flow, with_mixture_base

KEY = jax.random.key(0, impl="unsafe_rbg")
X = np.array([[-2.0, -1.0], [2.0, 1.0], [0.0, 0.0]], np.float32)


def identity(shape) -> Flow:
    ndims = len(shape)
    return Flow(jflows.bijectors.Identity(event_ndims=ndims), jflows.distributions.StandardNormal(shape), shape)


def two_normals():
    mixture = with_mixture_base(identity((2,)), 2)
    variables = mixture.init(KEY, X)
    variables["params"]["components"]["base"]["mean"] = np.asarray([[-2.0, 0.0], [2.0, 0.0]], np.float32)
    return mixture, variables


def test_the_grid_spans_the_data_and_shows_who_owns_what():
    mixture, variables = two_normals()
    q, log_prob, edges = responsibility_grid(mixture, variables, X, 21)
    np.testing.assert_allclose(edges, (-2.6, 2.6, -1.3, 1.3), rtol=1e-6)
    assert (q.shape, log_prob.shape) == ((21, 21, 2), (21, 21))
    assert np.all(q[:, 0, 0] > 0.99) and np.all(q[:, -1, 1] > 0.99)
    np.testing.assert_allclose(q[:, 10], 0.5, atol=1e-5)
    corner = mixture.log_prob(variables, np.array([2.6, -1.3], np.float32))
    np.testing.assert_allclose(log_prob[0, -1], corner, rtol=1e-5)


def test_the_map_has_the_colours_of_its_components(tmp_path):
    mixture, variables = two_normals()
    responsibility_map(mixture, variables, X, tmp_path / "map.png", labels=[0, 1, 1], num_points=21, title="two")
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"), float)
    width = pixels.shape[1]
    strongest = lambda part: np.argmax(np.median(part.reshape(-1, 3), axis=0))
    assert strongest(pixels[300:400, width // 5 : width // 4]) == 2  # the first colour is blue, the second orange
    assert strongest(pixels[300:400, -width // 4 : -width // 5]) == 0


@pytest.mark.slow
def test_maps_stand_side_by_side(tmp_path):
    panels = [two_normals()] * 6
    responsibility_maps(panels, X, tmp_path / "maps.png", titles=list("abcdef"), num_points=5)
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.size == (5 * 442, 2 * 442)  # five in a row
    rule = "`panels, titles` must be as many, at least one; got 6 panels, 1 titles"
    with pytest.raises(InvalidValueError, match=rule):
        responsibility_maps(panels, X, tmp_path / "maps.png", titles=["a"])


@pytest.mark.parametrize("num_components", [2, 10, 13])
def test_colours_differ(num_components):
    colours = component_colours(num_components)
    assert colours.shape == (num_components, 3)
    assert len(np.unique(colours, axis=0)) == num_components


@pytest.mark.slow
def test_samples_stand_in_rows():
    shape = (4, 4, 1)
    dequantize = jflows.UniformDequantize(2)
    pixels = Flow(
        jflows.bijectors.Identity(event_ndims=3), jflows.distributions.StandardNormal(shape), shape, dequantize
    )
    mixture = with_mixture_base(pixels, 2)
    variables = mixture.init(KEY, jnp.zeros((5, *shape), jnp.uint8))
    means = jnp.broadcast_to(np.array([0.5, 3.5])[:, None, None, None], (2, *shape))
    variables["params"]["components"]["base"]["mean"] = means
    grid = np.asarray(component_samples(mixture, variables, KEY, 3, temperature=0.0, num_bits=2))[..., 0]
    height = grid.shape[0] // 2
    assert grid[height // 2, -20] == 0
    assert grid[height + height // 2, -20] == 255


def test_bad_input():
    mixture = with_mixture_base(identity((3,)), 2)
    rule = (
        r"responsibility_grid: `mixture, x` must be of the plane, event_shape \(2,\); got event_shape \(3,\), x of sh"
    )
    with pytest.raises(InvalidValueError, match=rule):
        responsibility_grid(mixture, {}, np.zeros((4, 3)))
    with pytest.raises(InvalidValueError, match="responsibility_grid: `num_points` must be at least 1; got 0"):
        responsibility_grid(with_mixture_base(identity((2,)), 2), {}, X, 0)
    with pytest.raises(InvalidValueError, match="component_samples: `columns` must be at least 1; got 0"):
        component_samples(mixture, {}, KEY, 0)
