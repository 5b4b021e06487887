"""What someone who knows Flax, or another library of flows, writes first: it works, or is told what to write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jflows import Flow
from jflows import bijectors as b
from jflows.distributions import AutoregressiveMixture, ResampledNormal, StandardNormal
from jflows.errors import InvalidTypeError
from jflows.nn import MLP, Gated

KEY = jax.random.key(0)
X = jnp.arange(8.0).reshape(2, 4)


class OfX(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)


class WithoutContext(nn.Module):
    @nn.compact
    def __call__(self, x, num_features):
        return nn.Dense(num_features)(x)


def test_init_and_apply_need_no_method():
    bijector = b.Chain((b.Reverse(), b.ActNorm()))
    variables = bijector.init(KEY, X)
    z, log_det = bijector.apply(variables, X)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)  # the direction from data to latent
    wanted = bijector.apply(variables, X, method="inverse_and_log_det")
    np.testing.assert_array_equal(z, wanted[0])
    np.testing.assert_array_equal(log_det, wanted[1])
    conditional = b.Coupling(MLP((4,)), b.Affine())
    assert conditional.apply(conditional.init(KEY, X, X[:, :3]), X, X[:, :3])[0].shape == X.shape


HOLDERS = {
    "conditioner": [
        lambda network: b.Coupling(network, b.Shift()),
        lambda network: b.MaskedAutoregressive(network, b.Shift()),
        lambda network: AutoregressiveMixture((4,), network),
    ],
    "network": [lambda network: b.Residual(network), lambda network: Gated(network)],
    "first": [lambda network: b.AdditiveTwoWay(network, MLP())],
    "acceptance": [lambda network: ResampledNormal((4,), network)],
}


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makes in HOLDERS.items() for make in makes])
@pytest.mark.parametrize(
    ("network", "got"),
    [
        (OfX(), r"OfX with __call__\(x\)"),
        (WithoutContext(), r"WithoutContext with __call__\(x, num_features\)"),
        (nn.Dense(4), r"Dense with __call__\(inputs\)"),
        (nn.Sequential([nn.Dense(4), nn.relu]), r"Dense with __call__\(inputs\)"),
    ],
)
def test_a_conditioner_written_otherwise_says_how(name, make, network, got):
    rule = rf": `{name}` must be called as {name}\(x, num_features, context\); got {got}\. "
    with pytest.raises(InvalidTypeError, match=rule + r"Write __call__\(self, x, num_features, context=None\)\."):
        make(network)


def test_the_velocity_of_a_continuous_flow_takes_time_first():
    with pytest.raises(InvalidTypeError, match=r"Continuous: `network` must be called as network\(t, x, context\)"):
        b.Continuous(OfX())


def test_a_network_of_your_own_takes_any_names_and_defaults():
    class Mine(nn.Module):
        @nn.compact
        def __call__(self, kept, size, *rest, **options):
            return nn.Dense(size)(kept)

    bijector = b.Coupling(Mine(), b.Shift())
    assert bijector.apply(bijector.init(KEY, X), X)[0].shape == X.shape


@pytest.mark.parametrize(
    "make",
    [
        lambda: b.Chain((b.Reverse(), b.Affine())),
        lambda: b.Repeat(b.Affine(), 2),
        lambda: b.Inverse(b.RationalQuadraticSpline()),
        lambda: b.Stack((b.Affine(), b.Exp()), (1, 1)),
    ],
)
def test_an_inner_map_is_no_bijector(make):
    with pytest.raises(InvalidTypeError, match=r"got .*An inner map goes into Elementwise\(inner\) or Coupling"):
        make()


def test_a_flow_of_an_inner_map_is_refused():
    with pytest.raises(InvalidTypeError, match="Flow: .* must be a Bijector"):
        Flow(b.Affine(), StandardNormal((4,)), (4,))
