"""Combinators over the parts of an event, and couplings by masks: what is where, and the errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import nn
from jflows.errors import InvalidValueError
from tests.presets import filled

KEY = jax.random.key(0)
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"


def run(bijector, values, context=None, method=INVERSE):
    return bijector.init_with_output(KEY, values, context, method=method)[0]


def test_masked_leaves_the_masked_elements_alone():
    x = np.array([[1.0, 2.0, 3.0, 4.0]])
    z, log_det = run(b.Masked(b.Exp(), "alternate"), x)
    np.testing.assert_allclose(z, [[1, np.log(2), 3, np.log(4)]])
    np.testing.assert_allclose(log_det, [-np.log(8)])


def test_stack_gives_each_part_its_own_domain():
    z = np.array([[-3.0, 0.5, 9.0]])
    x, log_det = run(b.Stack((b.Exp(), b.Sigmoid(), b.Identity()), (1, 1, 1)), z, method=FORWARD)
    np.testing.assert_allclose(x, [[np.exp(-3), 1 / (1 + np.exp(-0.5)), 9]], rtol=1e-7)
    assert log_det.shape == (1,)


def test_split_standardises_one_half_by_the_other_and_maps_the_other_alone():
    x = np.random.default_rng(0).normal(size=(6, 5))
    prior = b.Coupling(nn.MLP((4,)), b.Affine())
    split = b.Split(b.Elementwise(b.Affine()), prior)
    variables = filled(jax.eval_shape(functools.partial(split.init, method=INVERSE), KEY, x), seed=0)
    run = jax.jit(lambda x: split.apply(variables, x, method=INVERSE)[0])
    z, moved = np.asarray(run(x)), np.asarray(run(x + (np.arange(5) >= 3)))
    np.testing.assert_array_equal(z[:, :3], moved[:, :3])
    assert np.all(z[:, 3:] != moved[:, 3:])


@pytest.mark.slow
def test_vmap_has_independent_copies():
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    copies = b.Vmap(b.ActNorm(), 2)
    variables = copies.init(KEY, x, method=INVERSE)
    z, log_det = copies.apply(variables, x, method=INVERSE)
    params = variables["params"]["bijector"]
    assert params["shift"].shape == (2, 3)
    alone = [
        b.ActNorm().apply({"params": jax.tree.map(lambda leaf, k=k: leaf[k], params)}, x[:, k], method=INVERSE)
        for k in range(2)
    ]
    np.testing.assert_allclose(z, jnp.stack([z for z, _ in alone], axis=1))
    np.testing.assert_allclose(log_det, sum(log_det for _, log_det in alone))


@pytest.mark.slow
def test_checkerboard_coupling_changes_every_second_pixel_from_the_others():
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 1))
    coupling = b.Coupling(nn.ConvNet(4, norm="bias"), b.Affine(), event_ndims=3, mask="checkerboard")
    variables = jax.tree.map(lambda leaf: leaf + 0.1, coupling.init(KEY, x, method=INVERSE))
    jacobian = jax.jacrev(lambda x: coupling.apply(variables, x, method="inverse"))(x).reshape(16, 16)
    kept = (np.indices((4, 4)).sum(0) % 2 == 1).reshape(16)
    np.testing.assert_array_equal(jacobian[kept], np.eye(16)[kept])
    changed = jacobian[~kept] != 0
    np.testing.assert_array_equal(changed[:, ~kept], np.eye(8, dtype=bool))
    assert changed[:, kept].any(axis=1).all()


def test_flipped_coupling_exchanges_the_parts():
    x = np.random.default_rng(0).normal(size=(2, 5))
    coupling = b.Coupling(nn.MLP((4,)), b.Shift(), flip=True)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, coupling.init(KEY, x, method=INVERSE))
    changed = coupling.apply(variables, x, method="inverse") != x
    np.testing.assert_array_equal(changed, [[True, True, True, False, False]] * 2)


def test_image_context_reaches_every_position():
    x, context = np.random.default_rng(0).normal(size=(2, 4, 4, 3)), np.random.default_rng(0).normal(size=(2, 4, 4, 2))
    layer = b.Elementwise(b.Shift(), event_ndims=3)
    variables = jax.tree.map(lambda leaf: leaf + 1.0, layer.init(KEY, x, context, method=INVERSE))
    z, _ = layer.apply(variables, x, context, method=INVERSE)
    np.testing.assert_allclose(z, x + 1 + context.sum(axis=-1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: b.Masked(b.Squeeze()),
            r"Masked: `bijector` must map vectors \(event_ndims=1\); got Squeeze with x_ev",
        ),
        (lambda: b.Masked(b.Exp(), "odd"), "Masked: `mask` must be one of 'half', .*; got 'odd'"),
        (
            lambda: b.Stack((b.Exp(),), (1, 2)),
            r"Stack: `sizes` must hold one size for each of 1 bij.*\(1, 2\)",
        ),
        (lambda: b.Stack((b.Exp(),), (0,)), r"Stack: `sizes` must have entries that are at least 1"),
        (
            lambda: b.Stack((b.Exp(), b.Exp()), (1, 1), columns=(0, 2)),
            r"Stack: `columns` must hold every number from 0 to 1 once, or be empty; got \(0, 2\)",
        ),
        (lambda: b.ByColumn((b.Affine(),), (0, 1)), "ByColumn: `which` must hold numbers of inner maps, 0 to 0"),
        (lambda: b.Interval(1.0, 1.0), r"Interval: `low, high` must hold low < high; got \(1.0, 1.0\)"),
        (lambda: b.Split(b.Squeeze(), b.Exp()), "Split: `bijector, prior` must agree on event_ndims; got 3 and 1"),
        (lambda: b.Vmap(b.Exp(), 0), "Vmap: `size` must be at least 1; got 0"),
        (lambda: b.Coupling(nn.MLP(), b.Shift(), mask="odd"), "Coupling: `mask` must be one of 'half', .*; got 'odd'"),
        (lambda: b.LeakyReLU(slope=0.0), "LeakyReLU: `slope` must be positive; got 0.0"),
        (lambda: b.Power(exponent=-1.0), "Power: `exponent` must be positive; got -1.0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("bijector", "shape", "message"),
    [
        (b.Coupling(nn.MLP(), b.Shift()), (1,), r"at least 2 channels; got shape \(1,\). .*use Elementwise\(inner\)"),
        (b.Coupling(nn.MLP(), b.Shift(), mask="half"), (1,), r"make_mask: `event_shape` must have something to keep"),
        (b.Coupling(nn.MLP(), b.Shift(), mask="checkerboard"), (4,), r"must be \(height, width, channels\)"),
        (b.Masked(b.Exp()), (1,), "make_mask: `event_shape` must have something to keep and something to change"),
        (b.Stack((b.Exp(),), (2,)), (3,), r"Stack: `x` must have 2 features \(the sum of sizes\); got shape \(3,\)"),
        (b.Stack((b.StickBreaking(),), (1,)), (1,), "StickBreaking: `x` must have at least 2 columns, which sum to 1"),
        (
            b.Coupling(nn.MLP(), b.ByColumn((b.Affine(),), (0, 0))),
            (2,),
            r"ByColumn: `x` must have 2 columns, as `which` has; got shape \(2, 1\). Correct which.",
        ),
        (b.Vmap(b.Exp(), 2), (3, 1), r"Vmap: `x` must have 2 along the first event axis; got event shape \(3, 1\)"),
        (b.Split(b.Exp(), b.Coupling(nn.MLP(), b.Shift())), (1,), "Coupling: `x` must have at least 2 channels"),
    ],
)
def test_events_that_do_not_fit(bijector, shape, message):
    with pytest.raises(InvalidValueError, match=message):
        jax.eval_shape(lambda x: bijector.init(KEY, x, method=INVERSE), jnp.ones((2, *shape)))


def test_conditioned_needs_a_context():
    layer = b.Conditioned(b.Elementwise(b.Affine()), nn.ClassEmbed(3))
    with pytest.raises(InvalidValueError, match="Conditioned: `context` must be given; got None"):
        run(layer, jnp.ones((2, 2)))
    z, _ = run(layer, jnp.ones((2, 2)), np.array([0, 2]))
    assert z.shape == (2, 2)


@pytest.mark.parametrize("bijector", [b.Exp(), b.Softplus(), b.Sigmoid(), b.Tanh(), b.Softsign(), b.Power()])
def test_values_outside_the_domain_have_no_density_and_no_image(bijector):
    _, log_det = run(bijector, np.array([-1.5]))
    assert jnp.isneginf(log_det) and jnp.isnan(run(bijector, np.array([-1.5]), method="inverse")).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_tanh_and_softplus_keep_their_digits_far_out(dtype):
    z = jnp.asarray([-40.0, -1e-6, 1e-6, 40.0], dtype)
    _, log_det = run(b.Tanh(), z[:, None], method=FORWARD)
    np.testing.assert_allclose(
        log_det, 2 * (np.log(2) - np.abs(z)) - 2 * np.log1p(np.exp(-2 * np.abs(z))), rtol=1e-6, atol=1e-7
    )
    x, _ = run(b.Softplus(), z[:, None], method=FORWARD)
    back, _ = run(b.Softplus(), x)
    np.testing.assert_allclose(back[:, 0], z, rtol=1e-5, atol=1e-6)


def test_stack_deals_columns_in_any_order_and_closes_gaps():
    stack = b.Stack((b.StickBreaking(), b.Exp(), b.Identity()), (3, 1, 1), columns=(4, 0, 2, 1, 3))
    assert stack.latent_columns() == ((3, 0), (1,), (2,)) and stack.z_event_shape((5,)) == (4,)
    x = np.array([[0.3, 2.0, 0.2, 7.0, 0.5]])
    z, _ = run(stack, x)
    broken, _ = run(b.StickBreaking(), x[:, np.array([4, 0, 2])])
    np.testing.assert_allclose(z, [[broken[0, 1], np.log(2), 7, broken[0, 0]]])
    values = stack.init_with_output(KEY, x, None, "inverse", method="layer_values")[0]
    assert [value.shape for value in values] == [(1, 5), (1, 5), (1, 4)]
    np.testing.assert_allclose(values[-1], z)
