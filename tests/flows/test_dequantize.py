"""Variational dequantization: the bound counts the noise's own density, and learning tightens it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow, UniformDequantize, VariationalDequantize
from jflows.spec import from_spec, to_spec
from jflows.testing import check_flow

KEY = jax.random.key(0)
SHAPE = (2, 2, 1)


def noise_flow() -> b.Bijector:
    coupling = b.Coupling(nn.ConvNet(4, norm="bias"), b.Affine(), event_ndims=3, mask="checkerboard")
    return b.Chain((coupling, b.Elementwise(b.Affine(), event_ndims=3), b.Sigmoid(event_ndims=3)))


def flow(num_bits: int = 2) -> Flow:
    """A density that is far from constant on its four levels, so that uniform noise costs much."""
    to_vector = b.Chain((b.Elementwise(b.Affine("exp"), event_ndims=3), b.LogitPixels(num_bits, 1e-3)))
    return Flow(to_vector, StandardNormal(SHAPE), SHAPE, VariationalDequantize(num_bits, bijector=noise_flow()))


def images(num: int = 64):
    return np.random.default_rng(1).integers(0, 4, (num, *SHAPE))


def test_keeps_the_contract_of_flows():
    check_flow(flow(), images(8))


def test_noise_lies_in_its_bin_and_bits_are_bounded():
    model, x = flow(), images()
    variables = model.init(KEY, x)
    draw = jax.jit(functools.partial(model.dequantize.apply, method="dequantize"))
    v, log_weight = draw({"params": variables["params"]["dequantize"]}, x, KEY)
    assert np.all(jnp.floor(v) == x) and log_weight.shape == (64,)
    bits = jax.jit(functools.partial(model.bits_per_dim, num_draws=3))(variables, x, key=KEY)
    assert np.isfinite(bits).all()
    np.testing.assert_array_equal(model.dequantize.dequantize(x, None)[0], x + 0.5)


def test_rounding_never_puts_noise_into_the_next_bin():
    with jax.enable_x64(False):
        x = jnp.full((1, 512, 512, 1), 255)
        v, _ = jax.jit(UniformDequantize().dequantize)(x, KEY)
        assert v.dtype == jnp.float32 and v.max() == np.nextafter(np.float32(256), np.float32(0))


@pytest.mark.slow
def test_learning_the_noise_alone_tightens_the_bound():
    model, x = flow(), images()
    variables = model.init(KEY, x)
    noise, rest = variables["params"]["dequantize"], variables["params"]
    optimizer = optax.adam(3e-2)

    @jax.jit
    def train(noise):
        def loss(noise, key):
            params = {**rest, "dequantize": noise}
            return model.bits_per_dim({**variables, "params": params}, x, key=key).mean()

        def step(carry, key):
            noise, state = carry
            value, grads = jax.value_and_grad(loss)(noise, key)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(noise, updates), state), value

        return jax.lax.scan(step, (noise, optimizer.init(noise)), jax.random.split(KEY, 60))[1]

    bits = train(noise)
    assert np.mean(bits[-10:]) < np.mean(bits[:10]) - 0.1


@pytest.mark.slow
def test_one_draw_is_on_average_below_the_average_of_many():
    """Jensen: E log p(v) / q(u) < log E p(v) / q(u) = log P(x) <= 0."""
    model = flow(1)
    x = np.array([0, 1]).reshape(2, 1, 1, 1) * jnp.ones((2, *SHAPE), int)
    variables = model.init(KEY, x)
    keys = jax.random.split(KEY, 256)
    log_probs = jax.jit(jax.vmap(lambda key: model.log_prob(variables, x, key=key)))(keys)
    estimate = jax.nn.logsumexp(log_probs, axis=0) - jnp.log(256)
    assert np.all(log_probs.mean(axis=0) < estimate)
    assert np.all(estimate < 0)


def test_the_weight_of_the_noise_is_one_over_its_density():
    """E_u[1 / q(u); 0.1 < u < 0.9] = 0.8: importance sampling of a stretch of the bin."""
    layer = VariationalDequantize(bijector=b.Sigmoid(event_ndims=3))
    x = jnp.zeros((100_000, 1, 1, 1), int)
    (u, log_weight), _ = jax.jit(functools.partial(layer.init_with_output, method="dequantize"))(KEY, x, KEY)
    inside = jnp.exp(log_weight) * ((u > 0.1) & (u < 0.9))[:, 0, 0, 0]
    assert abs(inside.mean() - 0.8) < 5 * inside.std() / np.sqrt(len(x))
    assert jnp.isneginf(layer.apply({}, x[:1] + 256, KEY, method=layer.dequantize)[1]).all()


def test_spec_round_trip():
    assert from_spec(to_spec(flow())) == flow()


def test_bad_settings():
    message = "VariationalDequantize: `bijector` must map images to images; got"
    with pytest.raises(InvalidValueError, match=f"{message} None"):
        VariationalDequantize()
    with pytest.raises(InvalidValueError, match=f"{message} x_event_ndims=1"):
        VariationalDequantize(bijector=b.Sigmoid())
    with pytest.raises(InvalidValueError, match="VariationalDequantize: `num_bits` must be 1 to 16; got 0"):
        VariationalDequantize(0, bijector=noise_flow())
    with pytest.raises(InvalidTypeError, match=r"VariationalDequantize: `embed` must be called as embed\(image\)"):
        VariationalDequantize(bijector=noise_flow(), embed=nn.MLP())
