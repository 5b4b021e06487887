"""Interpolation and reconstruction in latent space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import Flow, InvalidValueError, glow
from jflows.bijectors import Affine, Elementwise
from jflows.distributions import StandardNormal
from jflows.eval.latent import interpolate, manifold, reconstruct
from tests.presets import filled

jit_interpolate = jax.jit(interpolate, static_argnames=("flow", "num_steps", "mode"))
jit_manifold = jax.jit(manifold, static_argnames=("flow", "num_angles", "turn"))
jit_reconstruct = jax.jit(reconstruct, static_argnames="flow")


def randomised(flow, x, context=None):
    """Variables away from their initial values, where couplings would be the identity."""
    return filled(jax.eval_shape(flow.init, jax.random.key(0), x, context), 0)


@pytest.fixture(scope="module")
def fitted():
    flow = glow((4, 4, 1), num_levels=1, num_steps=2, width=4, num_bits=4)
    x = np.random.default_rng(2).integers(0, 16, (6, 4, 4, 1)).astype(np.uint8)
    return flow, randomised(flow, x), x


@pytest.fixture(scope="module")
def line():
    """The identity on vectors of length 2: its parameters begin at zero."""
    flow = Flow(Elementwise(Affine()), StandardNormal((2,)), (2,))
    return flow, flow.init(jax.random.key(0), jnp.ones((1, 2)))


@pytest.mark.parametrize("mode", ["linear", "spherical"])
def test_paths_begin_and_end_in_the_data(fitted, mode):
    flow, variables, x = fitted
    paths = jit_interpolate(flow, variables, x[:3], x[3:], num_steps=5, mode=mode)
    assert paths.shape == (3, 5, 4, 4, 1) and paths.dtype == jnp.uint8
    np.testing.assert_array_equal(paths[:, 0], x[:3])
    np.testing.assert_array_equal(paths[:, -1], x[3:])
    assert (paths[:, 2] != x[:3]).any() and (paths[:, 2] != x[3:]).any()


def test_linear_path_is_straight_in_latent_space(line):
    paths = interpolate(*line, np.array([[0.0, 4.0]]), np.array([[4.0, 0.0]]), 5)
    np.testing.assert_allclose(paths[0], [[0, 4], [1, 3], [2, 2], [3, 1], [4, 0]], atol=1e-6)


def test_spherical_path_is_an_arc_of_equal_steps(line):
    paths = interpolate(*line, np.array([0.0, 4.0]), np.array([4.0, 0.0]), 4, mode="spherical")
    angles = np.arange(4) * np.pi / 6
    np.testing.assert_allclose(paths, 4 * np.stack([np.sin(angles), np.cos(angles)], axis=-1), atol=1e-6)


@pytest.mark.parametrize("x", [(0.0, 0.0), (3.0, 1.0), (1e-30, 0.0)])
def test_spherical_path_between_equal_events_stays_there(line, x):
    paths = interpolate(*line, jnp.array(x), jnp.array(x), 3, mode="spherical")
    np.testing.assert_allclose(paths, [x] * 3, atol=1e-6)


@pytest.mark.parametrize(("turn", "num", "places"), [("circle", 8, (0, 2)), ("quarter", 3, (0, 2))])
def test_manifold_passes_through_its_four_images(fitted, turn, num, places):
    flow, variables, x = fitted
    grid = jit_manifold(flow, variables, x[:4], num_angles=num, turn=turn)
    assert grid.shape == (num, num, 4, 4, 1) and grid.dtype == jnp.uint8
    corners = [grid[a, b] for a in places for b in places]
    np.testing.assert_array_equal(corners, x[:4])
    assert all((grid[1, 1] != corner).any() for corner in x[:4])


def test_manifold_follows_its_formula(line):
    corners = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [-1.0, 4.0]])
    grid = manifold(*line, jnp.stack([corners, -corners]), 3)
    for a, b in ((0, 1), (1, 2), (2, 2)):
        (ca, sa), (cb, sb) = ((np.cos(2 * np.pi * k / 3), np.sin(2 * np.pi * k / 3)) for k in (a, b))
        point = ca * (cb * corners[0] + sb * corners[1]) + sa * (cb * corners[2] + sb * corners[3])
        np.testing.assert_allclose(grid[:, a, b], [point, -point], atol=1e-6)


@pytest.mark.slow
def test_labels_go_with_their_pair():
    flow = glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_classes=3)
    x = np.random.default_rng(3).integers(0, 256, (4, 4, 4, 1)).astype(np.uint8)
    label = np.array([0, 1, 2, 1])
    variables = randomised(flow, x, label)
    paths = jit_interpolate(flow, variables, x[:2], x[2:], num_steps=3, context=label[:2])
    np.testing.assert_array_equal(paths[:, 0], x[:2])
    np.testing.assert_array_equal(paths[:, 2], x[2:])
    other = jit_interpolate(flow, variables, x[:2], x[2:], num_steps=3, context=label[1:3])
    assert (other[:, 1] != paths[:, 1]).any()
    one = jnp.full(4, 2)
    surface = jit_manifold(flow, variables, jnp.stack([x, x]), num_angles=2, turn="quarter", context=one[:2])
    np.testing.assert_array_equal(surface[1].reshape(x.shape), x)
    other = jit_manifold(flow, variables, jnp.stack([x, x]), num_angles=3, turn="quarter", context=label[:2])
    assert (other[0, 1, 1] != other[1, 1, 1]).any()
    rebuilt, error = jit_reconstruct(flow, variables, x, label)
    assert rebuilt.shape == x.shape and error.max() < 1e-3


def test_reconstruct_returns_the_data_and_its_error(fitted):
    flow, variables, x = fitted
    rebuilt, error = jit_reconstruct(flow, variables, x)
    assert rebuilt.shape == error.shape == x.shape
    np.testing.assert_allclose(rebuilt, x, atol=1e-4)
    np.testing.assert_allclose(error, np.abs(np.asarray(rebuilt) - np.asarray(x, float)), atol=1e-6)
    broken = {**variables, "params": jax.tree.map(lambda leaf: leaf * jnp.nan, variables["params"])}
    assert np.isnan(jit_reconstruct(flow, broken, x)[1]).any()  # a failure shows


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_steps": 1}, "`num_steps` must be at least 2; got 1"),
        ({"mode": "cubic"}, "`mode` must be one of 'linear', 'spherical'; got 'cubic'"),
        ({"x_b": np.zeros((2, 4, 4, 1), np.uint8)}, r"must have one shape; got shapes \(6, 4, 4, 1\) and \(2, "),
    ],
)
def test_errors(fitted, settings, match):
    flow, variables, x = fitted
    with pytest.raises(InvalidValueError, match=match):
        interpolate(flow, variables, **{"x_a": x, "x_b": x, **settings})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_angles": 1}, "`num_angles` must be at least 2; got 1"),
        ({"turn": "half"}, "`turn` must be one of 'circle', 'quarter'; got 'half'"),
        ({"corners": np.zeros((3, 4, 4, 1), np.uint8)}, r"must be \[\*batch, 4, \*event_shape\]; got shape \(3, "),
        ({"corners": np.zeros((4, 4, 1), np.uint8)}, r"must be \[\*batch, 4, \*event_shape\]; got shape \(4, 4, 1\)"),
    ],
)
def test_errors_of_manifold(fitted, settings, match):
    flow, variables, x = fitted
    with pytest.raises(InvalidValueError, match=match):
        manifold(flow, variables, **{"corners": x[:4], **settings})
