"""Masked autoregressive flows: both inversions against the D-pass one, and the paths that the property suite leaves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jflows import bijectors as b
from jflows.bijectors import Bijector
from jflows.errors import InvalidValueError
from jflows.nn import MADE, MLP, Transformer
from jflows.ops import made_masks, sum_event
from jflows.ops.root_finding import invert_autoregressive
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
FORWARD, INVERSE = "forward_and_log_det", "inverse_and_log_det"
QUICK = {"compiler_options": {"xla_backend_optimization_level": 0}}


RING = b.RationalQuadraticSpline(2, np.pi, boundary="circular")
BY_COLUMN = b.ByColumn((b.Affine(), RING), (1, 0, 0, 1, 0))


def naive_forward(bijector, variables, z, context):
    """One pass of the network per coordinate, differentiated by autodiff."""
    dim, num_params = z.shape[-1], bijector.inner.num_params
    own = {"params": variables["params"]["conditioner"]}
    x, log_slope = jnp.zeros_like(z), z
    for _ in range(dim):
        params = bijector.conditioner.apply(own, x, num_params * dim, context).reshape(*z.shape[:-1], num_params, dim)
        x, log_slope = bijector.inner.apply({}, z, params, method=FORWARD)
    return x, sum_event(log_slope, 1)


def example(bijector, dim, context_dim=0, batch=(3,)):
    """Variables away from zero, z and context."""
    random = np.random.default_rng(0)
    z = jax.device_put(random.standard_normal((*batch, dim)))
    context = jax.device_put(random.standard_normal((*batch, context_dim))) if context_dim else None
    init = jax.jit(functools.partial(bijector.init, method=FORWARD), **QUICK)
    return perturb(init(KEY, z, context), 0, 0.5), z, context


@pytest.mark.parametrize(
    ("inversion", "conditioner", "inner", "context_dim"),
    [
        pytest.param("incremental", MADE((9, 5), "tanh"), b.Affine(), 0, marks=pytest.mark.slow),
        ("incremental", MADE((6, 6), "silu", order="random", seed=1, residual=True), b.Affine(), 2),
        ("parallel", MADE((6,), "tanh", order="reversed"), b.Affine(), 2),
        pytest.param(
            *("incremental", MADE((6,), "tanh", order="random", circles=(0, 3)), BY_COLUMN, 2), marks=pytest.mark.slow
        ),
        pytest.param("parallel", MADE((6,), "tanh", circles=(0, 3)), BY_COLUMN, 0, marks=pytest.mark.slow),
        pytest.param("incremental", MADE((8,), "tanh"), b.LogisticMixture(2), 2, marks=pytest.mark.slow),
        pytest.param("parallel", MADE((8,), "tanh"), b.LogisticMixture(2), 0, marks=pytest.mark.slow),
        pytest.param("incremental", MADE((3, 3), "tanh", order="reversed"), b.Affine(), 2, marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_one_pass_per_coordinate(inversion, conditioner, inner, context_dim):
    bijector = b.MaskedAutoregressive(conditioner, inner, inversion)
    variables, z, context = example(bijector, 5, context_dim)

    def loss(forward, variables, z, context):
        x, log_det = forward(variables, z, context)
        return jnp.sum(jnp.sin(x) * jnp.arange(1, 6)) + jnp.sum(log_det**2)

    def derivatives(forward, *args):
        arguments = tuple(range(len(args) - (args[-1] is None)))
        gradient = jax.value_and_grad(functools.partial(loss, forward), arguments)(*args)
        along = jax.jvp(lambda z: forward(args[0], z, args[2]), (args[1],), (jnp.cos(args[1]),))
        return gradient, along

    implicit = functools.partial(bijector.apply, method=FORWARD)
    naive = functools.partial(naive_forward, bijector)
    got, wanted = (
        jax.jit(functools.partial(derivatives, forward), **QUICK)(variables, z, context)
        for forward in (implicit, naive)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), got, wanted)


@pytest.mark.slow
def test_second_derivatives():
    bijector = b.MaskedAutoregressive(MADE((4,), "tanh"), b.Affine())
    variables, z, context = example(bijector, 3, batch=())
    total = lambda forward, z: jnp.sum(jnp.sin(forward(variables, z, context)[0]))
    implicit = functools.partial(bijector.apply, method=FORWARD)
    naive = functools.partial(naive_forward, bijector)
    hessian = jax.jit(lambda z: [jax.jacrev(jax.grad(functools.partial(total, f)))(z) for f in (implicit, naive)])
    np.testing.assert_allclose(*hessian(z), atol=1e-10)


@pytest.mark.parametrize(("dim", "order"), [(1, "natural"), (2, "random"), (13, "reversed"), (13, "random")])
@pytest.mark.by_default("1-natural")
def test_the_incremental_inverse_for_uneven_blocks(dim, order):
    """Layers narrower and wider than the input, so that blocks hold no, one or many units."""
    bijector = b.MaskedAutoregressive(MADE((3, 40), order=order), b.Affine())
    variables, z, context = example(bijector, dim, context_dim=dim % 2)
    run = jax.jit(lambda method, values: bijector.apply(variables, values, context, method=method), static_argnums=0)
    x, log_det = run(FORWARD, z)
    back, back_log_det = run(INVERSE, x)
    np.testing.assert_allclose(back, z, atol=1e-12)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-12)


@pytest.mark.slow
def test_weights_that_the_masks_forbid_take_no_part():
    """The incremental inverse reads kernels without their masks."""
    bijector = b.MaskedAutoregressive(MADE((5, 7)), b.Affine())
    variables, z, _ = example(bijector, 4)
    masks = made_masks(bijector.conditioner.degrees(4), 2)
    kernels = variables["params"]["conditioner"]
    changed = {
        name: {**kernels[name], "kernel": jnp.where(mask, kernels[name]["kernel"], 1e6)}
        for name, mask in zip(("hidden_0", "hidden_1", "output"), masks, strict=True)
    }
    run = jax.jit(jax.value_and_grad(lambda params: jnp.sum(bijector.apply({"params": params}, z, method=FORWARD)[0])))
    got, wanted = run({"conditioner": changed}), run({"conditioner": kernels})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, wanted)


def test_a_single_coordinate_whose_network_has_no_units_has_its_slope_as_log_det():
    bijector = b.MaskedAutoregressive(MADE((6,), "tanh"), b.Affine())
    variables, z, _ = example(bijector, 1)
    run = lambda z: bijector.apply(variables, z, method=FORWARD)
    slopes = jax.jit(jax.grad(lambda z: run(z)[0].sum()), **QUICK)(z)
    np.testing.assert_allclose(jnp.log(jnp.abs(slopes[..., 0])), run(z)[1], atol=1e-12)


@pytest.mark.slow
def test_an_ensemble_and_batch_shapes():
    bijector = b.MaskedAutoregressive(MADE((6,), "tanh"), b.Affine())
    variables, z, context = example(bijector, 4, 2, batch=(2, 3))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), variables)
    run = lambda variables, z, context: bijector.apply(variables, z, context, method=FORWARD)
    together = jax.jit(jax.vmap(run, (0, None, None)), **QUICK)(stacked, z, context)
    one_context = jax.jit(run, **QUICK)(variables, z, context[:1, :1])
    apart = run(variables, z[0, 1], context[0, 1])
    assert [part.shape for part in together] == [(2, 2, 3, 4), (2, 2, 3)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0, 0, 1], b, atol=1e-12), together, apart)
    np.testing.assert_allclose(one_context[0][0, 0], together[0][0, 0, 0], atol=1e-12)


def test_against_tensorflow_probability():
    tfb = pytest.importorskip("tensorflow_probability.substrates.jax.bijectors", reason="needs the extra dev")
    bijector = b.MaskedAutoregressive(MADE((6,), "tanh", order="random"), b.Affine("exp"))
    variables, z, _ = example(bijector, 4)

    def shift_and_log_scale(x):
        params = bijector.conditioner.apply({"params": variables["params"]["conditioner"]}, x, 8)
        return -params[..., :4], -params[..., 4:]

    other = tfb.MaskedAutoregressiveFlow(shift_and_log_scale)
    x, log_det = jax.jit(functools.partial(bijector.apply, method=FORWARD))(variables, z)
    np.testing.assert_allclose(x, other.forward(z), atol=1e-12)
    np.testing.assert_allclose(log_det, other.forward_log_det_jacobian(z), atol=1e-12)


@pytest.mark.parametrize(
    "conditioner",
    [MADE((9,)), pytest.param(Transformer(4, 1, 2, event_ndims=1, causal=True), marks=pytest.mark.slow)],
)
def test_the_parallel_inverse_is_exact_after_as_many_steps_as_coordinates(conditioner):
    bijector = b.MaskedAutoregressive(conditioner, b.Affine(), "parallel", tolerance=1e-30)
    variables, z, _ = example(bijector, 5)
    run = jax.jit(lambda *args: args[0].apply(*args[1:], method=FORWARD, mutable="intermediates"), static_argnums=0)
    (x, _), told = run(bijector, variables, z)
    told = told["intermediates"]
    assert 1 <= told["inverse_iterations"] <= 5
    assert told["inverse_residual"] < 1e-14
    back, _ = bijector.apply(variables, x, method=INVERSE)
    np.testing.assert_allclose(back, z, atol=1e-14)
    (rough, _), told = run(bijector.clone(tolerance=0.1), variables, z)
    assert 1e-14 < told["intermediates"]["inverse_residual"] < 1
    assert np.max(np.abs(rough - x)) > 1e-14


class Cumulative(Bijector):
    """A user's own: z_i = sinh(x_i) exp(w s_i) + s_i with s_i = tanh of the sum of later x, inverted in parallel."""

    x_event_ndims = z_event_ndims = 1

    @linen.compact
    def _explicit(self, x):
        w = self.param("w", linen.initializers.constant(0.3), (), x.dtype)
        later = jnp.tanh(jnp.cumsum(x[..., ::-1], -1)[..., ::-1] - x)
        return jnp.sinh(x) * jnp.exp(w * later) + later, jnp.log(jnp.cosh(x)) + w * later

    def _inverse_and_log_det(self, x, context):
        z, log_slope = self._explicit(x)
        return z, sum_event(log_slope, 1)

    def _forward_and_log_det(self, z, context):
        if self.is_initializing():
            self._explicit(z)
        own, variables = self.unbind()
        x, _ = invert_autoregressive(lambda x: own.apply(variables, x, method="_explicit"), z)
        return x, -self._inverse_and_log_det(x, context)[1]


def test_a_map_of_ones_own_is_inverted_in_parallel():
    bijector, z = Cumulative(), jax.device_put(np.random.default_rng(0).standard_normal((3, 6)))
    variables = bijector.init(KEY, z, method=FORWARD)
    there = lambda variables, x: bijector.apply(variables, x, method=INVERSE)
    back = lambda variables, z: bijector.apply(variables, z, method=FORWARD)
    x = jax.jit(back)(variables, z)[0]
    np.testing.assert_allclose(there(variables, x)[0], z, atol=1e-13)
    # d/dw f^-1(f(x; w); w) = 0 only if the implicit derivative by w is right.
    weights = jnp.sin(1 + z)
    loss = lambda first, second: jnp.sum(weights * back(second, there(first, x)[0])[0])
    of_there, of_back = (g["params"]["w"] for g in jax.jit(jax.grad(loss, (0, 1)))(variables, variables))
    assert abs(of_back) > 0.1
    np.testing.assert_allclose(of_there, -of_back, rtol=1e-9)


def test_only_a_formula_may_be_replayed():
    make = functools.partial(b.MaskedAutoregressive, MADE((4,)))
    assert make(b.Affine()).allows_invertible_backprop
    assert not make(b.Affine(), "parallel").allows_invertible_backprop
    assert not make(b.LogisticMixture()).allows_invertible_backprop
    assert not b.Inverse(make(b.Affine(), "parallel")).allows_invertible_backprop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inversion": "newton"}, "`inversion` must be one of 'auto', 'incremental', 'parallel'; got 'newton'"),
        ({"tolerance": 0.0}, "MaskedAutoregressive: `tolerance` must be positive; got 0.0"),
        (
            {"inversion": "incremental"},
            "MaskedAutoregressive: `conditioner` must have the methods of OrderedConditioner for inversion='incre.*'; "
            "got Transformer. Use inversion='parallel'.",
        ),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(InvalidValueError, match=message):
        b.MaskedAutoregressive(Transformer(4, 1, 1, causal=True, event_ndims=1), b.Affine(), **options)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (MLP((4,)), "MaskedAutoregressive: `conditioner` must be autoregressive; got MLP. Use MADE, or Transformer"),
        (Transformer(4, 1, 1, event_ndims=1), "`conditioner` must be autoregressive; got Transformer"),
        (
            Transformer(4, 1, 1, causal=True),
            "`conditioner` must be for events of the same axes; got Transf",
        ),
    ],
)
def test_networks_that_would_give_a_wrong_log_det_are_refused(network, message):
    with pytest.raises(InvalidValueError, match=message):
        b.MaskedAutoregressive(network, b.Affine())
