"""The Lipschitz bound of the networks at large random parameters, and the messages of all networks of this kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import nn as networks
from jflows.errors import InvalidValueError
from jflows.testing.common import perturb

KEY = jax.random.key(0)
# Arrays are tiny here: nearly all of the time would go into optimising the machine code.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def jacobian_norms(network, event_shape, context=None):
    x = 2 * jax.device_put(np.random.default_rng(0).standard_normal((64, *event_shape)))
    context = None if context is None else jnp.ones((64, context))
    init = fast_jit(network.init, static_argnums=2)
    variables = perturb(init(KEY, x, event_shape[-1], context), 0, 3.0)

    def one(x, context):
        return network.apply(variables, x, x.shape[-1], context)

    size = int(np.prod(event_shape))
    jacobians = fast_jit(jax.vmap(jax.jacrev(one)))(x, context).reshape(64, size, size)
    return np.linalg.norm(jacobians, 2, axis=(1, 2))


@pytest.mark.parametrize("activation", ["lipswish", "elu"])
def test_mlp_is_a_contraction(activation):
    norms = jacobian_norms(networks.LipschitzMLP((8, 8), coefficient=0.9, activation=activation), (3,), context=2)
    assert 0.005 < np.max(norms) < 0.9


@pytest.mark.parametrize("activation", networks.LIPSCHITZ_ACTIVATIONS)
def test_the_bound_is_reached(activation):
    """By equal axes through every layer: it is not bought by shrinking."""
    network = networks.LipschitzMLP((2, 2), coefficient=0.9, activation=activation)
    variables = fast_jit(network.init, static_argnums=2)(KEY, jnp.ones(2), 2)
    variables = jax.tree.map(lambda leaf: 100 * jnp.eye(2) if leaf.ndim == 2 else leaf, variables)
    x = jnp.linspace(-20, 20, 161)[:, None] * jnp.ones(2)
    jacobians = fast_jit(jax.vmap(jax.jacrev(lambda v: network.apply(variables, v, 2))))(x)
    norms = np.linalg.norm(jacobians, 2, axis=(1, 2))
    assert 0.95 * 0.9 < np.max(norms) <= 0.9 * (1 + 1e-12)


def test_convnet_is_a_contraction():
    norms = jacobian_norms(networks.LipschitzConvNet(6, coefficient=0.9), (4, 3, 2), context=2)
    assert 0.05 < np.max(norms) < 0.9


@pytest.mark.parametrize(
    ("make", "shape"),
    [(functools.partial(networks.LipschitzMLP, (4,)), (3,)), (networks.LipschitzConvNet, (2, 2, 2))],
    ids=["dense", "convolutions"],
)
@pytest.mark.by_default("dense")
def test_power_iteration_is_for_training_alone(make, shape, monkeypatch):
    """Elsewhere the map is that of exact norms; in training it nearly is, and the vectors move."""
    monkeypatch.setattr(networks.lipschitz, "POWER_STEPS", 1)  # of the usual number, a small kernel needs no more
    power, exact = make(norms="power", preactivation=True), make(preactivation=True)
    x = jax.device_put(np.random.default_rng(0).standard_normal((5, *shape)))
    variables = perturb(fast_jit(power.init, static_argnums=2)(KEY, x, shape[-1]), 0, 1.0)
    stale = {
        "params": variables["params"],
        "singular_vectors": jax.tree.map(jnp.ones_like, variables["singular_vectors"]),
    }
    wanted = exact.apply({"params": variables["params"]}, x, shape[-1])
    np.testing.assert_array_equal(power.apply(stale, x, shape[-1]), wanted)

    @fast_jit
    def train(variables):
        y, updates = power.apply(variables, x, shape[-1], mutable=["singular_vectors"])
        return y, {**variables, **updates}

    first, moved = train(stale)
    assert np.max(np.abs(first - wanted)) > 1e-4 * np.max(np.abs(wanted))
    for _ in range(300):
        last, moved = train(moved)
    np.testing.assert_allclose(last, wanted, rtol=1e-6)


def test_lipswish_has_slope_one_at_most():
    swish = networks.lipschitz.LipSwish()
    x = jnp.linspace(-100, 100, 20001)
    for sharpness in (-3.0, 0.5, 4.0):
        slope = jax.vmap(jax.grad(lambda v, s=sharpness: swish.apply({"params": {"sharpness": s}}, v)))(x)
        assert 0.99 < np.max(np.abs(slope)) <= 1


def test_networks_start_at_zero():
    x = jnp.ones((2, 3))
    mlp = networks.LipschitzMLP((4,))
    np.testing.assert_array_equal(mlp.apply(mlp.init(KEY, x, 3), x, 3), 0)
    field = networks.TimeMLP((4,))
    np.testing.assert_array_equal(field.apply(field.init(KEY, 0.5, x), 0.5, x), 0)


def test_time_is_one_number_or_one_per_example():
    x, context = jax.device_put(np.random.default_rng(0).standard_normal((5, 3))), jnp.ones((5, 2))
    field = networks.TimeMLP((4,))
    variables = perturb(field.init(KEY, 0.5, x, context), 0, 0.5)
    together = field.apply(variables, jnp.linspace(0, 1, 5), x, context)
    alone = [field.apply(variables, t, x[i], context[i]) for i, t in enumerate(np.linspace(0, 1, 5))]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.LipschitzMLP(()), r"LipschitzMLP: `hidden_sizes` must hold at least 1 entry"),
        (lambda: networks.LipschitzMLP(coefficient=1.0), r"`coefficient` must lie in \(0, 1\); got 1.0"),
        (lambda: networks.LipschitzMLP(activation="gelu"), "`activation` must be one of 'lipswish', .*; got 'gelu'"),
        (lambda: networks.LipschitzMLP(norms="svd"), "`norms` must be one of 'exact', 'power'; got 'svd'"),
        (lambda: networks.LipschitzConvNet(0), "LipschitzConvNet: `width` must be at least 1; got 0"),
        (
            lambda: networks.LipschitzConvNet(kernel_size=2),
            "LipschitzConvNet: `kernel_size` must be odd and at least 1; got 2",
        ),
        (lambda: networks.LipschitzConvNet(coefficient=0.0), r"`coefficient` must lie in \(0, 1\); got 0.0"),
        (lambda: networks.TimeMLP(()), "TimeMLP: `hidden_sizes` must hold at least 1 entry"),
        (lambda: networks.TimeMLP(activation="step"), "TimeMLP: `activation` must be one of .* got 'step'"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()
