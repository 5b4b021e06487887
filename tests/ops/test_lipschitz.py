"""Norm bounds of kernels against the singular values of the matrices that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.errors import InvalidValueError
from jflows.ops.conv import conv2d
from jflows.ops.lipschitz import bounded_kernel, power_iteration, singular_vectors, squared_norm_bound, vectors_shape

RANDOM = np.random.default_rng(0)


def kernel(*shape):
    return jax.device_put(RANDOM.standard_normal(shape))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (1, 1, 4, 3)])
def test_a_matrix_has_its_largest_singular_value(shape):
    matrix = kernel(*shape)
    wanted = np.linalg.norm(matrix.reshape(shape[-2:]), 2)
    np.testing.assert_allclose(squared_norm_bound(matrix), wanted**2, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3, 2, 3), (3, 3, 3, 1), (5, 5, 1, 2)])
@pytest.mark.by_default("shape0")
def test_a_convolution_is_bounded_closely(shape):
    weights = kernel(*shape)
    bound = np.sqrt(squared_norm_bound(weights))
    image = (6, 5, shape[2])
    operator = jax.jacrev(lambda x: conv2d(x, weights).ravel())(jnp.zeros(image)).reshape(-1, int(np.prod(image)))
    assert np.linalg.norm(operator, 2) <= bound
    responses = np.fft.fft2(weights, s=(101, 103), axes=(0, 1))  # finer, and at other frequencies
    densely = np.max(np.linalg.norm(responses, 2, axis=(-2, -1)))
    assert densely <= bound <= 1.05 * densely


def test_the_norm_of_a_large_image_comes_near_the_bound():
    box = jnp.ones((3, 3, 1, 1)) / 9
    operator = jax.jacrev(lambda x: conv2d(x, box).ravel())(jnp.zeros((14, 14, 1))).reshape(196, 196)
    assert 0.9 < np.linalg.norm(operator, 2) <= np.sqrt(squared_norm_bound(box)) < 1.04


@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 2, 2)])
@pytest.mark.by_default("shape0")
def test_kernels_are_scaled_down_only(shape):
    weights = kernel(*shape)
    norm = float(np.sqrt(squared_norm_bound(weights)))
    np.testing.assert_allclose(bounded_kernel(weights, 0.5), weights * 0.5 / norm, rtol=1e-12)
    np.testing.assert_array_equal(bounded_kernel(weights, 2 * norm), weights)
    direction = kernel(*shape)
    slope = jax.jvp(lambda w: bounded_kernel(w, 0.5), (weights,), (direction,))[1]
    step = 1e-6
    difference = bounded_kernel(weights + step * direction, 0.5) - bounded_kernel(weights - step * direction, 0.5)
    np.testing.assert_allclose(slope, difference / (2 * step), atol=1e-7)
    at_zero = jax.grad(lambda w: jnp.sum(bounded_kernel(w, 0.5)))(jnp.zeros(shape))
    np.testing.assert_array_equal(at_zero, 1)  # a layer that starts at zero learns


@pytest.mark.parametrize("shape", [(4, 3), (1, 1, 3, 4), (3, 3, 2, 3), (3, 3, 3, 1), (5, 5, 1, 2)])
@pytest.mark.by_default("shape2")
def test_power_iteration_reaches_the_norm_from_below(shape):
    weights = kernel(*shape)
    estimate = jax.jit(power_iteration, static_argnums=2)
    vectors = singular_vectors(jax.random.key(0), weights, 1)
    assert vectors.shape == vectors_shape(shape)
    bound, first = squared_norm_bound(weights), estimate(weights, vectors, 0)[0]
    reached, vectors = estimate(weights, vectors, 300)
    assert first <= reached <= bound * (1 + 1e-12)
    assert first < reached or min(shape[-2:]) == 1  # where a single number has no direction to find
    np.testing.assert_allclose(reached, bound, rtol=1e-9)
    np.testing.assert_allclose(estimate(weights, vectors, 0)[0], reached, rtol=1e-12)  # they are its state
    slopes = [jax.grad(lambda w: power_iteration(w, vectors, 0)[0])(weights), jax.grad(squared_norm_bound)(weights)]
    np.testing.assert_allclose(*slopes, atol=1e-4 * np.max(np.abs(slopes[1])))


def test_vectors_of_a_kernel_of_zeros_stay():
    zeros = jnp.zeros((3, 3, 1, 2))
    vectors = singular_vectors(jax.random.key(0), zeros, 5)
    estimate, after = power_iteration(zeros, vectors, 5)
    np.testing.assert_array_equal(after, vectors)
    assert estimate == 0 and np.all(np.abs(np.sum(vectors**2, axis=-1) - 1) < 1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 5, 1, 1), (2, 2, 1, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(
        InvalidValueError, match=r"`kernel` must be \[in, out\] or \[k, k, in, out\] with k odd; got sha"
    ):
        squared_norm_bound(jnp.ones(shape))
