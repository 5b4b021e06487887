"""Integers as data: bits per dimension, noise, keys, padding and rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow, UniformDequantize, glow
from tests.presets import filled

KEY = jax.random.key(0)


class Uniform(Base):
    """Uniform over [-0.5, 0.5)^D."""

    event_shape: tuple

    def sample(self, key, shape, context=None, temperature=1.0):
        return temperature * jax.random.uniform(key, (*shape, *self.event_shape), minval=-0.5, maxval=0.5)

    def log_prob(self, z, context=None):
        inside = jnp.all((z >= -0.5) & (z < 0.5), axis=tuple(range(-len(self.event_shape), 0)))
        return jnp.where(inside, 0.0, -jnp.inf)


def uniform_flow(event_shape, num_bits=8, padding=0) -> Flow:
    dequantize = UniformDequantize(num_bits, padding)
    bijector, base = b.Reverse(event_ndims=3), Uniform(dequantize.padded_shape(event_shape))
    return Flow(bijector, base, event_shape, dequantize=dequantize, preprocess=b.CentredPixels(num_bits))


@pytest.mark.parametrize("num_bits", range(1, 9))
@pytest.mark.by_default("5", "8")
def test_a_uniform_model_scores_its_bits(num_bits):
    flow = uniform_flow((4, 4, 3), num_bits)
    x = jax.random.randint(KEY, (5, 4, 4, 3), 0, 2**num_bits).at[0].set(2**num_bits - 1).at[1].set(0)
    bits_per_dim = jax.jit(flow.bits_per_dim, static_argnames="num_draws")
    np.testing.assert_allclose(bits_per_dim({}, x, key=KEY), num_bits, rtol=1e-14)
    np.testing.assert_allclose(bits_per_dim({}, x, key=KEY, num_draws=3), num_bits, rtol=1e-14)


@pytest.mark.slow
def test_padding_is_paid_for_but_only_real_dimensions_are_counted():
    flow = uniform_flow((28, 28, 1), padding=2)
    x = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1))
    assert flow.num_dims == 784
    np.testing.assert_allclose(flow.bits_per_dim({}, x, key=KEY), 8 * 32 * 32 / 784, rtol=1e-14)
    assert flow.sample({}, KEY, (3,)).shape == (3, 28, 28, 1)


@pytest.mark.parametrize("num_bits", range(1, 9))
@pytest.mark.by_default("5", "8")
def test_integers_survive_dequantizing(num_bits):
    dequantize = UniformDequantize(num_bits, padding=1)
    x = jnp.tile(jnp.arange(2**num_bits, dtype=jnp.uint8)[:, None, None, None], (1, 3, 2, 1))
    v, _ = dequantize.dequantize(x, KEY)
    assert v.shape == (2**num_bits, 5, 4, 1)
    assert np.all((v >= 0) & (v < 2**num_bits))
    cropped = dequantize.crop(v)
    np.testing.assert_array_equal(dequantize.quantize(cropped), x)
    noise = np.asarray(cropped - x)
    assert np.all((noise >= 0) & (noise < 1))
    np.testing.assert_allclose(dequantize.crop(dequantize.dequantize(x, None)[0]), x + 0.5)
    assert dequantize.quantize(cropped).dtype == jnp.uint8


def test_quantize_clips_and_widens():
    v = np.array([-3.0, 0.99, 7.0, 900.0])
    assert UniformDequantize(3).quantize(v).tolist() == [0, 0, 7, 7]
    assert UniformDequantize(12).quantize(1e9 * v).dtype == jnp.uint16


def test_floats_are_taken_as_they_are_and_other_types_refused():
    x = jnp.full((1, 2, 2, 1), 3.25)
    padded, _ = UniformDequantize(8, 1).dequantize(x, KEY)
    np.testing.assert_array_equal(padded[:, 1:-1, 1:-1], x)
    assert padded[0, 0, 0, 0] == 0.5
    with pytest.raises(InvalidTypeError, match="UniformDequantize: `x` must hold integers or floats; got bool"):
        UniformDequantize().dequantize(x > 0, KEY)


def test_noise_of_an_example_does_not_depend_on_its_batch():
    dequantize, keys = UniformDequantize(), jax.random.split(KEY, 6)
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1))
    whole, _ = dequantize.dequantize(x, keys)
    np.testing.assert_array_equal(dequantize.dequantize(x[2:4], keys[2:4])[0], whole[2:4])
    grid, _ = dequantize.dequantize(x.reshape(2, 3, 4, 4, 1), keys.reshape(2, 3))
    np.testing.assert_array_equal(grid.reshape(whole.shape), whole)
    assert np.any(dequantize.dequantize(x, KEY)[0] != whole)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (
            jax.random.PRNGKey(0),
            InvalidTypeError,
            r"`key` must be a typed key; got uint32 of shape \(2,\). Use jax.random",
        ),
        (
            jax.random.split(KEY, 3),
            InvalidValueError,
            r"must be one key, or one per example of shape \(2,\); got shape \(3,\)",
        ),
    ],
)
def test_wrong_keys_are_refused(key, error, message):
    with pytest.raises(error, match=f"UniformDequantize: .*{message}"):
        UniformDequantize().dequantize(jnp.zeros((2, 4, 4, 1), int), key)


@functools.cache
def small_glow():
    flow = glow((4, 4, 1), 1, 2, width=4, num_bits=3, padding=2)
    x = np.random.default_rng(0).integers(0, 8, (32, 4, 4, 1))
    return flow, filled(jax.eval_shape(flow.init, KEY, x), 1), x


@pytest.mark.slow
def test_more_draws_give_a_tighter_bound():
    flow, variables, x = small_glow()
    one, many = (
        jax.jit(flow.bits_per_dim, static_argnames="num_draws")(variables, x, key=KEY, num_draws=m) for m in (1, 20)
    )
    assert np.mean(many) < np.mean(one)
    each = jax.random.split(KEY, 32)
    uniform = uniform_flow((4, 4, 1), num_bits=3)
    assert uniform.bits_per_dim({}, x, key=each, num_draws=2).shape == (32,)


def test_bits_per_dim_needs_a_key_where_the_flow_dequantizes():
    flow, variables, x = uniform_flow((2, 2, 1)), {}, jnp.zeros((3, 2, 2, 1), int)
    assert flow.needs_key
    expected = r"Flow.bits_per_dim: `key` must be given, as this flow dequantizes\. Pass key=jax\.random\.key\(seed\)\."
    with pytest.raises(InvalidValueError, match=expected):
        flow.bits_per_dim(variables, x)
    with pytest.raises(InvalidValueError, match="Flow.bits_per_dim: `num_draws` must be at least 1; got 0"):
        flow.bits_per_dim(variables, x, key=KEY, num_draws=0)
    plain = Flow(b.Reverse(3), Uniform((2, 2, 1)), (2, 2, 1))
    assert not plain.needs_key
    np.testing.assert_array_equal(plain.bits_per_dim({}, jnp.zeros((3, 2, 2, 1)), num_draws=5), 0)


def test_decode_inverts_encode_with_padding():
    flow, variables, x = small_glow()
    encode, decode = jax.jit(flow.encode), jax.jit(flow.decode)
    z, log_det = encode(variables, x, key=KEY)
    assert z.shape == (32, *flow.latent_shape) == (32, 64)
    back, back_log_det = decode(variables, z)
    np.testing.assert_array_equal(flow.quantize(back), x)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-9)
    centres, _ = decode(variables, encode(variables, x)[0])
    np.testing.assert_allclose(centres, x + 0.5, atol=1e-9)
