"""What an autoregressive network may depend on: degrees and masks, and the Jacobians of `MADE` and `Transformer`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.errors import InvalidValueError
from jflows.nn import MADE, Transformer
from jflows.ops import made_degrees, made_masks, self_attention

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default

QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling them is all that they cost


@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("dim", "sizes"), [(1, (3,)), (2, (1, 1)), (5, (8, 4, 16)), (7, (3, 3)), (9, (9,))])
def test_masks_let_each_output_see_earlier_inputs_only(order, conditional, dim, sizes):
    degrees = made_degrees(dim, sizes, order, 3, conditional)
    assert sorted(degrees[0]) == list(range(1, dim + 1))
    for size, hidden in zip(sizes, degrees[1:], strict=True):
        assert len(hidden) == size
        assert np.all(np.diff(hidden) >= 0)
        assert hidden[0] == (0 if conditional or dim == 1 else 1)
        assert hidden[-1] <= dim - 1
    masks = made_masks(degrees, 2)
    assert [mask.shape for mask in masks] == list(zip((dim, *sizes), (*sizes, 2 * dim), strict=True))
    paths = functools.reduce(np.matmul, [mask.astype(int) for mask in masks])
    earlier = degrees[0][:, None] < degrees[0]
    for sees in (paths[:, :dim] > 0, paths[:, dim:] > 0):
        assert not np.any(sees & ~earlier)
        if min(sizes) >= dim:
            np.testing.assert_array_equal(sees, earlier)


def test_orders():
    assert made_degrees(4, (2,), "natural")[0].tolist() == [1, 2, 3, 4]
    assert made_degrees(4, (2,), "reversed")[0].tolist() == [4, 3, 2, 1]
    drawn = [made_degrees(20, (2,), "random", seed)[0].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(InvalidValueError, match="made_degrees: `order` must be one of 'natural', .*; got 'sorted'"):
        made_degrees(4, (2,), "sorted")
    assert MADE((6,)).degrees(3)[1].tolist() == [1, 1, 1, 2, 2, 2]
    assert MADE((6,)).degrees(3, conditional=True)[1].tolist() == [0, 0, 1, 1, 2, 2]


def dependence(network, shape, num_features, context=None):
    """Which input, by position, each output depends on: [outputs, inputs]; and on the context: [outputs]."""
    x = np.random.default_rng(0).normal(size=shape)
    context = None if context is None else jnp.asarray(context)
    shapes = jax.eval_shape(lambda: network.init(KEY, x, num_features, context))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: 0.7 * random.standard_normal(leaf.shape), shapes)

    def outputs(x, context):
        return network.apply(variables, x, num_features, context).ravel()

    of_x, of_context = jax.jit(jax.jacrev(outputs, argnums=(0, 1)), compiler_options=QUICK)(x, context)
    of_x = np.any(of_x.reshape(of_x.shape[0], -1, 1) != 0, axis=-1)
    return of_x, None if context is None else np.any(of_context != 0, axis=-1)


@pytest.mark.parametrize(
    "network",
    [
        MADE((8, 8), "tanh"),
        MADE((8,), "tanh", order="reversed"),
        MADE((8, 8), "tanh", order="random", seed=2, residual=True),
        Transformer(4, 1, 2, event_ndims=1, causal=True),
    ],
)
def test_parameters_of_a_coordinate_depend_on_those_before_it(network):
    degrees = network.degrees(4)[0] if isinstance(network, MADE) else np.arange(4)
    of_x, of_context = dependence(network, (4,), 12, [0.3, -0.2])
    for parameter in of_x.reshape(3, 4, 4):
        np.testing.assert_array_equal(parameter, degrees[:, None] > degrees)
    assert of_context.all()


@pytest.mark.parametrize("residual", [False, True])
def test_one_coordinate_depends_on_the_context_alone(residual):
    of_x, of_context = dependence(MADE((4, 4), "tanh", residual=residual), (1,), 2, [0.3, -0.2])
    assert not of_x.any()
    assert of_context.all()
    assert not dependence(MADE((4,), "tanh"), (1,), 2)[0].any()


@pytest.mark.parametrize("residual", [False, True])
def test_a_new_network_can_learn_from_the_context(residual):
    """Also for the first input, whose hidden units see nothing else; ReLUs of zeros would never have a gradient."""
    network, x, context = MADE((8, 8), residual=residual), jnp.ones((5, 3)), jnp.linspace(-1, 1, 5)[:, None]
    variables = network.init(KEY, x, 3, context)
    assert not network.apply(variables, x, 3, context).any()
    variables["params"]["output"]["kernel"] = jnp.ones((8, 3))
    outputs = network.apply(variables, x, 3, context)
    assert all(len(np.unique(column)) > 1 for column in outputs.T)


def test_causal_tokens_depend_on_those_before_them():
    of_x, _ = dependence(Transformer(4, 2, 2, causal=True), (4, 2), 3)
    blocks = of_x.reshape(4, 3, 4, 2)
    before = np.tri(4, k=-1, dtype=bool)
    np.testing.assert_array_equal(blocks, np.broadcast_to(before[:, None, :, None], blocks.shape))


def test_causal_patches_depend_on_those_before_them_in_raster_order():
    of_x, _ = dependence(Transformer(4, 1, 2, event_ndims=3, causal=True, patch_size=2), (4, 4, 1), 1)
    patch = (np.arange(4)[:, None] // 2 * 2 + np.arange(4) // 2).ravel()
    np.testing.assert_array_equal(of_x, patch[:, None] > patch)


@pytest.mark.slow
def test_without_causal_every_token_sees_all():
    assert dependence(Transformer(4, 1, 2, event_ndims=1), (3,), 2)[0].all()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_against_its_formula(causal):
    qkv = np.asarray(np.random.default_rng(0).normal(size=(2, 3, 12)))
    got = self_attention(jnp.asarray(qkv), 2, causal)
    q, k, v = np.split(qkv, 3, axis=-1)
    for head in (slice(0, 2), slice(2, 4)):
        logits = q[..., head] @ k[..., head].swapaxes(-1, -2) / np.sqrt(2)
        weights = np.exp(logits) * (np.tri(3) if causal else 1)
        wanted = weights / weights.sum(-1, keepdims=True) @ v[..., head]
        np.testing.assert_allclose(got[..., head], wanted, rtol=1e-10)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (MADE((4,)), (3,), "MADE: `num_features` must be a multiple of the 3 inputs; got 4"),
        (
            Transformer(4, 1, 2, event_ndims=1, causal=True),
            (3,),
            "Transformer: `num_features` must be a multiple of the 3 inputs; got 4",
        ),
        (
            Transformer(4, 1, 2, event_ndims=3, patch_size=2),
            (4, 3, 1),
            r"Transformer: `x` must have a height and width that are multiples of patch_size=2; got shape \(4, 3, 1\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(network, shape, message):
    with pytest.raises(InvalidValueError, match=message):
        jax.eval_shape(lambda: network.init(KEY, jnp.ones(shape), 4))
