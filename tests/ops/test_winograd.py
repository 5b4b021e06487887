"""Winograd's convolution: its matrices, when it is taken, and how exact it is in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops import winograd
from jflows.ops.conv import conv2d


def test_the_matrices_correlate():
    rng = np.random.default_rng(0)
    kernel, seen = rng.normal(size=winograd.KERNEL), rng.normal(size=winograd.SEEN)
    want = [kernel @ seen[i : i + winograd.KERNEL] for i in range(winograd.TILE)]
    np.testing.assert_allclose(winograd.A.T @ ((winograd.G @ kernel) * (winograd.B.T @ seen)), want, rtol=1e-12)


@pytest.mark.parametrize(
    "shape, c_out, dtype, taken",
    [
        ((2, 8, 8, 12), 12, "float32", True),
        ((8, 8, 12), 12, "float64", True),
        ((2, 7, 7, 12), 12, "float32", True),  # tiles overhang by one pixel
        ((2, 5, 5, 12), 12, "float32", False),  # they overhang by three
        ((2, 8, 8, 11), 64, "float32", False),
        ((2, 8, 8, 64), 11, "float32", False),
        ((2, 8, 8, 12), 12, "bfloat16", False),
        ((2, 8, 8, 12), 12, "int32", False),
    ],
)
def test_when_it_is_taken(shape, c_out, dtype, taken):
    with jax.enable_x64(True):
        assert winograd.pays(jnp.zeros(shape, dtype), 3, c_out) is taken
        assert not winograd.pays(jnp.zeros(shape, dtype), 5, c_out)


@pytest.mark.parametrize("size", [(16, 16), (14, 7)])
def test_float32_keeps_five_digits(size):
    """Root mean square errors are at most 2e-6 of the deviation of what they are errors of."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((4, *size, 32), (3, 3, 32, 32), (4, *size, 32))]

    def all_three(x, kernel, dy, mode):
        y, vjp = jax.vjp(lambda x, kernel: conv2d(x, kernel, mode=mode), x, kernel)
        return y, *vjp(dy)

    with jax.enable_x64(True):
        want = jax.jit(all_three, static_argnums=3)(*arrays, "lax")
        got = jax.jit(all_three, static_argnums=3)(*(jnp.asarray(a, jnp.float32) for a in arrays), "matrix")
    for a, b in zip(got, want, strict=True):
        assert a.dtype == jnp.float32 and np.std(a - np.asarray(b)) < 2e-6 * np.std(b)
