"""JAX's coming forms of transforms, which this JAX has behind settings: the same gradients, and the same errors.

`make test-next` runs the whole suite with them on the newest JAX. `jax_scan3` is left out of `COMING`: as of JAX 0.12,
neither gradients nor `vmap` of a scan exist there, which `test_the_coming_scan_has_no_gradient_yet` watches.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.flows import Flow
from jflows.testing import find_non_finite
from tests import presets

COMING = tuple(name for name in ("jax_remat3", "jax_custom_vjp3", "jax_custom_jvp3") if hasattr(jax.config, name))
SCAN = "jax_scan3"


@pytest.fixture
def coming():
    """Turns the coming forms on, and puts the settings back."""
    before = {name: getattr(jax.config, name) for name in COMING}
    assert COMING, "this JAX has none of the settings, so that nothing would be tested"

    def turn_on(value: bool = True):
        for name in COMING:
            jax.config.update(name, value)

    yield turn_on
    for name, value in before.items():
        jax.config.update(name, value)


def gradient(density, variables, x, key):
    """Of the mean log density, by the parameters."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def mean(params):
        return density.log_prob({"params": params, **rest}, x, key=key if density.needs_key else None).mean()

    return jax.jit(jax.grad(mean))(variables["params"])


@pytest.mark.by_default("realnvp_invertible", "glow_remat", "maf")
@pytest.mark.parametrize("name", [name for name in presets.PRESETS if name != "normal"])
def test_gradients_are_the_same(name, coming):
    density, key = presets.build(name), jax.random.key(1)
    x = presets.data_of(density, 6)
    coming(False)
    variables = presets.filled(jax.eval_shape(density.init, key, x), 0)
    wanted = gradient(density, variables, x, key)
    coming()
    found = gradient(density, variables, x, key)
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-12, atol=1e-12)


@pytest.mark.first
def test_the_layer_is_named_behind_rebuilt_activations(coming):
    coming()
    step = b.Chain((b.Coupling(nn.MLP((4,)), b.Affine()), b.Reverse()))
    flow = Flow(b.Chain((b.Repeat(step, 2, "invertible"), b.Sigmoid())), StandardNormal((2,)), (2,))
    x = jnp.full((3, 2), 0.5)
    variables = presets.filled(jax.eval_shape(flow.init, jax.random.key(0), x), 0)
    loss = jax.grad(lambda params, x: flow.log_prob({**variables, "params": params}, x).sum())
    assert find_non_finite(loss, variables["params"], x) is None
    assert find_non_finite(flow.log_prob, variables, x + 1) == "bijector/layers_1/Sigmoid.inverse_and_log_det"


@pytest.mark.skipif(not hasattr(jax.config, SCAN), reason="this JAX has no jax_scan3")
def test_the_coming_scan_has_no_gradient_yet():
    """Once JAX's own scan has one, this test fails, and the setting belongs into `COMING`."""
    before = getattr(jax.config, SCAN)
    jax.config.update(SCAN, True)
    try:
        total = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c) * x, None), x, None, length=3)[0].sum()
        with pytest.raises(NotImplementedError, match="Scan3"):
            jax.grad(total)(jnp.ones(2))
    finally:
        jax.config.update(SCAN, before)
