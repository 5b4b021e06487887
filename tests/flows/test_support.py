"""Support: the density is 0 outside, samples lie inside, and `fit` refuses rows outside by row, column and layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.data import ImageData, TableData
from jflows.distributions import StandardNormal, Uniform
from jflows.errors import DataError
from jflows.flows import Flow, MixtureOfFlows
from jflows.ops.domain import REALS, Domain
from jflows.testing.common import require_finite
from jflows.train import TrainConfig

KEY = jax.random.key(0)
OUTSIDE = {  # for each bijector, numbers outside of its domain: of x, then of z
    b.Exp(): ((0.0, -2.0, jnp.inf), ()),
    b.Softplus(): ((0.0, -2.0, jnp.inf), ()),
    b.Sigmoid(): ((0.0, 1.0, -1.0, 2.0), ()),
    b.Logit(): ((), (0.0, 1.0, -1.0, 2.0)),
    b.Tanh(): ((-1.0, 1.0, 3.0), ()),
    b.Softsign(): ((-1.0, 1.0, 2.0), ()),
    b.ELU(): ((-1.0, -3.0), ()),
    b.Power(): ((0.0, -1.0), (0.0, -1.0)),
    b.Inverse(b.Sigmoid()): ((), (0.0, 1.0, 2.0)),
}


def coupling() -> b.Bijector:
    return b.Coupling(nn.MLP((4,)), b.Affine())


def flow_of(*layers: b.Bijector, preprocess: b.Bijector | None = None, base=None) -> Flow:
    bijector = layers[0] if len(layers) == 1 else b.Chain(layers)
    return Flow(bijector, StandardNormal((2,)) if base is None else base, (2,), preprocess=preprocess)


@pytest.mark.parametrize("bijector", OUTSIDE, ids=lambda bijector: type(bijector).__name__)
def test_outside_of_a_domain_there_is_no_image_and_no_density(bijector):
    assert bijector.is_restricted and b.Chain((bijector,)).is_restricted and not b.ActNorm().is_restricted
    for values, way in zip(OUTSIDE[bijector], ("inverse", "forward"), strict=True):
        for value in values:
            x = jnp.array([0.5, value], jnp.float32)
            image, log_det = bijector.apply({}, x, method=f"{way}_and_log_det")
            assert jnp.isneginf(log_det) and jnp.isfinite(image).all()
            alone = bijector.apply({}, x, method=way)
            assert jnp.isnan(alone[1])
        image, log_det = bijector.apply({}, jnp.array([0.5, jnp.nan]), method=f"{way}_and_log_det")
        assert jnp.isnan(log_det) and jnp.isnan(image[1])


@pytest.mark.parametrize("num_bits", [5, 8])
@pytest.mark.by_default("5")
def test_no_pixel_lies_beyond_the_levels(num_bits):
    pixels, high = b.LogitPixels(num_bits), 2.0**num_bits
    for value in (-5.0, high + 4):
        assert jnp.isnan(pixels.apply({}, jnp.full((1, 1, 1), value), method="inverse"))
        assert jnp.isneginf(pixels.apply({}, jnp.full((1, 1, 1), value))[1])
    for value in (0.0, high):
        assert jnp.isfinite(pixels.apply({}, jnp.full((1, 1, 1), value))[1])
    flow = jflows.glow((2, 2, 1), 1, 1, width=2, num_bits=num_bits, norm="bias")
    x = jnp.array([0, -5, int(high), int(high) - 1])[:, None, None, None] + jnp.zeros((1, 2, 2, 1), int)
    variables = flow.init(KEY, np.random.default_rng(0).integers(0, 2**num_bits, (16, 2, 2, 1)))
    log_prob = jax.jit(flow.log_prob)(variables, x)
    np.testing.assert_array_equal(jnp.isneginf(log_prob), [False, True, True, False])


FLOWS = {
    "exp": lambda: flow_of(b.Exp()),
    "sigmoid": lambda: flow_of(b.Sigmoid()),
    "tanh": lambda: flow_of(b.Tanh()),
    "stack": lambda: flow_of(coupling(), b.Stack((b.Exp(), b.Sigmoid()), (1, 1))),
    "scaled": lambda: flow_of(b.Sigmoid(), b.Elementwise(b.Affine())),
    "repeated": lambda: flow_of(b.Repeat(b.Chain((coupling(), b.Tanh())), 2, "invertible"), b.Exp()),
    "standardised": lambda: flow_of(coupling(), b.Tanh(), preprocess=b.Standardize()),
    "uniform": lambda: flow_of(b.Elementwise(b.RationalQuadraticSpline(4, 1.0)), base=Uniform((2,), -1.0, 1.0)),
}


@pytest.mark.by_default("exp", "stack", "standardised", "uniform")
@pytest.mark.parametrize("name", FLOWS)
def test_samples_lie_in_the_support_and_have_the_density_they_are_said_to_have(name):
    flow = FLOWS[name]()
    temperature = 1.0 if name == "uniform" else 8.0  # far into the saturated ends
    with jax.enable_x64(False):
        x = jax.random.uniform(KEY, (64, 2), minval=0.6, maxval=0.7) + 1000 * (name == "standardised")
        variables = flow.init(KEY, x)
        draw = jax.jit(lambda key: flow.sample_and_log_prob(variables, key, (20_000,), None, temperature))
        samples, log_prob = draw(jax.random.key(1))
        assert samples.dtype == jnp.float32 and jnp.isfinite(log_prob).all()
        np.testing.assert_allclose(log_prob, jax.jit(flow.log_prob)(variables, samples), rtol=1e-5)


def test_float32_sigmoids_and_tanhs_keep_their_ends_open():
    z = np.asarray([-200.0, 200.0], np.float32)
    low, high = b.Sigmoid().apply({}, z, method="forward")
    assert low == jnp.finfo(jnp.float32).smallest_normal and high == np.nextafter(np.float32(1), np.float32(0))
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64):
        for domain in (Domain(0.0), Domain(-1.0, 1.0), Domain(high=0.0), Domain(3.0, 5.0)):
            moved = domain.moved_inside(jnp.array([-jnp.inf, domain.low, domain.high, jnp.inf, jnp.nan], dtype))
            assert moved.dtype == dtype and domain.contains(moved[:4]).all() and jnp.isnan(moved[4])
    assert Domain(0.0, 1.0, closed=True).moved_inside(np.array([1.0]))[0] == 1.0
    assert REALS.contains(jnp.array([0.0, jnp.inf])).tolist() == [True, False]


@pytest.mark.parametrize("preset", ["realnvp", "maf"])
def test_rows_outside_have_density_zero_with_gradient_zero_and_leave_the_others_alone(preset):
    flow = getattr(jflows, preset)((2,), num_layers=1, hidden_sizes=(4,), standardize=False)
    flow = dataclasses.replace(flow, bijector=b.Chain((flow.bijector, b.Exp())))
    good = np.array([[0.5, 1.5], [2.0, 0.1]])
    mixed = jnp.concatenate([good, jnp.array([[0.0, 1.0], [1.0, -3.0], [jnp.inf, 1.0]])])
    variables = flow.init(KEY, good)

    def total(params, x):
        log_prob = flow.log_prob({**variables, "params": params}, x)
        return jnp.sum(jnp.where(jnp.isneginf(log_prob), 0, log_prob)), log_prob

    run = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (of_params, of_x), log_prob = run(variables["params"], mixed)
    (of_good, _), of_good_rows = run(variables["params"], good)
    np.testing.assert_allclose(log_prob[:2], of_good_rows, rtol=1e-12)
    assert jnp.isneginf(log_prob[2:]).all() and not jnp.any(of_x[2:])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), of_params, of_good)
    score = jax.jit(jax.value_and_grad(lambda x: jnp.sum(flow.log_prob(variables, x))))
    assert not jnp.any(score(mixed)[1][2:])  # without the mask of this test
    assert jnp.isnan(score(mixed.at[0, 0].set(jnp.nan))[0])
    z, log_det = jax.jit(flow.encode)(variables, mixed)
    assert jnp.isnan(z[2:]).all() and jnp.isneginf(log_det[2:]).all() and jnp.isfinite(z[:2]).all()


def test_numbers_that_overflow_on_the_way_have_density_zero():
    flow = jflows.realnvp((2,), num_layers=1, hidden_sizes=(4,))
    with jax.enable_x64(False):
        variables = flow.init(KEY, 1e-3 * np.random.default_rng(0).normal(size=(16, 2)))
        x = np.array([[3e38, 0.0], [0.0, 0.0]])  # 3e38 overflows when it is standardised
        log_prob, pullback = jax.vjp(jax.jit(lambda x: flow.log_prob(variables, x)), x)
        np.testing.assert_array_equal(jnp.isneginf(log_prob), [True, False])
        (gradient,) = pullback(jnp.ones(2))
        assert not jnp.any(gradient[0]) and jnp.isfinite(gradient).all()


def test_the_density_on_an_interval_integrates_to_one():
    flow = flow_of(coupling(), b.Stack((b.Exp(), b.Sigmoid()), (1, 1)))
    variables = flow.init(KEY, jnp.full((16, 2), 0.5))
    edges = jnp.linspace(-1.0, 3.0, 801)
    centres = (edges[1:] + edges[:-1]) / 2
    u, v = jnp.meshgrid(jnp.expm1(3 * centres), centres)  # from -0.95 to e^9: columns of both signs
    log_prob = jax.jit(flow.log_prob)(variables, jnp.stack([u, v], axis=-1))
    mass = jnp.sum(jnp.exp(log_prob) * 3 * jnp.exp(3 * centres)) * (4 / 800) ** 2
    assert abs(mass - 1) < 2e-3


def test_an_impossible_row_of_a_mixture():
    flow = flow_of(coupling(), b.Exp())
    mixture = MixtureOfFlows((flow, flow_of(coupling(), b.Sigmoid())), 2, weights="learned")
    x = np.array([[0.5, 0.2], [2.0, 3.0], [-1.0, 2.0]])  # inside both, one, none
    variables = mixture.init(KEY, jnp.tile(x[:1], (8, 1)))
    assert jnp.isnan(jax.jit(mixture.log_q)(variables, x)[2]).all()
    for score in (mixture.log_prob, mixture.elbo):
        total = lambda v, x, score=score: (jnp.sum(value := score(v, x)), value)
        (of_params, of_x), value = jax.jit(jax.grad(total, (0, 1), has_aux=True))(variables, x)
        assert np.array_equal(jnp.isfinite(value), [True, True, False]) and jnp.isneginf(value[2])
        assert jnp.isfinite(of_x).all() and not of_x[2].any() and of_x[:2].any()
        require_finite("test", "gradients", "must be finite", of_params)


def rows(num: int = 200) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(size=(num, 3))).astype(np.float32)


def test_fit_names_row_column_and_layer_before_the_first_step():
    flow = Flow(b.Chain((coupling(), b.Stack((b.Exp(), b.Identity()), (2, 1)))), StandardNormal((3,)), (3,))
    config, x = TrainConfig(steps=2, batch_size=8, init_batch=8), rows()
    x[30:34, 1] = 0
    data = TableData("sales", x, columns=("price", "count", "margin"))
    message = r"ends at the layer bijector/layers_1/bijectors_0; got row 30, column 'count': 0 \(4 such rows\)"
    with pytest.raises(DataError, match=f"fit: `data` .*{message}"):
        jflows.fit(flow, data, config)
    clean = data.take(np.r_[0:30, 34:200])
    with pytest.raises(DataError, match="fit: `validation` must lie where the density is positive"):
        jflows.fit(flow, clean, config, validation=data)
    assert jflows.fit(flow, clean, config).history[-1]["skipped"] == 0  # the advice works: remove these rows
    uniform = flow_of(b.Elementwise(b.RationalQuadraticSpline(4, 1.0)), base=Uniform((2,), -1.0, 1.0))
    with pytest.raises(DataError, match="ends at the base; got row 0"):
        jflows.fit(uniform, TableData("wide", 2 + rows()[:, :2]), config)


def test_images_are_not_scored_before_training():
    flow = jflows.glow((2, 2, 1), 1, 1, width=2, preprocess="logit")
    assert flow.preprocess.is_restricted and not flow.is_restricted  # ImageData has checked its integers
    data = ImageData("noise", np.random.default_rng(0).integers(0, 256, (32, 2, 2, 1)).astype(np.uint8))
    assert jflows.fit(flow, data, TrainConfig(steps=1, batch_size=8, init_batch=8)).step == 1


def test_subnormal_numbers_count_as_zero_compiled_or_not():
    flow = flow_of(coupling(), b.Exp())
    with jax.enable_x64(False):
        variables = flow.init(KEY, jnp.ones((4, 2)))
        x = np.array([[1e-38, 1.0], [1e-30, 1.0]])
        for log_prob in (flow.log_prob, jax.jit(flow.log_prob)):
            np.testing.assert_array_equal(jnp.isneginf(log_prob(variables, x)), [True, False])
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(flow.log_prob(variables, x))))(x)
        assert not jnp.any(gradient[0]) and jnp.isfinite(gradient).all()
