"""Conditioners: shapes, what they start as, context, and their messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import nn as networks
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import MLP, ClassEmbed, ConvNet, ZeroConv

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
CASES = [(MLP((8,)), (5,)), (ConvNet(4), (4, 4, 2)), (ConvNet(4, norm="bias"), (4, 4, 2)), (ZeroConv(), (4, 4, 2))]


@pytest.mark.parametrize("with_context", [False, True])
@pytest.mark.parametrize(("network", "shape"), CASES, ids=lambda value: type(value).__name__)
def test_starts_at_zero_and_keeps_batch_axes_and_dtype(network, shape, with_context):
    x = jax.random.normal(KEY, (2, 3, *shape), jnp.float32)
    context = jnp.ones((2, 3, 2)) if with_context else None
    y, variables = jax.jit(network.init_with_output, static_argnums=2)(KEY, x, 6, context)
    assert y.shape == (2, 3, *shape[:-1], 6)
    assert y.dtype == jnp.float32
    assert not np.any(y)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


def test_convnet_whitens_its_hidden_layers_on_the_first_batch():
    x = 5 + 3 * jax.random.normal(KEY, (8, 4, 4, 2))
    network = ConvNet(4)
    params = jax.jit(network.init, static_argnums=2)(KEY, x, 2)["params"]
    first = networks.convnet.conv2d(x, params["conv_in_kernel"])
    first = (first + params["conv_in_shift"]) * jnp.exp(params["conv_in_log_scale"])
    np.testing.assert_allclose(np.mean(first, axis=(0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(np.std(first, axis=(0, 1, 2)), 1, atol=1e-9)


def test_zero_conv_multiplies_by_the_learned_scale():
    x = jax.random.normal(KEY, (2, 4, 4, 1))
    params = {"kernel": jnp.zeros((3, 3, 1, 2)).at[1, 1].set(1.0), "bias": jnp.ones(2), "log_scale": jnp.full(2, 0.5)}
    y = ZeroConv().apply({"params": params}, x, 2)
    np.testing.assert_allclose(y[..., 1], (x[..., 0] + 1) * np.exp(1.5), rtol=1e-12)


def test_activations_by_name():
    x = jnp.array([-1.0, 0.0, 2.0])
    assert networks.ACTIVATIONS["relu"](x).tolist() == [0, 0, 2]
    assert all(np.isfinite(function(x)).all() for function in networks.ACTIVATIONS.values())


def test_labels_become_one_hot_vectors():
    embed = ClassEmbed(3)
    np.testing.assert_array_equal(embed.apply({}, jnp.array([0, 2, 7])), [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    with pytest.raises(InvalidTypeError, match="ClassEmbed: `context` must hold integer class labels; got float"):
        embed.apply({}, jnp.array([0.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(()), r"MLP: `hidden_sizes` must hold at least one positive size; got \(\)"),
        (lambda: MLP((4, 0)), r"MLP: `hidden_sizes` must hold at least one positive size; got \(4, 0\)"),
        (lambda: MLP((4,), "swish"), "MLP: `activation` must be one of 'elu', .*; got 'swish'"),
        (lambda: ConvNet(0), "ConvNet: `width` must be positive; got 0"),
        (lambda: ConvNet(4, norm="batch"), "ConvNet: `norm` must be one of 'actnorm', 'bias'; got 'batch'"),
        (lambda: ConvNet(4, activation="x"), "ConvNet: `activation` must be one of 'elu', .*; got 'x'"),
        (lambda: ClassEmbed(1), "ClassEmbed: `num_classes` must be at least 2; got 1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()
