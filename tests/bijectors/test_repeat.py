"""`Repeat`: gradients without stored activations, memory and compile time independent of depth, and initialisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jflows import bijectors as b
from jflows import nn as networks
from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import glow_step
from jflows.ops import constant_log_det
from jflows.testing.common import perturb
from tests.presets import filled

METHODS = ("inverse_and_log_det", "forward_and_log_det")
DIM, CONTEXT_DIM, NUM_LAYERS = 4, 2, 4


def step() -> Bijector:
    coupling = b.Coupling(networks.MLP((8,), activation="tanh"), b.Affine())
    return b.Chain((coupling, b.InvertibleLinear(), b.ActNorm()))


def repeat(backprop: str, anchor_every: int = 0) -> Bijector:
    return b.Repeat(step(), NUM_LAYERS, backprop, anchor_every)


@functools.cache
def example():
    draw = np.random.default_rng(0).standard_normal
    x, context, weights = draw((6, DIM)), draw((6, CONTEXT_DIM)), (draw((6, DIM)), draw(6))
    shapes = jax.eval_shape(
        functools.partial(repeat("standard").init, method=METHODS[0]), jax.random.key(0), x, context
    )
    return filled(shapes, seed=1), x, context, weights


@functools.partial(jax.jit, static_argnames=("bijector", "method"))
def gradients(bijector, method, variables, x, context, weights):
    """With respect to parameters, input and context, of a random function of value and log-det."""

    def loss(params, x, context):
        out, log_det = bijector.apply({**variables, "params": params}, x, context, method=method)
        return jnp.sum(weights[0] * jnp.sin(out)) + jnp.sum(weights[1] * log_det)

    return jax.grad(loss, argnums=(0, 1, 2))(variables["params"], x, context)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("backprop", "anchor_every"),
    [pytest.param("remat", 0, marks=pytest.mark.slow), ("invertible", 0), ("invertible", 2)],
)
@pytest.mark.by_default("invertible-2-inverse_and_log_det", "invertible-2-forward_and_log_det")
def test_gradients_equal_those_of_plain_autodiff(backprop, anchor_every, method):
    wanted = jax.device_get(gradients(repeat("standard"), method, *example()))
    got = gradients(repeat(backprop, anchor_every), method, *example())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), got, wanted)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(wanted))


@pytest.mark.parametrize("outer", ["remat", "invertible"])
@pytest.mark.by_default("invertible")
def test_replayed_steps_inside_steps_that_are_recomputed(outer):
    variables, x, context, weights = example()
    nested = b.Repeat(b.Repeat(step(), 2, "invertible"), NUM_LAYERS // 2, outer)
    in_pairs = {
        collection: {
            "layers": {"layers": jax.tree.map(lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]), tree["layers"])}
        }
        for collection, tree in jax.device_get(variables).items()
    }
    got = gradients(nested, METHODS[0], in_pairs, x, context, weights)
    wanted = gradients(repeat("standard"), METHODS[0], variables, x, context, weights)
    for a, b_ in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.reshape(a, b_.shape), b_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.by_default("inverse_and_log_det")
def test_equals_a_chain_of_slices_of_its_variables(method):
    variables, x, context, _ = example()
    chain = b.Chain(tuple(step() for _ in range(NUM_LAYERS)))
    unrolled = {
        collection: {f"layers_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], tree["layers"]) for i in range(NUM_LAYERS)}
        for collection, tree in jax.device_get(variables).items()
    }
    apply = jax.jit(lambda bijector, *args: bijector.apply(*args, method=method), static_argnums=0)
    wanted, got = apply(chain, unrolled, x, context), apply(repeat("standard"), variables, x, context)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), got, wanted)


def test_integer_context_has_no_gradient_and_keys_are_handed_on():
    variables, x, _, weights = example()
    labels = np.arange(6)[:, None] % CONTEXT_DIM == np.arange(CONTEXT_DIM)

    def loss(bijector, params):
        out, log_det = bijector.apply({**variables, "params": params}, x, labels, method=METHODS[0])
        return jnp.sum(weights[0] * out) + jnp.sum(log_det)

    wanted, got = (
        jax.jit(jax.grad(functools.partial(loss, repeat(m))))(variables["params"]) for m in ("standard", "invertible")
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), got, wanted)


@pytest.mark.slow
def test_float32_gradients_of_eight_glow_steps():
    """Bound: 1e-4 of the largest gradient of a leaf, with latents of the size of the data."""
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 4)).astype(np.float32)
    layer = glow_step(b.Affine(), width=8)
    variables = b.Repeat(layer, 8).init(jax.random.key(1, impl="unsafe_rbg"), x, method=METHODS[0])
    variables = perturb(variables, 1, 0.01, jnp.float32)

    def loss(backprop, params):
        z, log_det = b.Repeat(layer, 8, backprop).apply({**variables, "params": params}, x, method=METHODS[0])
        return jnp.mean(0.5 * jnp.sum(z**2, axis=(1, 2, 3)) - log_det)

    wanted, got = (
        jax.jit(jax.grad(functools.partial(loss, m)))(variables["params"]) for m in ("standard", "invertible")
    )
    for a, e in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == jnp.float32
        assert np.max(np.abs(a - e)) <= 1e-4 * np.max(np.abs(e))


IMAGES = (16, 16, 16, 4)  # activations much larger than parameters


@functools.cache
def planned_bytes(backprop: str, num_layers: int) -> int:
    coupling = b.Coupling(networks.ZeroConv(), b.Affine(), event_ndims=3)
    layer = b.Chain((coupling, b.InvertibleLinear(3), b.ActNorm(3)))
    bijector = b.Repeat(layer, num_layers, backprop)
    x = jax.ShapeDtypeStruct(IMAGES, jnp.float32)
    init = functools.partial(bijector.init, method=METHODS[0])
    variables = jax.eval_shape(init, jax.random.key(0), x)

    def loss(params, constants, x):
        z, log_det = bijector.apply({"params": params, "constants": constants}, x, method=METHODS[0])
        return jnp.sum(z**2) - jnp.sum(log_det)

    lowered = jax.jit(jax.grad(loss)).lower(variables["params"], variables["constants"], x)
    return lowered.compile().memory_analysis().temp_size_in_bytes


def test_planned_memory_is_flat_in_depth_only_without_stored_activations():
    assert planned_bytes("invertible", 128) <= 1.05 * planned_bytes("invertible", 8)
    assert planned_bytes("standard", 32) >= 2.5 * planned_bytes("standard", 8)
    assert planned_bytes("invertible", 128) < planned_bytes("remat", 32) < planned_bytes("standard", 32)


class CountsTraces(Bijector):
    """z = x / 2, which counts how often its hook is run by Python."""

    x_event_ndims = z_event_ndims = 1

    def _forward_and_log_det(self, z, context):
        return z * 2, constant_log_det(z, 1, z.shape[-1] * np.log(2))

    def _inverse_and_log_det(self, x, context):
        traces.append(x.shape)
        return x / 2, constant_log_det(x, 1, -x.shape[-1] * np.log(2))


traces: list[tuple[int, ...]] = []


def test_tracing_does_not_grow_with_depth():
    def count(num_layers: int) -> int:
        traces.clear()
        bijector = b.Repeat(CountsTraces(), num_layers)
        jax.make_jaxpr(functools.partial(bijector.apply, method=METHODS[0]))({}, jnp.ones((2, 3)))
        return len(traces)

    assert count(4) == count(32) <= 2


@pytest.mark.parametrize("backprop", b.repeat.BACKPROP_MODES)
def test_the_gradient_program_has_one_size_for_all_depths(backprop):
    def count(num_layers: int) -> int:
        bijector = b.Repeat(step(), num_layers, backprop)
        x = jnp.ones((2, DIM))
        variables = jax.eval_shape(functools.partial(bijector.init, method=METHODS[0]), jax.random.key(0), x)

        def loss(variables, x):
            return jnp.sum(bijector.apply(variables, x, method=METHODS[0])[1])

        return count_equations(jax.make_jaxpr(jax.grad(loss, allow_int=True))(variables, x).jaxpr)

    assert count(4) == count(32) > 100


def count_equations(jaxpr) -> int:
    """Equations of a program, those of the programs inside it included."""
    return sum(1 + sum(map(count_equations, jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.by_default("inverse_and_log_det")
def test_every_step_is_initialised_by_the_activations_that_reach_it(method):
    x = 3 + 5 * np.random.default_rng(0).normal(size=(64, DIM)) ** 2
    bijector = b.Repeat(b.Chain((b.ActNorm(), b.InvertibleLinear())), 3)
    variables = jax.jit(functools.partial(bijector.init, method=method))(jax.random.key(1, impl="unsafe_rbg"), x)
    variables = jax.device_get(variables)
    apply = jax.jit(lambda part, own, x: part.apply(own, x, method=method)[0], static_argnums=0)
    order = range(3) if method == METHODS[1] else reversed(range(3))
    for index in order:
        norm, linear = ({c: tree["layers"].get(f"layers_{k}", {}) for c, tree in variables.items()} for k in (0, 1))
        norm, linear = (jax.tree.map(lambda leaf, i=index: leaf[i], tree) for tree in (norm, linear))
        parts = [(b.ActNorm(), norm), (b.InvertibleLinear(), linear)]
        for part, own in parts if method == METHODS[1] else reversed(parts):
            x = np.asarray(apply(part, own, x))
            if isinstance(part, b.ActNorm):
                np.testing.assert_allclose(np.mean(x, axis=0), 0, atol=1e-9)
                np.testing.assert_allclose(np.std(x, axis=0), 1, atol=1e-9)


def test_recorded_activations_come_one_per_step():
    variables, x, context, _ = example()
    apply = functools.partial(repeat("invertible").apply, method=METHODS[0])
    both = jax.jit(lambda *args: (apply(*args, mutable=["intermediates"]), apply(*args)))
    ((out, log_det), recorded), wanted = jax.device_get(both(variables, x, context))
    np.testing.assert_allclose(out, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(log_det, wanted[1], rtol=1e-12)
    per_step = recorded["intermediates"]["layers"]["max_abs"]
    assert per_step.shape == (NUM_LAYERS,)
    assert per_step[0] == np.max(np.abs(out))  # step 0 is the last one on the way to z


class Numerical(Bijector):
    """A map that cannot be replayed."""

    x_event_ndims = z_event_ndims = 1
    allows_invertible_backprop = False

    def _forward_and_log_det(self, z, context):
        return z, constant_log_det(z, 1, 0.0)

    _inverse_and_log_det = _forward_and_log_det


@pytest.mark.parametrize(
    "wrap", [lambda layer: layer, b.Inverse, lambda layer: b.Chain((layer,)), lambda layer: b.Repeat(layer, 2)]
)
def test_a_layer_that_cannot_be_replayed_is_refused(wrap):
    layer = wrap(Numerical())
    kind = type(layer).__name__
    rule = f"Repeat: `layer` must be replayable for backprop='invertible'; got {kind}. Use backprop='remat'."
    with pytest.raises(InvalidValueError, match=f"^{rule}$"):
        b.Repeat(layer, 2, "invertible")
    assert b.Repeat(layer, 2, "remat").num_layers == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, "magic"), "Repeat: `backprop` must be one of 'standard', 'remat', 'invertible'; got 'magic'"),
        ((0,), "Repeat: `num_layers` must be at least 1; got 0"),
        ((4, "invertible", 3), "`anchor_every` must be 0, or divide num_layers=4 with backprop='invertible'; got 3"),
        ((4, "remat", 2), "`anchor_every` must be 0, or divide num_layers=4 with backprop='invertible'; got 2"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        b.Repeat(b.ActNorm(), *arguments)


@pytest.mark.parametrize("anchor_every", [None, 0, 1])
def test_variables_of_another_depth_are_refused(anchor_every):
    settings = () if anchor_every is None else ("invertible", anchor_every)
    variables = filled(jax.eval_shape(b.Repeat(b.ActNorm(), 3).init, jax.random.key(0), jnp.ones((4, 2))), seed=0)
    rule = r"Repeat: `variables` must hold num_layers=2 copies of each variable, .*; got 3\. Pass what"
    with pytest.raises(InvalidValueError, match=rule):
        b.Repeat(b.ActNorm(), 2, *settings).apply(variables, jnp.ones((4, 2)))


def test_a_layer_that_changes_the_shape_is_refused():
    rule = r"Repeat: `layer` must keep the event shape; got \(4, 4, 1\) -> \(2, 2, 4\). Put that layer in a Chain."
    with pytest.raises(InvalidValueError, match=rule):
        b.Repeat(b.Squeeze(), 2).z_event_shape((4, 4, 1))
    with pytest.raises(InvalidTypeError, match="Repeat: `layer` must be a Bijector; got MLP"):
        b.Repeat(networks.MLP(), 2)


@pytest.mark.skipif(
    getattr(jax.config, "jax_custom_vjp3", False), reason="JAX's coming form refuses by itself, before the mark does"
)
def test_forward_mode_through_replayed_steps_names_the_setting_that_allows_it():
    z = jnp.ones((1, 2))
    repeats = {how: b.Repeat(b.ActNorm(), 2, how) for how in ("invertible", "standard", "remat")}
    variables = filled(jax.eval_shape(repeats["standard"].init, jax.random.key(0), z), seed=0)
    slope = lambda how: jax.jit(lambda z: jax.jvp(lambda z: repeats[how].apply(variables, z)[0], (z,), (z,))[1])(z)
    message = "Repeat: `backprop` must be 'standard' or 'remat' for derivatives in forward mode .*; got 'invertible'"
    with pytest.raises(InvalidValueError, match=message):
        slope("invertible")
    np.testing.assert_allclose(slope("standard"), slope("remat"))
    loss = lambda how: lambda z: jnp.sum(repeats[how].apply(variables, z)[0] ** 2)
    invertible, standard = jax.jit(lambda z: [jax.hessian(loss(how))(z) for how in ("invertible", "standard")])(z)
    np.testing.assert_allclose(invertible, standard)
