"""Which layer is named when a value leaves the domain of a map."""

import jax
import jax.numpy as jnp
import pytest

from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.flows import Flow
from jflows.testing import find_non_finite

KEY = jax.random.key(0)
pytestmark = pytest.mark.first


def step() -> b.Bijector:
    return b.Chain((b.Coupling(nn.MLP((4,)), b.Affine()), b.Reverse()))


@pytest.mark.parametrize(
    "backprop", ["standard", *(pytest.param(b, marks=pytest.mark.slow) for b in ("remat", "invertible"))]
)
def test_names_the_layer_behind_a_scan(backprop):
    flow = Flow(b.Chain((b.Repeat(step(), 2, backprop), b.Sigmoid())), StandardNormal((2,)), (2,))
    x = jnp.full((3, 2), 0.5)
    variables = flow.init(KEY, x)
    log_prob = jax.jit(flow.log_prob)
    assert find_non_finite(log_prob, variables, x) is None
    found = find_non_finite(log_prob, variables, x + 1)  # the sigmoid's inverse is the logit of 1.5
    assert found == "bijector/layers_1/Sigmoid.inverse_and_log_det"
    assert jnp.isneginf(log_prob(variables, x + 1)).all()  # the density there, which is no NaN


def test_names_a_step_inside_a_scan():
    flow = Flow(b.Repeat(step(), 2), StandardNormal((2,)), (2,))
    variables = flow.init(KEY, jnp.ones((3, 2)))
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), variables)
    assert find_non_finite(flow.log_prob, broken, jnp.ones((3, 2))) == "layers_0/Coupling.inverse_and_log_det"


def test_looks_into_functions_that_are_compiled_already():
    layer = jax.jit(lambda x: b.Exp().apply({}, x, method="inverse"))
    layer(jnp.ones((2, 3)))
    assert find_non_finite(layer, -jnp.ones((2, 3))) == "Exp.inverse_and_log_det"


def test_costs_nothing_elsewhere():
    """Not even an effect, which would make every call slower."""
    layer = jax.make_jaxpr(lambda x: b.Exp().apply({}, x, method="inverse_and_log_det"))(jnp.ones((2, 3)))
    assert not layer.effects and "is_finite" not in str(layer)
