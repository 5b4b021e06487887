"""WaveGlow: shapes, what leaves early, other lengths, context, how far it sees, and the messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.bijectors import Coupling, MultiScale
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.presets.waveglow import radius
from jflows.nn import MLP, UpsampledContext

OPTIONS = dict(num_levels=2, num_steps=1, width=3, num_layers=2, group=4, num_out=1, context_width=2)
RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0, impl="unsafe_rbg")


def build(frames, **options):
    return jflows.waveglow((8 * frames,), context_shape=(frames, 3), **{**OPTIONS, **options})


def filled(flow, frames):
    """Random numbers for the variables of a flow: those that `init` gives a coupling do nothing."""
    x, context = jax.ShapeDtypeStruct((1, 8 * frames), float), jax.ShapeDtypeStruct((1, frames, 3), float)
    shapes = jax.eval_shape(flow.init, KEY, x, context)
    random = np.random.default_rng(1)

    def fill(path, leaf):
        if leaf.dtype == np.int32:  # permutations
            return jax.device_put(np.broadcast_to(np.arange(leaf.shape[-1])[::-1], leaf.shape))
        if "sign" in jax.tree_util.keystr(path):
            return jnp.ones(leaf.shape)
        return jax.device_put(0.3 * random.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.fixture(scope="module")
def flow():
    return build(6)


@pytest.fixture(scope="module")
def variables(flow):
    return filled(flow, 6)


@pytest.fixture(scope="module")
def rows():
    return jax.device_put(RANDOM.normal(size=(2, 48))), jax.device_put(RANDOM.normal(size=(2, 6, 3)))


def test_the_published_size_differs_from_the_published_number_by_what_is_stated():
    """87,879,272 parameters: four frames of a kernel instead of three, and no ActNorm, but lengths of kernels."""
    shapes = jax.ShapeDtypeStruct((1, 16_384), np.float32), jax.ShapeDtypeStruct((1, 64, 80), np.float32)
    flow = jflows.waveglow((16_384,), context_shape=(64, 80))
    params = jax.eval_shape(flow.init, KEY, *shapes)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    lengths_and_biases = 12 * (256 + 8 * 512 + 7 * 512 + 256 + 2 * 8 * 512)  # the linear maps of contexts have both
    kernel = 80 * 80 * 256 + 80 - 640  # ours has a bias for each channel of a step
    assert count == 86_044_840 == 87_879_272 - lengths_and_biases - kernel + 2 * 8
    assert flow.level_sizes == (4096, 4096, 8192)


def test_the_density_is_exact(flow, variables, rows):
    x, context = (row[0] for row in rows)

    @jax.jit
    def everything(x):
        z, _ = flow.encode(variables, x, context)
        jacobian = jax.jacrev(lambda x: flow.encode(variables, x, context)[0])(x)
        return flow.log_prob(variables, x, context), z, jacobian, flow.decode(variables, z, context)[0]

    log_prob, z, jacobian, back = everything(x)
    wanted = -0.5 * np.sum(z**2) - 24 * np.log(2 * np.pi) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_prob, wanted, rtol=1e-10)
    np.testing.assert_allclose(back, x, atol=1e-9)


@pytest.mark.slow  # `Repeat` has its own tests of this
def test_backprop_without_stored_activations_gives_the_same_gradient(flow, variables, rows):
    x, context = rows

    def gradient(flow):
        loss = lambda params, context: flow.log_prob({**variables, "params": params}, x, context).sum()
        return jax.jit(jax.grad(loss, (0, 1)))(variables["params"], context)

    found = gradient(build(6, backprop="invertible")), gradient(flow)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), *found)


def test_variables_serve_other_lengths_and_the_middle_does_not_see_the_ends(variables, rows):
    """A latent changed at one end moves samples as far as `radius` says, and no others."""
    frames, reach = 20, radius(2, 1, 2)
    assert reach == 2 * 3 and radius(3, 4, 8) == 12 * 255
    long = build(frames)
    z, context = RANDOM.normal(size=8 * frames), jax.device_put(RANDOM.normal(size=(frames, 3)))
    steps = np.arange(2 * frames)
    changed = z.copy()
    changed[: 2 * frames][steps == 20] += 1.0  # of the first level's image, which has one channel, step 20
    decode = jax.jit(lambda z: long.decode(variables, z, context)[0])
    moved = np.any((decode(changed) != decode(z)).reshape(2 * frames, 4), axis=-1)
    assert moved[20] and not np.any(moved[np.abs(steps - 20) > reach])
    by_context = jax.jit(lambda c: long.decode(variables, z, c)[0])
    moved = np.any((by_context(context.at[10].add(1.0)) != by_context(context)).reshape(2 * frames, 4), axis=-1)
    assert moved[20] and moved[22] and not np.any(moved[(steps < 18 - reach) | (steps > 23 + reach)])


def test_samples_are_normal_noise_that_is_shaped(flow, variables, rows):
    x = jax.jit(lambda c: flow.sample(variables, KEY, (), c, temperature=0.7))(rows[1])
    assert x.shape == (2, 48) and np.all(np.isfinite(x))


def test_it_reads_waveforms(flow):
    assert flow.reading.kind.name == "waveforms" and flow.reading.context_shape == (6, 3)
    assert flow.unit.key == "nats" and "pairs" not in flow.reports
    assert isinstance(flow.embed, UpsampledContext) and flow.embed.factor == 2
    assert jflows.waveglow((48,), **OPTIONS).embed is None


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4, 4, 1), {}, r"waveglow: `event_shape` must be \(samples,\); got \(4, 4, 1\)"),
        ((46,), {}, r"`event_shape` must be a multiple of group=4; got \(46,\)"),
        ((48,), {"num_levels": 4}, r"`num_out` must leave two of the 4 channels to the last of num_levels=4; got 1"),
        ((48,), {"context_shape": (5, 3)}, r"`context_shape` must have a number of frames that divides the 12 steps"),
        ((48,), {"context_shape": (5,)}, r"`context_shape` must be \(frames, channels\); got \(5,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, options, message):
    with pytest.raises(InvalidValueError, match=message):
        jflows.waveglow(shape, **{**OPTIONS, **options})


def test_channels_that_leave_as_they_are_need_no_priors_and_leave_one():
    with pytest.raises(InvalidValueError, match=r"MultiScale: `priors` must be \(\) with num_out"):
        level, prior = (Coupling(MLP((2,)), jflows.bijectors.Affine(), event_ndims=3) for _ in range(2))
        MultiScale((1, 4, 4), (level,), (prior,), num_out=1)
    levels = tuple(jflows.bijectors.InvertibleLinear(3) for _ in range(2))
    scales = MultiScale((1, 3, 4), levels, num_out=4)
    with pytest.raises(InvalidValueError, match=r"`num_out` must leave a channel to the next level, of 4; got 4"):
        scales.z_event_shape((1, 3, 4))


def test_the_kind_of_integers_is_said_by_what_dequantizes_them():
    noise = jflows.UniformDequantize()
    with pytest.raises(InvalidValueError, match="Flow: `data_kind` must be left out with `dequantize`"):
        jflows.Flow(jflows.bijectors.ActNorm(3), StandardNormal((2, 2, 1)), (2, 2, 1), noise, data_kind="waveforms")
