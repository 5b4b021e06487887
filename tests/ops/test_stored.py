"""`stored` changes no number on any platform, and is a reduction on a CPU alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops.primitives import stored


def test_it_is_the_identity_in_all_transformations():
    x = jnp.array([0.5, -jnp.inf, jnp.nan, 3e-300])
    for run in (stored, jax.jit(stored), jax.vmap(stored), jax.vmap(jax.jit(stored))):
        np.testing.assert_array_equal(run(x), x)
    bent = lambda x: jnp.sum(stored(x) ** 3)
    y = jnp.arange(1.0, 4.0)
    np.testing.assert_allclose(jax.grad(bent)(y), 3 * y**2, rtol=1e-15)
    np.testing.assert_allclose(jax.hessian(bent)(y), np.diag(6 * y), rtol=1e-15)
    np.testing.assert_allclose(jax.jvp(bent, (y,), (jnp.ones(3),))[1], np.sum(3 * y**2), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_types_are_kept(dtype):
    x = jnp.linspace(-3, 3, 7, dtype=dtype)
    assert jax.jit(stored)(x).dtype == x.dtype and bool(jnp.all(jax.jit(stored)(x) == x))


def test_it_is_a_sum_on_a_cpu_and_nothing_elsewhere():
    reduces = {}
    for platform in ("cpu", "cuda", "tpu"):
        text = jax.jit(stored).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()
        reduces[platform] = "reduce" in text
    assert reduces == {"cpu": True, "cuda": False, "tpu": False}
