"""The Glow preset: published size, every option, latents, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.distributions import DiagonalNormal
from jflows.errors import InvalidValueError
from jflows.flows import glow
from jflows.testing import check_flow
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_published_number_of_parameters():
    flow = glow((32, 32, 3), num_levels=3, num_steps=32, width=512)
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8))
    assert count(variables["params"]) == 44_052_816
    steps = [count(variables["params"]["bijector"][f"levels_{level}"]["layers_0"]["layers"]) / 32 for level in range(3)]
    assert steps == [347_328, 430_752, 598_464]


OPTIONS = [  # and whether the case is left to the slow set
    ({"coupling": "affine", "permutation": "conv1x1", "preprocess": "logit", "num_bits": 5, "alpha": 0.01}, True),
    ({"coupling": "affine", "scale": "sigmoid", "permutation": "reverse", "backprop": "remat", "norm": "bias"}, True),
    ({"coupling": "additive", "permutation": "shuffle", "base": "diagonal", "padding": 2}, True),
    ({"dequantize": "variational", "dequantize_steps": 1, "dequantize_width": 4, "padding": 2}, True),
    ({"base": "student_t", "prior": "none", "padding": 2}, True),
    ({"permutation": "conv1x1", "backprop": "invertible", "anchor_every": 1, "num_classes": 3}, False),
]


@pytest.mark.parametrize(
    "options", [pytest.param(options, marks=[pytest.mark.slow] if slow else []) for options, slow in OPTIONS]
)
def test_every_option(options):
    flow = glow((4, 4, 1), 1 + ("padding" in options), 2, width=4, **options)
    x = np.random.default_rng(0).integers(0, 2 ** options.get("num_bits", 8), (8, 4, 4, 1))
    context = jnp.arange(8) % 3 if "num_classes" in options else None
    check_flow(flow, x, context=context)
    assert flow.latent_shape == (flow.bijector.image_shape[0] ** 2,)
    assert isinstance(flow.base, DiagonalNormal) == (options.get("base") == "diagonal")


@functools.cache
def two_levels():
    flow = glow((8, 8, 1), 2, (2, 1), width=4, norm="bias")
    x = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1))
    return flow, filled(jax.eval_shape(flow.init, KEY, x), 0), x


def test_without_a_prior_the_factored_out_half_is_left_to_the_base():
    flow = glow((8, 8, 1), 2, 1, width=4, norm="bias", prior="none", base="student_t")
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1))
    variables = filled(jax.eval_shape(flow.init, KEY, x), 0)
    latents = jax.jit(flow.latents, static_argnames="raw")
    for raw, standardised in zip(latents(variables, x, raw=True), latents(variables, x, raw=False), strict=True):
        np.testing.assert_array_equal(raw, standardised)
    assert set(variables["params"]["base"]) == {"mean", "log_std", "base"}


@pytest.mark.slow
def test_latents_come_by_level_standardised_or_raw():
    flow, variables, x = two_levels()

    @jax.jit
    def both(variables, x):
        latents = (flow.latents(variables, x, raw=raw) for raw in (False, True))
        return *latents, flow.encode(variables, x)[0]

    standardised, raw, z = both(variables, x)
    assert [z.shape for z in standardised] == [z.shape for z in raw] == [(64, 4, 4, 2), (64, 2, 2, 8)]
    np.testing.assert_allclose(flow.bijector.join_latent(standardised), z, rtol=1e-9, atol=1e-9)
    own = {"params": variables["params"]["bijector"]["priors_1"]}
    top, _ = flow.bijector.priors[1].apply(own, raw[1], method="inverse_and_log_det")
    np.testing.assert_allclose(top, standardised[1], rtol=1e-9)
    assert all(np.max(np.abs(a - b)) > 1e-3 for a, b in zip(standardised, raw, strict=True))


def test_levels_may_differ_in_depth():
    flow, variables, _ = two_levels()
    depths = [level.layers[0].num_layers for level in flow.bijector.levels]
    assert depths == [2, 1]
    stacked = variables["params"]["bijector"]["levels_0"]["layers_0"]["layers"]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(stacked)} == {2}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ((8, 8, 1), 2, 2),
            {"coupling": "spline"},
            "glow: `coupling` must be one of 'affine', 'additive'; got 'spline'",
        ),
        (
            ((8, 8, 1), 2, 2),
            {"permutation": "none"},
            "glow: `permutation` must be one of 'conv1x1', 'reverse', 'shuffle'",
        ),
        (((8, 8, 1), 2, 2), {"preprocess": "none"}, "glow: `preprocess` must be one of 'centred', 'logit'; got 'none'"),
        (
            ((8, 8, 1), 2, 2),
            {"base": "student"},
            "glow: `base` must be one of 'normal', 'diagonal', 'student_t'; got 'student'",
        ),
        (((8, 8), 2, 2), {}, r"glow: `event_shape` must be \(height, width, channels\); got \(8, 8\)"),
        (
            ((8, 8, 1), 2, (2, 2, 2)),
            {},
            r"glow: `num_steps` must be one number, or one per level; got num_levels=2",
        ),
        (((8, 8, 1), 0, 2), {}, "glow: `num_levels` must be at least 1; got 0"),
        (
            ((6, 6, 1), 2, 2),
            {},
            r"glow: `num_levels` must leave a height and width, \(6, 6\) with padding, that are multiples of 2\^num",
        ),
    ],
)
def test_bad_options_are_refused(arguments, options, message):
    with pytest.raises(InvalidValueError, match=message):
        glow(*arguments, width=4, **options)
