"""Squeeze and the Haar wavelet: where every number goes."""

import jax.numpy as jnp
import numpy as np

from jflows import ops


def test_squeeze_orders_channels_as_the_published_code_of_glow():
    x = jnp.arange(16.0).reshape(4, 4, 1)
    np.testing.assert_array_equal(ops.squeeze(x, 2)[0, 1], [2, 3, 6, 7])
    two = jnp.concatenate([x, 100 + x], axis=-1)
    np.testing.assert_array_equal(ops.squeeze(two, 2)[0, 0], [0, 1, 4, 5, 100, 101, 104, 105])
    np.testing.assert_array_equal(ops.unsqueeze(ops.squeeze(two, 2), 2), two)


def test_squeeze_orders_channels_as_the_published_code_of_realnvp():
    x = jnp.arange(16.0).reshape(4, 4, 1)
    two = jnp.concatenate([x, 100 + x], axis=-1)
    squeezed = ops.squeeze(two, 2, "realnvp")
    np.testing.assert_array_equal(squeezed[0, 1], [2, 102, 7, 107, 3, 103, 6, 106])
    np.testing.assert_array_equal(ops.unsqueeze(squeezed, 2, "realnvp"), two)
    # The first half of the channels is what a checkerboard leaves: pixels of even row + column.
    kept = ~ops.make_mask("checkerboard", (4, 4, 2))
    assert set(np.asarray(squeezed[..., :4]).ravel()) == set(np.asarray(two)[kept])


def test_haar_gives_averages_and_differences_of_blocks():
    x = np.zeros((4, 4, 2))
    x[2:, 2:] = np.array([[1.0, 2.0], [4.0, 8.0]])[..., None] * np.array([1.0, 10.0])
    z = ops.haar(x)
    assert z.shape == (2, 2, 8)
    np.testing.assert_array_equal(z[1, 1], [7.5, 75, -2.5, -25, -4.5, -45, 1.5, 15])
    np.testing.assert_array_equal(z[0], 0)
    np.testing.assert_array_equal(ops.inverse_haar(z), x)


def test_haar_is_orthonormal():
    matrix = ops.haar(jnp.eye(16).reshape(16, 4, 4, 1)).reshape(16, 16)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-15)
