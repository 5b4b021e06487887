"""Levels: one part of the latent is drawn anew, all others stay, and only multi-scale flows have any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.eval import resample_levels
from jflows.eval.latent import encode_centres
from jflows.flows import Flow, MixtureOfFlows, UniformDequantize
from jflows.nn import ClassEmbed
from tests.presets import filled

SHAPE, KEY = (4, 8, 1), jax.random.key(0)
resample = jax.jit(resample_levels, static_argnums=0)
encode = jax.jit(encode_centres, static_argnums=0)


def multi_scale(dequantize: bool, num_classes: int | None = None) -> Flow:
    """Two levels of squeezes and learned scales."""
    scales = [b.Elementwise(b.Affine(), event_ndims=3) for _ in range(2)]
    levels = (b.Chain((b.InvertibleLinear(event_ndims=3), b.Squeeze())), b.Squeeze())
    bijector = b.MultiScale(SHAPE, levels, tuple(scales))
    embed, context_shape = (None, None) if num_classes is None else (ClassEmbed(num_classes), ())
    noise = UniformDequantize() if dequantize else None
    return Flow(bijector, StandardNormal((32,)), SHAPE, noise, b.CentredPixels(), embed, context_shape)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_each_level_is_drawn_anew_alone(num_classes):
    flow = multi_scale(False, num_classes)
    assert flow.level_sizes == (16, 16)
    labels = None if num_classes is None else np.array([0, 2])
    x = np.random.default_rng(0).uniform(0, 1, (2, *SHAPE)) * 256
    variables = flow.init(KEY, x, labels)
    found = resample(flow, variables, x, KEY, labels, 1.0)
    assert found.shape == (2, 2, *SHAPE)
    before = encode(flow, variables, x, labels)
    for level in range(2):
        after = encode(flow, variables, found[:, level], labels)
        same = np.isclose(after, before, atol=1e-3).reshape(2, 2, 16)
        assert same[:, 1 - level].all() and same[:, level].mean() < 0.1
    cold = resample(flow, variables, x, KEY, labels, 0.0)
    latent = encode(flow, variables, cold[:, 1], labels)
    np.testing.assert_allclose(latent[:, 16:], 0, atol=1e-3)  # at temperature 0, the mean of the base


def test_integers_come_back_as_integers():
    flow = multi_scale(True)
    x = np.random.default_rng(0).integers(0, 256, (3, *SHAPE))
    found = resample(flow, filled(jax.eval_shape(flow.init, KEY, x), 0), x, jax.random.key(1))
    assert found.dtype == jnp.uint8 and found.shape == (3, 2, *SHAPE)


def test_densities_state_their_levels():
    flow = jflows.realnvp((2,), 1, (4,))
    assert flow.level_sizes == MixtureOfFlows((flow,), 2).level_sizes == ()
    one, two = (jflows.glow((4, 4, 1), levels, 1, 2) for levels in (1, 2))
    assert (one.level_sizes, two.level_sizes) == ((16,), (8, 8)) and one.bijector.latent_shapes() == ((2, 2, 4),)
    assert b.Chain((two.bijector, b.Exp(event_ndims=3))).latent_shapes() == two.bijector.latent_shapes()
    for without, number in ((flow, 1), (one, 1)):
        with pytest.raises(InvalidValueError, match=f"`flow` must have at least two levels, .*; got {number} in Flow"):
            resample_levels(without, {}, jnp.zeros((1, *without.event_shape)), KEY)
