"""`stored`, `as_computed` and gradients of `product` change no number, and are computed otherwise on a CPU alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops.numerics import product
from jflows.ops.primitives import as_computed, stored


@pytest.mark.parametrize("same", [stored, as_computed])
def test_it_is_the_identity_in_all_transformations(same):
    x = jnp.array([0.5, -jnp.inf, jnp.nan, 3e-300])
    for run in (same, jax.jit(same), jax.vmap(same), jax.vmap(jax.jit(same))):
        np.testing.assert_array_equal(run(x), x)
    bent = lambda x: jnp.sum(same(x) ** 3)
    y = jnp.arange(1.0, 4.0)
    np.testing.assert_allclose(jax.grad(bent)(y), 3 * y**2, rtol=1e-15)
    np.testing.assert_allclose(jax.hessian(bent)(y), np.diag(6 * y), rtol=1e-15)
    np.testing.assert_allclose(jax.jvp(bent, (y,), (jnp.ones(3),))[1], np.sum(3 * y**2), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_types_are_kept(dtype):
    x = jnp.linspace(-3, 3, 7, dtype=dtype)
    assert jax.jit(stored)(x).dtype == x.dtype and bool(jnp.all(jax.jit(stored)(x) == x))


def test_it_is_a_barrier_on_a_cpu_and_nothing_elsewhere():
    run = jax.jit(as_computed).trace(jnp.ones(3))
    found = [run.lower(lowering_platforms=(name,)).as_text().count("barrier") for name in ("cpu", "cuda", "tpu")]
    assert found[0] > 0 and found[1:] == [0, 0]


def test_it_is_a_sum_on_a_cpu_and_nothing_elsewhere():
    reduces = {}
    for platform in ("cpu", "cuda", "tpu"):
        text = jax.jit(stored).trace(jnp.ones(3)).lower(lowering_platforms=(platform,)).as_text()
        reduces[platform] = "reduce" in text
    assert reduces == {"cpu": True, "cuda": False, "tpu": False}


SIZES = [(3, 5), (5, 3), (4, 4), (6, 2), (2, 6)]


@pytest.mark.parametrize(("num_in", "num_out"), SIZES)
@pytest.mark.parametrize("batch", [(), (7,), (2, 7)])
def test_a_product_has_the_derivatives_of_a_product(num_in, num_out, batch):
    draw = lambda seed, *shape: np.random.default_rng(seed).normal(size=shape)
    x, kernel = draw(0, *batch, num_in), draw(1, num_in, num_out)
    tangents = (draw(2, *batch, num_in), draw(3, num_in, num_out))
    ours, plain = (lambda x, w: product(x, w, "full")), (lambda x, w: x @ w)

    def transformed(f):
        return {
            "value": f(x, kernel),
            "jvp": jax.jvp(f, (x, kernel), tangents),
            "gradient": jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), (0, 1))(x, kernel),
            "hessian": jax.hessian(lambda w: jnp.sum(f(x, w) ** 3))(kernel),
            "many kernels": jax.vmap(f, (None, 0))(x, jnp.stack([kernel, 2 * kernel])),
            "gradients": jax.vmap(jax.grad(lambda w, x: jnp.sum(f(x, w) ** 2)), (None, 0))(kernel, x[None]),
            "gradients of many": jax.vmap(jax.grad(lambda w: jnp.sum(f(x, w) ** 2)))(jnp.stack([kernel, kernel])),
            "gradient of many": jax.grad(lambda w: jnp.sum(jax.vmap(f, (None, 0))(x, w) ** 2))(kernel[None]),
            "rematerialised": jax.grad(jax.checkpoint(lambda w: jnp.sum(f(x, w) ** 2)))(kernel),
        }

    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    jax.tree.map(close, *(jax.jit(transformed, static_argnums=0)(f) for f in (ours, plain)))


@pytest.mark.parametrize(("num_in", "num_out"), SIZES)
def test_on_a_cpu_the_gradient_of_a_kernel_is_a_product_with_the_narrower_factor_first(num_in, num_out):
    slope = jax.grad(lambda kernel, x: jnp.sum(jnp.tanh(product(x, kernel, "full"))))
    kernel, x = jnp.ones((num_in, num_out)), jnp.ones((7, num_in))
    compiled = jax.jit(slope).lower(kernel, x).compile().as_text()
    first, second = sorted((num_in, num_out))
    assert f"f64[{first},{second}]" in next(
        line for line in compiled.splitlines() if "contracting_dims={0}, rhs" in line
    )
    elsewhere = jax.jit(slope).trace(kernel, x).lower(lowering_platforms=("cuda",)).as_text()
    assert "optimization_barrier" not in elsewhere
