"""What single bijectors promise beyond the contract: initialisation, golden values, precision, and NNX."""

import functools

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import nn as networks
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"


def init(bijector, values, method=INVERSE):
    """Output and variables, from one program."""
    return jax.jit(functools.partial(bijector.init_with_output, method=method))(KEY, values)


def apply(bijector, variables, values, method=INVERSE):
    return jax.jit(functools.partial(bijector.apply, method=method))(variables, values)


@pytest.mark.parametrize("method", [INVERSE, FORWARD])
@pytest.mark.parametrize(("event_ndims", "shape"), [(1, (50, 3)), (3, (6, 4, 4, 3))])
@pytest.mark.by_default("3-shape1-inverse_and_log_det")
def test_actnorm_whitens_what_init_puts_out(method, event_ndims, shape):
    values = 3 + 5 * np.random.default_rng(0).normal(size=shape)
    out, _ = init(b.ActNorm(event_ndims), values, method)[0]
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(np.mean(out, axis=axes), 0, atol=1e-9)
    np.testing.assert_allclose(np.std(out, axis=axes), 1, atol=1e-9)


def test_invertible_linear_starts_as_a_rotation():
    x = np.random.default_rng(0).normal(size=(5, 4))
    (z, log_det), variables = init(b.InvertibleLinear(), x)
    np.testing.assert_allclose(np.sum(np.square(z), axis=-1), np.sum(x**2, axis=-1), rtol=1e-10)
    np.testing.assert_allclose(log_det, 0, atol=1e-10)
    assert set(variables) == {"params", "constants"}
    assert variables["params"]["plu"].shape == (4, 4)


@pytest.mark.parametrize("make", [b.InvertibleLinear, b.ActNorm, b.RandomPermutation])
@pytest.mark.by_default("ActNorm")
def test_init_and_apply_in_bfloat16(make):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(jnp.bfloat16)
    (z, log_det), _ = init(make(), x)
    assert (z.dtype, log_det.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.slow
def test_a_float32_context_does_not_widen_bfloat16_values():
    x, context = jnp.ones((2, 4), jnp.bfloat16), jnp.ones((2, 3), jnp.float32)
    for bijector in (b.Elementwise(b.Affine()), b.Coupling(networks.MLP((4,)), b.Affine())):
        (z, _), _ = bijector.init_with_output(KEY, x, context, method=INVERSE)
        assert z.dtype == jnp.bfloat16


def test_constant_log_dets_of_narrow_parameters_are_summed_in_float32():
    x = np.ones((2, 512), jnp.bfloat16)
    log_scale = np.full((512,), 0.01, jnp.bfloat16)
    variables = {"params": {"shift": np.zeros(512, jnp.bfloat16), "log_scale": log_scale}}
    _, log_det = apply(b.ActNorm(), variables, x)
    np.testing.assert_allclose(log_det, float(log_scale[0]) * 512, rtol=1e-6)


def test_permutations_are_drawn_once_and_stay_out_of_params():
    x = np.arange(8.0)
    (z, _), variables = init(b.RandomPermutation(), x)
    assert sorted(z.tolist()) == x.tolist() != z.tolist()
    assert list(variables) == ["constants"]
    np.testing.assert_array_equal(b.Reverse().apply({}, x, method="inverse"), x[::-1])


@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_pixels_fill_the_stated_ranges(num_bits):
    x = np.array([0.0, 2.0**num_bits]).reshape(2, 1, 1, 1)
    centred, log_det = apply(b.CentredPixels(num_bits), {}, x)
    np.testing.assert_array_equal(np.ravel(centred), [-0.5, 0.5])
    np.testing.assert_allclose(log_det, -num_bits * np.log(2), rtol=1e-12)
    logits, outside = apply(b.LogitPixels(num_bits, 0.05), {}, np.stack([x, 2 * x + 1]), "inverse")
    np.testing.assert_allclose(np.ravel(logits), [np.log(0.05 / 0.95), np.log(0.95 / 0.05)], rtol=1e-12)
    assert np.isnan(outside[1]).all()  # left visible, as documented


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sided_logits_end_below_white(dtype):
    pixels, top = b.LogitPixels(alpha=1e-6, sides="one"), np.nextafter(dtype(256), dtype(0))
    x = np.array([0, 0.5, 255.5, top], dtype).reshape(4, 1, 1, 1)
    z, log_det = map(np.asarray, apply(pixels, {}, x))
    p = 1e-6 + (1 - 1e-6) * np.asarray(x, np.float64).ravel() / 256
    np.testing.assert_allclose(z.ravel()[:3], np.log(p / (1 - p))[:3], rtol=1e-6)
    assert np.isfinite(z).all() and np.isfinite(log_det).all()  # in float32 p itself would be 1, and its logit infinite
    np.testing.assert_allclose(apply(pixels, {}, z, "forward"), x, rtol=1e-6, atol=1e-4)
    white = np.full((1, 1, 1), 256, dtype)
    assert np.isnan(apply(pixels, {}, white, "inverse")).all() and apply(pixels, {}, white)[1] == -np.inf
    drawn = apply(pixels, {}, np.full((1, 1, 1), 60, dtype), "forward")
    assert drawn == top and str(pixels.x_domain) == "[0, 256)"  # a latent that no pixel has


@pytest.mark.parametrize(
    ("scale", "low", "high"), [("tanh", np.exp(-2), np.exp(2)), ("sigmoid", 0, 1), ("exp", 0, np.inf)]
)
def test_affine_scales_stay_in_their_interval(scale, low, high):
    params = np.stack([np.zeros(5), [-50.0, -3.0, 0.0, 3.0, 50.0]])
    z, log_det = map(np.asarray, jax.jit(b.Affine(scale).inverse_and_log_det)(np.ones(5), params))
    assert np.all((low <= z) & (z <= high) & (z > 0))
    np.testing.assert_allclose(np.log(z), log_det, atol=1e-12)


def test_affine_coupling_equals_distrax():
    distrax = pytest.importorskip("distrax")
    x = np.random.default_rng(0).normal(size=(6, 4))
    coupling = b.Coupling(networks.MLP((8,)), b.Affine("exp"))
    variables = perturb(init(coupling, x)[1], 1, 0.3)

    def conditioner(kept):
        params = {"params": variables["params"]["conditioner"]}
        raw = coupling.conditioner.apply(params, kept, 4, None)
        return raw.reshape(*raw.shape[:-1], 2, 2)

    def inner(params):  # distrax: y = scale x + shift, so z = exp(s) x + exp(s) t
        scale = jnp.exp(params[..., 1, :])
        return distrax.ScalarAffine(scale * params[..., 0, :], scale)

    reference = distrax.SplitCoupling(2, 1, conditioner, inner)
    for method, theirs in ((INVERSE, reference.forward_and_log_det), (FORWARD, reference.inverse_and_log_det)):
        got = apply(coupling, variables, x, method)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), got, jax.jit(theirs)(x))


def test_chain_of_affine_maps_equals_distrax():
    distrax = pytest.importorskip("distrax")
    x = np.random.default_rng(0).normal(size=(6, 3))
    chain = b.Chain((b.ActNorm(), b.Reverse(), b.ActNorm()))
    variables = perturb(init(chain, x)[1], 1, 0.5)

    def affine(name):  # x -> z
        own = variables["params"][name]
        scale = jnp.exp(own["log_scale"])
        return distrax.Block(distrax.ScalarAffine(scale * own["shift"], scale), 1)

    reverse = distrax.Lambda(
        forward=lambda x: x[..., ::-1],
        inverse=lambda y: y[..., ::-1],
        forward_log_det_jacobian=lambda x: jnp.zeros(x.shape[:-1]),
        inverse_log_det_jacobian=lambda y: jnp.zeros(y.shape[:-1]),
        event_ndims_in=1,
        is_constant_jacobian=True,
    )
    reference = distrax.Chain([affine("layers_0"), reverse, affine("layers_2")])  # distrax applies the last first
    got, wanted = apply(chain, variables, x), jax.jit(reference.forward_and_log_det)(x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), got, wanted)


def test_multiscale_cuts_and_joins_latents():
    levels = (b.Squeeze(), b.Squeeze(), b.Reverse(3))
    bijector = b.MultiScale((4, 8, 3), levels, tuple(b.Reverse(3).clone() for _ in levels))
    assert bijector.latent_shapes() == ((2, 4, 6), (1, 2, 12), (1, 2, 12))
    z = np.random.default_rng(0).normal(size=(5, 96))
    pieces = jax.jit(bijector.split_latent)(z)
    assert [piece.shape[1:] for piece in pieces] == list(bijector.latent_shapes())
    np.testing.assert_array_equal(jax.jit(bijector.join_latent)(pieces), z)


def test_runs_inside_flax_nnx():
    x = np.random.default_rng(0).normal(size=(6, 4))
    bijector = b.Chain((b.Coupling(networks.MLP((4,)), b.Affine()), b.InvertibleLinear(), b.ActNorm()))
    model = flax.nnx.bridge.ToNNX(bijector, rngs=flax.nnx.Rngs(0))
    model.lazy_init(x, method=INVERSE)
    run = flax.nnx.jit(lambda model, values, method: model(values, method=method), static_argnames="method")
    z, log_det = run(model, x, INVERSE)
    back, back_log_det = run(model, z, FORWARD)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-9)

    def loss(model):
        return jnp.sum(model(x, method=INVERSE)[1])

    gradients = jax.tree.leaves(flax.nnx.jit(flax.nnx.grad(loss))(model))
    assert any(np.any(leaf) for leaf in gradients)


@pytest.mark.parametrize("inner", [b.Affine(), b.RationalQuadraticSpline(2, 2.0)], ids=["few", "many"])
def test_a_coupling_of_images_maps_each_number_by_its_own_parameters(inner):
    """Of two channels, the second is changed; parameters come pixel by pixel, however the coupling lays them out."""
    network = networks.ConvNet(2, norm="bias")
    coupling, x = b.Coupling(network, inner, event_ndims=3), np.random.default_rng(0).normal(size=(3, 2, 4, 2))
    shapes = jax.eval_shape(lambda: coupling.init(jax.random.key(0), x))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: jax.device_put(random.standard_normal(leaf.shape)), shapes)

    @jax.jit
    def both(variables, x):
        raw = network.apply({"params": variables["params"]["conditioner"]}, x[..., :1], inner.num_params)
        return coupling.apply(variables, x, method=INVERSE), inner.inverse_and_log_det(x[..., 1:], raw[..., None])

    (z, log_det), (wanted, log_slope) = both(variables, x)
    np.testing.assert_allclose(z, np.concatenate([x[..., :1], wanted], axis=-1), rtol=1e-12)
    np.testing.assert_allclose(log_det, np.sum(log_slope, axis=(1, 2, 3)), rtol=1e-12)
