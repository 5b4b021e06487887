"""Maps that stay invertible for all parameters, and numerical inverses whose gradients and residuals are right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import nn as networks
from jflows.errors import InvalidValueError
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"
FAMILIES = {
    "planar": b.Planar(),
    "radial": b.Radial(),
    "sylvester": b.Sylvester(2, num_reflections=2),
    "sylvester_qr": b.Sylvester(2, "qr"),
    "block_autoregressive": b.BlockNeuralAutoregressive(2),
    "integral": b.Elementwise(b.MonotoneIntegral(2, (3,), num_nodes=5)),
}
NUMERICAL = ("planar", "sylvester", "block_autoregressive")
NUM_DRAWS = 8


QUICK = {"compiler_options": {"xla_backend_optimization_level": 0}}


@functools.partial(jax.jit, static_argnums=0, **QUICK)
def there_and_back(bijector, variables, z):
    """For a stack of variables: x, what comes back, both log-dets, and the residual that was sown."""

    def one(variables):
        (x, log_det), first = bijector.apply(variables, z, method=FORWARD, mutable="intermediates")
        (back, back_log_det), second = bijector.apply(variables, x, method=INVERSE, mutable="intermediates")
        residuals = {**first.get("intermediates", {}), **second.get("intermediates", {})}
        return x, back, log_det, back_log_det, residuals.get("inverse_residual", jnp.zeros(()))

    return jax.vmap(one)(variables)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_of_0_and_of_1000_leave_the_map_invertible(name):
    bijector, random = FAMILIES[name], np.random.default_rng(0)
    z = jax.device_put(random.standard_normal((5, 3)))
    shapes = jax.eval_shape(functools.partial(bijector.init, method=INVERSE), KEY, z)
    sizes = 1e3 * (np.arange(NUM_DRAWS) > 0)
    draw = lambda leaf: (random.uniform(-1, 1, (*leaf.shape, NUM_DRAWS)) * sizes).T.reshape(NUM_DRAWS, *leaf.shape)
    x, back, log_det, back_log_det, residual = there_and_back(bijector, jax.tree.map(draw, shapes), z)
    assert all(np.isfinite(value).all() for value in (x, back, log_det, back_log_det, residual))
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-2, atol=1e-2)
    scale = 1 + np.max(np.abs(x), axis=(1, 2))
    assert np.all(residual <= 1e-9 * scale), residual / scale
    if name != "block_autoregressive":
        np.testing.assert_allclose(x[0], z, atol=1e-12)  # zeros give the identity
        np.testing.assert_allclose(log_det[0], 0, atol=1e-12)
    np.testing.assert_allclose(back, np.broadcast_to(z, back.shape), atol=1e-3)


@pytest.mark.parametrize(
    "name", ["sylvester", *(pytest.param(name, marks=pytest.mark.slow) for name in ("planar", "block_autoregressive"))]
)
def test_inverse_after_forward_does_not_depend_on_the_parameters(name):
    """d/dtheta f^-1(f(x; theta); theta) = 0 only if the implicit derivative by the parameters is right."""
    bijector, x = FAMILIES[name], np.random.default_rng(0).normal(size=(4, 3))
    there, back = (FORWARD, INVERSE) if name != "block_autoregressive" else (INVERSE, FORWARD)

    @functools.partial(jax.jit, **QUICK)
    def gradients(variables):
        def weighted(there_variables, back_variables):
            out = bijector.apply(there_variables, x, method=there)[0]
            return jnp.sum(jnp.sin(1 + x) * bijector.apply(back_variables, out, method=back)[0])

        return jax.grad(weighted, (0, 1))(variables, variables)

    variables = perturb(jax.jit(functools.partial(bijector.init, method=there))(KEY, x), 0, 0.5)
    by_forward, by_inverse = gradients(variables)
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(by_forward)) > 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-10), by_forward, by_inverse)


@pytest.mark.parametrize("name", FAMILIES)
def test_init_keeps_bfloat16(name):
    x = jax.ShapeDtypeStruct((4, 3), jnp.bfloat16)
    context = jax.ShapeDtypeStruct((4, 2), jnp.float32)
    run = functools.partial(FAMILIES[name].init_with_output, method=FORWARD)
    (z, log_det), variables = jax.eval_shape(run, KEY, x, context)
    assert (z.dtype, log_det.dtype) == (jnp.bfloat16, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}


def test_an_inner_map_with_parameters_of_its_own_serves_one_place():
    owner, plain = b.MonotoneIntegral(), b.Affine()
    coupling = lambda inner: b.Coupling(networks.MLP((4,)), inner)
    b.Chain((coupling(plain), coupling(plain)))
    b.Chain((coupling(owner), coupling(owner.clone())))
    message = "must not list one instance twice; got MonotoneIntegral at positions 0 and 1. Create one instance"
    with pytest.raises(InvalidValueError, match=message):
        b.Chain((coupling(owner), coupling(owner)))


def test_numerical_inverses_are_kept_from_invertible_backprop():
    assert not any(FAMILIES[name].allows_invertible_backprop for name in NUMERICAL)
    assert all(FAMILIES[name].allows_invertible_backprop for name in ("radial", "integral"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b.Planar(0.0), r"Planar: `min_slope` must lie in \(0, 1\); got 0.0"),
        (lambda: b.Radial(1.0), r"Radial: `min_slope` must lie in \(0, 1\); got 1.0"),
        (lambda: b.Sylvester(min_slope=2), r"Sylvester: `min_slope` must lie in \(0, 1\); got 2"),
        (lambda: b.Sylvester(0), "Sylvester: `num_units` must be at least 1; got 0"),
        (lambda: b.Sylvester(num_reflections=0), "Sylvester: `num_reflections` must be at least 1; got 0"),
        (lambda: b.Sylvester(1, "cayley"), "Sylvester: `orthogonal` must be one of 'householder', 'qr'; got 'cayley'"),
        (
            lambda: b.BlockNeuralAutoregressive(0),
            "BlockNeuralAutoregressive: `hidden_per_dim` must be at least 1; got 0",
        ),
        (lambda: b.BlockNeuralAutoregressive(2, 0), "`num_layers` must be at least 1; got 0"),
        (
            lambda: b.BlockNeuralAutoregressive(residual="gated"),
            "`residual` must be one of 'gate', 'add', 'none'; got 'gated'",
        ),
        (lambda: b.MonotoneIntegral(0), "MonotoneIntegral: `embedding_size` must be at least 1; got 0"),
        (lambda: b.MonotoneIntegral(bound=-1.0), "MonotoneIntegral: `bound` must be 1e-06 to 1e.06; got -1.0"),
        (lambda: b.MonotoneIntegral(hidden_sizes=()), r"`hidden_sizes` must hold at least 1 entry; got \(\)"),
        (lambda: b.MonotoneIntegral(num_nodes=32), "MonotoneIntegral: `num_nodes` must be odd and at least 3; got 32"),
        (lambda: b.MonotoneIntegral(min_slope=0), r"MonotoneIntegral: `min_slope` must lie in \(0, 1\); got 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


@pytest.mark.parametrize("method", [INVERSE, FORWARD])
def test_sylvester_needs_room_for_its_units(method):
    message = r"Sylvester: `x` must have at least num_units=4 dimensions; got shape \(3,\). Lower num_units."
    with pytest.raises(InvalidValueError, match=message):
        b.Sylvester(4).init(KEY, jnp.ones((2, 3)), method=method)
