"""What the property suite cannot see of `Residual`: its reported residual, its solver's limits, and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import nn as networks
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"
# Arrays are tiny here: nearly all of the time would go into optimising the machine code.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def prepared(bijector, x):
    return perturb(fast_jit(functools.partial(bijector.init, method=INVERSE))(KEY, x), 0, 1.0)


def test_the_inverse_reports_its_residual():
    x = jax.device_put(np.random.default_rng(0).standard_normal((5, 3)))
    network = networks.LipschitzMLP((8,))
    variables = prepared(b.Residual(network), x)

    def run(**fields):
        bijector = b.Residual(network, **fields)

        @fast_jit
        def there_back_and_there(x):
            z, _ = bijector.apply(variables, x, method=INVERSE)
            (back, _), recorded = bijector.apply(variables, z, method=FORWARD, mutable=["intermediates"])
            again, _ = bijector.apply(variables, back, method=INVERSE)
            return recorded["intermediates"]["inverse_residual"], jnp.max(jnp.abs(again - z))

        return map(float, there_back_and_there(x))

    reported, measured = run()
    assert max(reported, measured) < 1e-13
    reported, measured = run(max_iterations=2)
    assert reported == pytest.approx(measured, rel=1e-9) and reported > 1e-4
    reported, _ = run(tolerance=1e-3)
    assert 1e-9 < reported < 1e-2


def test_a_stack_reports_the_residual_of_each_step():
    x = jnp.ones((4, 3))
    stack = b.Repeat(b.Residual(networks.LipschitzMLP((4,))), 3)
    variables = prepared(stack, x)
    run = fast_jit(functools.partial(stack.apply, method=FORWARD, mutable=["intermediates"]))
    _, recorded = run(variables, x)
    residuals = recorded["intermediates"]["layers"]["inverse_residual"]
    assert residuals.shape == (3,) and np.max(residuals) < 1e-13


def test_estimates_are_reproducible_and_differ_between_keys():
    x = jnp.ones((4, 3))
    bijector = b.Residual(networks.LipschitzMLP((4,)), "roulette", noise="normal")
    variables = prepared(bijector, x)
    assert bijector.needs_key and not b.Residual(networks.LipschitzMLP((4,))).needs_key

    @fast_jit
    def run(seed):
        return bijector.apply(variables, x, method=INVERSE, rngs={"noise": jax.random.key(seed)})

    (z, log_det), (_, same), (other_z, other) = run(0), run(0), run(1)
    np.testing.assert_array_equal(log_det, same)
    np.testing.assert_array_equal(z, other_z)
    assert np.all(log_det != other) and len(set(log_det.tolist())) == 4  # each example has noise of its own


def test_training_sees_one_map_and_moves_its_vectors_once():
    """The map of the network from the vectors as they were, in z and, by finite differences, in the log-det."""
    network = networks.LipschitzMLP((8,), norms="power")
    bijector, x = b.Residual(network), jax.device_put(np.random.default_rng(0).standard_normal((5, 3)))
    variables = prepared(bijector, x)
    of_network = {name: tree["network"] for name, tree in variables.items()}

    @fast_jit
    def both(x):
        found = bijector.apply(variables, x, method=INVERSE, mutable=["singular_vectors"])
        y, moved = network.apply(of_network, x, 3, mutable=["singular_vectors"])
        exact, _ = bijector.apply(variables, x, method=INVERSE)
        return found, (x + y, moved), exact

    ((z, log_det), moved), (wanted, once), exact = both(x)
    np.testing.assert_allclose(z, wanted, rtol=1e-14)
    assert np.any(np.abs(z - exact) > 1e-9)
    jax.tree.map(np.testing.assert_array_equal, moved["singular_vectors"]["network"], once["singular_vectors"])
    rows = [both(x + 1e-5 * jnp.eye(3)[i])[1][0] - both(x - 1e-5 * jnp.eye(3)[i])[1][0] for i in range(3)]
    jacobian = np.stack(rows, axis=-1) / 2e-5
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-8)


@pytest.mark.slow
def test_images_of_any_size_share_one_network():
    bijector = b.Residual(networks.LipschitzConvNet(4), "roulette", event_ndims=3)
    small, large = jnp.ones((2, 3, 3, 2)), jax.device_put(np.random.default_rng(0).standard_normal((2, 6, 5, 2)))
    variables = prepared(bijector, small)
    inverse, forward = (
        fast_jit(functools.partial(bijector.apply, method=method, rngs={"noise": KEY})) for method in (INVERSE, FORWARD)
    )
    z, log_det = inverse(variables, large)
    back, back_log_det = forward(variables, z)
    np.testing.assert_allclose(back, large, atol=1e-13)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-10)
