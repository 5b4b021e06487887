"""The block neural autoregressive network against one written out by hand."""

import functools
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops.block_autoregressive import (
    MAX_LOG_WEIGHT,
    MIN_GATE,
    block_autoregressive,
    block_autoregressive_inverse,
    block_layer,
    log_shares,
)

SIZES = (1, 2, 3, 1)


def make_layers(dim=2, seed=0):
    random = np.random.default_rng(seed)
    draw = lambda *shape: jax.device_put(random.standard_normal(shape))
    return [block_layer(draw(dim, o, dim, i), draw(dim, o), draw(dim, o)) for i, o in pairwise(SIZES)]


def test_weights_by_hand():
    raw, norm = np.random.default_rng(0).standard_normal((2, 1, 2, 2)), np.asarray([[0.3], [-0.2]])
    layer = jax.jit(block_layer)(raw, norm, np.zeros((2, 1)))
    bounded = lambda v: MAX_LOG_WEIGHT * np.tanh(np.asarray(v) / MAX_LOG_WEIGHT)
    rows = np.zeros((2, 4))
    rows[0, :2] = np.exp(bounded(raw[0, 0, 0]))
    rows[1] = [*raw[1, 0, 0], *np.exp(bounded(raw[1, 0, 1]))]
    rows *= np.exp(bounded(norm)) / np.linalg.norm(rows, axis=1, keepdims=True)
    got = np.array(layer.lower).reshape(2, 4)
    got[0, :2] += np.exp(layer.log_diagonal[0, 0])
    got[1, 2:] += np.exp(layer.log_diagonal[1, 0])
    np.testing.assert_allclose(got, rows, rtol=1e-12)


@pytest.mark.parametrize("residual", ["none", "add", "gate"])
def test_the_network_is_a_masked_one(residual):
    layers, x = make_layers(), np.array([[0.3, -1.2], [20.0, 0.0], [-30.0, 30.0]])
    shares = log_shares(residual, jnp.asarray(0.4) if residual == "gate" else None)
    z, log_slope = jax.jit(block_autoregressive)(x, layers, shares)

    def dense(x):
        hidden = x
        for k, (layer, fan_out) in enumerate(zip(layers, SIZES[1:], strict=True)):
            full = layer.lower.at[jnp.arange(2), :, jnp.arange(2)].set(jnp.exp(layer.log_diagonal))
            hidden = full.reshape(2 * fan_out, -1) @ (jnp.tanh(hidden) if k else hidden) + layer.bias.ravel()
        share = MIN_GATE + (1 - MIN_GATE) / (1 + np.exp(-0.4))
        return {"none": hidden, "add": x + hidden, "gate": share * x + (1 - share) * hidden}[residual]

    wanted, jacobian = jax.jit(jax.vmap(lambda x: (dense(x), jax.jacrev(dense)(x))))(x)
    np.testing.assert_allclose(z, wanted, rtol=1e-10)
    assert not np.any(jacobian[:, 0, 1])
    # Where tanh is flat to the last digit, its derivative is 0 to autodiff; the log keeps it.
    ordinary = log_slope[:1] if residual == "none" else log_slope
    wanted = np.log(np.diagonal(jacobian, axis1=1, axis2=2))[: len(ordinary)]
    np.testing.assert_allclose(ordinary, wanted, rtol=1e-9, atol=1e-12)
    assert np.isfinite(log_slope).all()


@pytest.mark.slow
def test_the_inverse_and_its_jacobian_in_forward_mode():
    layers, x = make_layers(3, 1), np.array([0.3, -1.2, 2.0])
    arguments = (layers, log_shares("gate", jnp.asarray(-1.0)))
    forward = lambda x: block_autoregressive(x, *arguments)[0]
    inverse = lambda z: block_autoregressive_inverse(z, *arguments)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(x):
        z = forward(x)
        return inverse(z), jax.jacrev(forward)(x), jax.jacfwd(inverse)(z)

    back, jacobian, found = run(x)
    np.testing.assert_allclose(back, x, atol=1e-11)
    np.testing.assert_allclose(found, np.linalg.inv(jacobian), rtol=1e-9, atol=1e-11)


def test_what_the_bare_network_does_not_reach_has_no_inverse():
    z, layers = np.array([[1e3, 0.0], [-1e3, 0.0]]), make_layers()
    found = jax.jit(block_autoregressive_inverse)(z, layers, log_shares("none", None))
    assert not np.isfinite(found[:, 0]).any()
