"""`jit_once` changes how a program is compiled, and not what it gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jflows
from jflows.flows import once


@once.jit_once(static_argnames=("power",))
def powers(power, x):
    return jnp.sin(x) ** power


def test_it_may_be_called_anywhere():
    x = jnp.arange(3.0)
    for run in (powers, jax.jit(powers, static_argnums=0)):
        np.testing.assert_allclose(run(2, x), np.sin(x) ** 2, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(functools.partial(powers, 3))(x[:, None])[:, 0], np.sin(x) ** 3, rtol=1e-12)
    assert jax.eval_shape(lambda: powers(2, x)).shape == (3,)


def test_the_options_are_taken(monkeypatch):
    seen = []
    compiled = jax.jit
    monkeypatch.setattr(once.jax, "jit", lambda f, **options: seen.append(options) or compiled(f, **options))
    once.jit_once(static_argnames=("power",))(lambda power, x: x)
    assert [options.get("compiler_options") for options in seen] == [None, once.QUICK]


def test_an_initialisation_is_that_of_the_compiled_program():
    flow = jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4)
    x = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1)).astype(np.uint8)
    alone, inside = flow.init(jax.random.key(0), x), jax.jit(flow.init)(jax.random.key(0), x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, inside)
