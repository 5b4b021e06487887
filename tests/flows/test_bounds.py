"""Importance-weighted bounds over the noise of dequantization, against an integral that is known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows import Flow, UniformDequantize, VariationalDequantize, glow
from jflows.flows.presets import nice_images, realnvp_images, spline_glow
from jflows.spec import from_spec, to_spec
from tests.presets import filled

KEY, SHAPE = jax.random.key(0), (1, 1, 1)
NUM, LEVEL = 4096, 2  # of keys, and the pixel value: P(2) = Phi(3) - Phi(2), far from constant over the bin


@functools.cache
def normal_pixel() -> tuple[Flow, dict]:
    """One pixel whose continuous value is from N(0, 1)."""
    same = b.Elementwise(b.Affine(), event_ndims=3)  # its parameters start at the identity
    flow = Flow(same, StandardNormal(SHAPE), SHAPE, UniformDequantize(2))
    return flow, dict(flow.init(KEY, jnp.zeros((2, *SHAPE), int)))


def bounds(num_draws: int) -> np.ndarray:
    """The bound in nats for many keys."""
    flow, variables = normal_pixel()
    x, keys = jnp.full((NUM, *SHAPE), LEVEL), jax.random.split(KEY, NUM)
    bits = jax.jit(functools.partial(flow.bits_per_dim, num_draws=num_draws))(variables, x, key=keys)
    return -np.asarray(bits, np.float64) * math.log(2)


def test_bounds_rise_with_the_number_of_draws_to_the_known_integral():
    means, errors = zip(*((each.mean(), each.std() / math.sqrt(NUM)) for each in map(bounds, (1, 8, 64))), strict=True)
    truth = math.log(norm.cdf(LEVEL + 1) - norm.cdf(LEVEL))
    of_one = -0.5 * math.log(2 * math.pi) - ((LEVEL + 1) ** 3 - LEVEL**3) / 6  # int_0^1 log phi(2 + u) du
    assert abs(means[0] - of_one) < 4 * errors[0]
    assert means[0] + 0.1 < means[1] < means[2] - 4 * errors[1] and means[2] < truth + 4 * errors[2]
    assert truth - means[2] < 0.01 < truth - means[0]


def test_memory_does_not_grow_with_the_number_of_draws():
    flow, variables = normal_pixel()
    x, planned = jnp.full((NUM, *SHAPE), LEVEL), {}
    for num_draws in (2, 64):
        run = jax.jit(functools.partial(flow.bits_per_dim, num_draws=num_draws))
        found = run.lower(variables, x, key=jax.random.split(KEY, NUM)).compile().memory_analysis()
        assert found is not None
        planned[num_draws] = found.temp_size_in_bytes
    row = NUM * jnp.zeros(()).dtype.itemsize  # one number per image and draw is kept, for their logarithm of a mean
    assert planned[64] - planned[2] <= 3 * 62 * row


def test_glow_with_learned_noise_trains_it_and_is_stored():
    flow = glow((4, 4, 1), 1, 1, 2, dequantize="variational", dequantize_steps=1, dequantize_width=2)
    assert isinstance(flow.dequantize, VariationalDequantize) and from_spec(to_spec(flow)) == flow
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1))
    variables = filled(jax.eval_shape(flow.init, KEY, x), 0)
    loss = lambda params: flow.bits_per_dim({**variables, "params": params}, x, key=KEY).mean()
    grads = jax.jit(jax.grad(loss))(variables["params"])["dequantize"]
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)) > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_other_presets_of_images_take_learned_noise_too():
    for preset in (nice_images, realnvp_images, functools.partial(spline_glow, num_levels=2)):
        flow = preset((4, 4, 1), dequantize="variational", dequantize_steps=1, dequantize_width=2)
        assert isinstance(flow.dequantize, VariationalDequantize) and from_spec(to_spec(flow)) == flow


def test_words_for_noise_that_there_are_not():
    with pytest.raises(InvalidValueError, match="`dequantize` must be one of 'uniform', 'variational'; got 'gauss'"):
        glow((4, 4, 1), 1, 1, 2, dequantize="gauss")
