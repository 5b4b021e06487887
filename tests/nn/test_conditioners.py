"""Conditioners: shapes, what they start as, context, and their messages."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jflows
from jflows import nn as networks
from jflows.bijectors import Affine, Coupling
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import (
    MADE,
    MLP,
    ClassEmbed,
    ContextEmbed,
    ConvNet,
    GatedConvNet,
    ResidualConvNet,
    ResidualMLP,
    Transformer,
    WaveNet,
    WeightNormConv,
    ZeroConv,
)
from jflows.nn.layer_norm import LayerNorm
from jflows.ops import conv2d

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling them is all that they cost
CASES = [
    (MLP((8,)), (5,)),
    (ResidualMLP(8, 1, gated=True), (5,)),
    (MADE((8, 8), residual=True, order="random"), (3,)),
    (ConvNet(4), (4, 4, 2)),
    (ZeroConv(), (4, 4, 2)),
    (ResidualConvNet(4, 1), (4, 4, 2)),
    (GatedConvNet(4, 1, 2), (4, 4, 2)),
    (Transformer(4, 1, 2, event_ndims=3, patch_size=2), (4, 4, 2)),
    (WaveNet(4, 2), (1, 4, 2)),
]
VARIANTS = [
    (ResidualMLP(8, 1), (5,)),
    (MADE((8, 8)), (3,)),
    (ConvNet(4, norm="bias"), (4, 4, 2)),
    (GatedConvNet(4, 1, 0), (4, 4, 2)),
    (Transformer(4, 1, 2), (3, 2)),
    (Transformer(4, 1, 2, event_ndims=1), (3,)),
    (Transformer(4, 1, 2, event_ndims=1, causal=True), (3,)),
]
SLOW = [pytest.param(*variant, marks=pytest.mark.slow) for variant in VARIANTS]
named = {"argnames": ("network", "shape"), "ids": lambda value: type(value).__name__}


def test_every_exported_conditioner_has_a_case():
    classes = [value for name in networks.__all__ if isinstance(value := getattr(networks, name), type)]
    conditioners = {cls for cls in classes if "num_features" in inspect.signature(cls.__call__).parameters}
    contractions = {networks.LipschitzMLP, networks.LipschitzConvNet}  # they must not start at zero: test_lipschitz.py
    others = contractions | {networks.Gated, networks.ConvClassifier}  # the last gives one vector: test_classifier.py
    assert conditioners - others == {type(network) for network, _ in CASES}


@pytest.mark.parametrize(**named, argvalues=CASES + SLOW)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_keeps_batch_axes_and_dtype_without_context(network, shape, dtype):
    x = jax.ShapeDtypeStruct((2, 3, *shape), dtype)
    y, variables = jax.eval_shape(lambda x: network.init_with_output(KEY, x, 6), x)
    assert (y.shape, y.dtype) == ((2, 3, *shape[:-1], 6), dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(dtype)}


@pytest.mark.parametrize(**named, argvalues=CASES)
def test_starts_at_zero_and_learns_from_every_parameter_and_the_context(network, shape):
    x = np.random.default_rng(0).normal(size=(2, 3, *shape)).astype(np.float32)
    context = np.ones((2, 3, 2))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def measure(x, context):
        start, variables = network.init_with_output(KEY, x, 6, context)
        moved = jax.tree.map(
            lambda a: a + 0.3 * jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), variables
        )

        def loss(variables, context):
            y = network.apply(variables, x, 6, context)
            return jnp.sum(y**2), y

        gradients, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(moved, context)
        return start, y, gradients

    start, y, (gradients, of_context) = jax.device_get(measure(x, context))
    assert start.shape == y.shape == (2, 3, *shape[:-1], 6)
    assert start.dtype == y.dtype == jnp.float32
    assert not np.any(start)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {np.dtype("float32")}
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient), path
    assert np.all(np.any(of_context, axis=-1))


@pytest.mark.parametrize(**named, argvalues=CASES + SLOW)
def test_survives_json(network, shape):
    assert jflows.from_spec(jflows.to_spec(network)) == network


def test_convnet_whitens_its_hidden_layers_on_the_first_batch():
    x = 5 + 3 * np.random.default_rng(0).normal(size=(8, 4, 4, 2))
    network = ConvNet(4)
    params = jax.device_get(jax.jit(network.init, static_argnums=2)(KEY, x, 2)["params"])
    first = np.asarray(conv2d(x, params["conv_in_kernel"]))
    first = (first + params["conv_in_shift"]) * np.exp(params["conv_in_log_scale"])
    np.testing.assert_allclose(np.mean(first, axis=(0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(np.std(first, axis=(0, 1, 2)), 1, atol=1e-9)


def test_zero_conv_multiplies_by_the_learned_scale():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    kernel = np.zeros((3, 3, 1, 2))
    kernel[1, 1] = 1.0
    params = {"kernel": kernel, "bias": np.ones(2), "log_scale": np.full(2, 0.5)}
    y = np.asarray(jax.jit(ZeroConv().apply, static_argnums=2)({"params": params}, x, 2))
    np.testing.assert_allclose(y[..., 1], (x[..., 0] + 1) * np.exp(1.5), rtol=1e-12)


def test_weight_norm_is_a_direction_times_a_length():
    draw = np.random.default_rng(0).standard_normal
    x, v, (g, bias) = 5 + 3 * draw((8, 4, 4, 2)), draw((3, 3, 2, 5)), draw((2, 5))
    apply = jax.jit(WeightNormConv(5).apply)
    y = apply({"params": {"v": v, "g": g, "bias": bias}}, x)
    kernel = g * v / np.sqrt(np.sum(np.square(v), axis=(0, 1, 2)))
    np.testing.assert_allclose(y, conv2d(x, kernel) + bias, rtol=1e-10)
    y, variables = jax.device_get(jax.jit(WeightNormConv(5).init_with_output)(KEY, x))
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(np.std(y, axis=(0, 1, 2)), 1, atol=1e-9)
    np.testing.assert_allclose(apply(variables, x), y, atol=1e-12)


def test_a_gate_of_zero_switches_a_block_off():
    x, context = jnp.ones((1, 3)), jnp.ones((1, 2))
    network = ResidualMLP(4, 1, gated=True)
    shapes = jax.eval_shape(lambda: network.init(KEY, x, 2, context))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes)["params"]
    params["block_0_context_gate"]["bias"] -= 1e3
    closed = jax.jit(network.apply, static_argnums=2)({"params": params}, x, 2, context)
    h = 3 + 1 + 2  # inputs, bias, context
    np.testing.assert_allclose(closed, np.full((1, 2), 4 * h + 1), rtol=1e-12)


def test_a_flow_embeds_its_context_once():
    coupling = jflows.bijectors.Coupling(MLP((4,)), jflows.bijectors.Shift())
    flow = jflows.Flow(coupling, StandardNormal((2,)), (2,), embed=ContextEmbed(3, (4,)), context_shape=(5,))
    x, context = jnp.ones((2, 2)), jnp.ones((2, 5))
    params = jax.eval_shape(flow.init, KEY, x, context)["params"]
    assert params["embed"]["hidden_0"]["kernel"].shape == (5, 4)
    assert params["bijector"]["conditioner"]["context_0"]["Dense_0"]["kernel"].shape == (3, 4)
    embedded, _ = jax.jit(ContextEmbed(3, ()).init_with_output)(KEY, context)
    assert embedded.shape == (2, 3)
    assert np.any(embedded)
    with pytest.raises(InvalidTypeError, match="ContextEmbed: `context` must hold floating .*; got int64. Use ClassE"):
        ContextEmbed(3).init(KEY, jnp.ones((2, 5), int))


def test_activations_by_name():
    x = np.array([-1.0, 0.0, 2.0])
    assert networks.ACTIVATIONS["relu"](x).tolist() == [0, 0, 2]
    everything = jax.jit(lambda x: [function(x) for function in networks.ACTIVATIONS.values()])(x)
    assert np.isfinite(everything).all()


def test_labels_become_one_hot_vectors():
    embed = ClassEmbed(3)
    np.testing.assert_array_equal(embed.apply({}, np.array([0, 2])), [[1, 0, 0], [0, 0, 1]])
    for labels, first in (([0, 7, 3], 7), ([-1], -1)):
        with pytest.raises(
            InvalidValueError, match=f"ClassEmbed: `context` must hold class labels 0 to 2; got {first}"
        ):
            embed.apply({}, jnp.array(labels))
        found = jax.jit(lambda labels: embed.apply({}, labels))(jnp.array([1, *labels]))
        np.testing.assert_array_equal(np.isnan(found).any(axis=1), [False, *(not 0 <= each < 3 for each in labels)])
    with pytest.raises(InvalidTypeError, match="ClassEmbed: `context` must hold integer class labels; got float"):
        embed.apply({}, np.array([0.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(()), r"MLP: `hidden_sizes` must hold at least 1 entry; got \(\)"),
        (lambda: MLP((4, 0)), r"MLP: `hidden_sizes` must have entries that are at least 1; got \(4, 0\)"),
        (lambda: MLP((4,), "swish"), "MLP: `activation` must be one of 'elu', .*; got 'swish'"),
        (lambda: ConvNet(0), "ConvNet: `width` must be at least 1; got 0"),
        (lambda: ConvNet(4, norm="batch"), "ConvNet: `norm` must be one of 'actnorm', 'bias'; got 'batch'"),
        (lambda: ConvNet(4, activation="x"), "ConvNet: `activation` must be one of 'elu', .*; got 'x'"),
        (lambda: ResidualMLP(0), "ResidualMLP: `width` must be at least 1; got 0"),
        (lambda: ResidualMLP(4, 0), "ResidualMLP: `num_blocks` must be at least 1; got 0"),
        (lambda: ResidualMLP(4, activation="x"), "ResidualMLP: `activation` must be one of .*; got 'x'"),
        (lambda: MADE(()), r"MADE: `hidden_sizes` must hold at least 1 entry; got \(\)"),
        (lambda: MADE((4,), "x"), "MADE: `activation` must be one of .*; got 'x'"),
        (lambda: MADE((4,), order="x"), "MADE: `order` must be one of 'natural', 'reversed', 'random'; got 'x'"),
        (lambda: MADE((4, 5), residual=True), r"MADE: `hidden_sizes` must be equal with resid.*; got \(4, 5\)"),
        (lambda: ResidualConvNet(0), "ResidualConvNet: `width` must be at least 1; got 0"),
        (lambda: ResidualConvNet(4, 0), "ResidualConvNet: `num_blocks` must be at least 1; got 0"),
        (lambda: ResidualConvNet(4, norm="layer"), "ResidualConvNet: `norm` must be one of 'weight', 'batch'; got"),
        (lambda: ResidualConvNet(4, activation="x"), "ResidualConvNet: `activation` must be one of .*; got 'x'"),
        (lambda: GatedConvNet(0), "GatedConvNet: `width` must be at least 1; got 0"),
        (lambda: GatedConvNet(4, 0), "GatedConvNet: `num_blocks` must be at least 1; got 0"),
        (lambda: GatedConvNet(6, 1, 4), "GatedConvNet: `num_heads` must divide width=6; got 4"),
        (lambda: Transformer(6, num_heads=4), "Transformer: `num_heads` must divide width=6; got 4"),
        (lambda: Transformer(4, num_heads=0), "Transformer: `num_heads` must be at least 1; got 0"),
        (lambda: Transformer(4, 0), "Transformer: `depth` must be at least 1; got 0"),
        (lambda: Transformer(4, event_ndims=4), "Transformer: `event_ndims` must be 1 to 3; got 4"),
        (lambda: Transformer(4, activation="x"), "Transformer: `activation` must be one of .*; got 'x'"),
        (lambda: ContextEmbed(0), "ContextEmbed: `features` must be at least 1; got 0"),
        (lambda: ContextEmbed(4, (0,)), "ContextEmbed: `hidden_sizes` must have entries that are at least 1"),
        (lambda: ContextEmbed(4, activation="x"), "ContextEmbed: `activation` must be one of .*; got 'x'"),
        (lambda: ClassEmbed(1), "ClassEmbed: `num_classes` must be at least 2; got 1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


class Plain(nn.Module):
    """A network of a user, which does not start at zero."""

    @nn.compact
    def __call__(self, x, num_features, context=None):
        return nn.Dense(num_features, param_dtype=x.dtype)(x)


def test_a_gate_starts_any_network_at_a_harmless_map_and_learns():
    x = jnp.ones((2, 3))
    coupling = Coupling(networks.Gated(Plain()), Affine())
    init = lambda coupling: coupling.init_with_output(KEY, x, method="inverse_and_log_det")

    @jax.jit
    def run():
        (z, _), variables = init(coupling)
        loss = lambda params: jnp.sum(coupling.apply({"params": params}, x, method="inverse"))
        return z, jax.grad(loss)(variables["params"]), init(Coupling(Plain(), Affine()))[0][0]

    z, grads, without_gate = jax.device_get(run())
    np.testing.assert_array_equal(z, x)
    assert np.any(grads["conditioner"]["gate"] != 0)
    assert not np.allclose(without_gate, x)


def test_a_gate_refuses_a_network_that_starts_at_zero():
    with pytest.raises(InvalidValueError, match="Gated: `network` must not start at zero itself; got MLP. Use it with"):
        networks.Gated(MLP())


def test_layer_norm_holds_for_inputs_of_any_size():
    """Squares of 1e25 overflow, and E[x^2] - E[x]^2 has no digit left for 10,000 +- 1."""
    x = np.asarray([[-1.0, 0.0, 1.0], [1e25, 2e25, 3e25], [9999.0, 10000.0, 10001.0]], np.float32)
    y, _ = jax.jit(LayerNorm().init_with_output)(KEY, x)
    np.testing.assert_allclose(y, [[-(1.5**0.5), 0, 1.5**0.5]] * 3, atol=1e-5)


def test_features_of_column_pairs_are_computed_from_an_even_number_of_columns():
    network, image = networks.ColumnPairFeatures(3, 1), jnp.ones((2, 5, 4, 1))
    y, variables = jax.eval_shape(lambda image: network.init_with_output(KEY, image), image)
    assert y.shape == (2, 5, 2, 6)
    assert jax.tree.map(jnp.shape, variables["params"]["conv_in"]) == {"kernel": (3, 3, 2, 3), "bias": (3,)}
    with pytest.raises(
        InvalidValueError, match=r"ColumnPairFeatures: `image` must have an even number of columns; got"
    ):
        network.init(KEY, image[..., :3, :])


def test_one_set_of_positions_serves_all_blocks_of_attention():
    params = jax.eval_shape(lambda x: GatedConvNet(2, 3, 1).init(KEY, x, 1), jnp.ones((1, 2, 3, 1)))["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    assert [leaf.shape for path, leaf in leaves if "position" in jax.tree_util.keystr(path)] == [(2, 3, 2)]
