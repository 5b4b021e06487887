"""WaveNet and the upsampling of its context: dilations, what each step of time sees, and the messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import UpsampledContext, WaveNet
from jflows.ops.dilated import dilated_conv

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0, impl="unsafe_rbg")


def filled(shapes):
    return jax.tree.map(lambda leaf: jax.device_put(RANDOM.normal(size=leaf.shape)), shapes)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_dilated_convolution_is_that_of_lax_with_its_gradients(dilation):
    x, kernel = (jax.device_put(RANDOM.normal(size=shape)) for shape in ((2, 9, 4), (3, 4, 5)))

    def lax_conv(x, kernel):
        words = ("NWC", "WIO", "NWC")
        pad = [(dilation, dilation)]
        return jax.lax.conv_general_dilated(x, kernel, (1,), pad, rhs_dilation=(dilation,), dimension_numbers=words)

    def both(conv):
        y, vjp = jax.vjp(conv, x, kernel)
        return y, *vjp(jnp.cos(y))

    found = jax.jit(lambda: both(lambda x, kernel: dilated_conv(x, kernel, dilation)))()
    for got, wanted in zip(found, jax.jit(lambda: both(lax_conv))(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 4, 5),
            r"dilated_conv: `kernel` must be \[taps, in, out\] with an odd number of taps; got shape \(2, 4, 5\)",
        ),
        ((3, 4), r"`kernel` must be \[taps, in, out\]"),
        ((3, 6, 5), r"`kernel` must have 4 input channels, as `x` of shape \(2, 9, 4\) has; got shape \(3, 6, 5\)"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(InvalidValueError, match=message):
        dilated_conv(jnp.ones((2, 9, 4)), jnp.ones(shape))


def test_a_step_of_time_sees_its_radius_and_no_more_and_rows_do_not_meet():
    network, length = WaveNet(3, 3), 31
    assert network.radius == 7 and WaveNet().radius == 255
    x = jnp.zeros((2, length, 2))
    variables = filled(jax.eval_shape(lambda x: network.init(KEY, x, 1), x))
    seen = jax.jit(jax.grad(lambda x: network.apply(variables, x, 1)[0, 15, 0]))(x)
    assert np.flatnonzero(np.any(seen[0] != 0, axis=-1)).tolist() == list(range(8, 23))
    assert not np.any(seen[1])


def test_each_step_of_the_context_reaches_what_is_around_it():
    network, x = WaveNet(3, 2, skip_width=2), jnp.zeros((1, 12, 2))
    context = jnp.zeros((1, 12, 3))
    variables = filled(jax.eval_shape(lambda x, context: network.init(KEY, x, 1, context), x, context))
    seen = jax.jit(jax.grad(lambda c: network.apply(variables, x, 1, c)[0, 6, 0]))(context)
    # The context enters below the taps of a layer: what it does at its own step of the first layer moves by the second.
    assert np.flatnonzero(np.any(seen[0] != 0, axis=-1)).tolist() == [4, 6, 8]


def test_frames_become_steps_that_see_three_frames():
    embed, frames = UpsampledContext(features=2, factor=4), jax.device_put(RANDOM.normal(size=(3, 5, 6)))
    y, variables = jax.jit(embed.init_with_output)(KEY, frames)
    assert y.shape == (3, 1, 20, 2)
    moments = variables["constants"]["standardize"]
    np.testing.assert_allclose(moments["mean"], frames.mean((0, 1)), atol=1e-12)
    np.testing.assert_allclose(jnp.exp(-moments["log_scale"]), frames.std((0, 1)), rtol=1e-6)
    seen = jax.jit(jax.jacrev(lambda c: embed.apply(variables, c)[0, :, 0]))(frames[0])  # [20, 5, 6]
    reached = np.any(seen != 0, axis=-1).reshape(5, 4, 5)
    wanted = np.abs(np.arange(5)[:, None] - np.arange(5)) <= 1
    np.testing.assert_array_equal(reached, np.broadcast_to(wanted[:, None], reached.shape))
    with pytest.raises(InvalidTypeError, match="`context` must hold floating numbers"):
        embed.apply(variables, jnp.ones((5, 6), jnp.int32))
