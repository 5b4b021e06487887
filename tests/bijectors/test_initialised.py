"""Data or a context of another size than at `init`, a context left out or added: named, never ignored."""

import jax
import jax.numpy as jnp
import pytest

from jflows import bijectors as b
from jflows.bijectors import Bijector
from jflows.errors import InvalidValueError
from jflows.nn import MADE, MLP, ResidualMLP

KEY = jax.random.key(0)
CONDITIONAL = {
    "coupling": lambda: b.Coupling(MLP((4,)), b.Affine()),
    "gated": lambda: b.Coupling(ResidualMLP(4, 1, gated=True), b.Affine()),
    "autoregressive": lambda: b.MaskedAutoregressive(MADE((4,)), b.Affine()),
    "repeat": lambda: b.Repeat(b.Coupling(MLP((4,)), b.Affine()), 2),
    "chain": lambda: b.Chain((b.Reverse(), b.Coupling(MLP((4,)), b.Affine()))),
    "planar": lambda: b.Planar(),
    "inverse": lambda: b.Inverse(b.Coupling(MLP((4,)), b.Affine())),
}
WITH_VARIABLES = {
    **CONDITIONAL,
    "actnorm": lambda: b.ActNorm(),
    "standardize": lambda: b.Standardize(),
    "batchnorm": lambda: b.BatchNorm(),
    "linear": lambda: b.InvertibleLinear(),
    "shuffle": lambda: b.RandomPermutation(),
    "elementwise": lambda: b.Elementwise(b.Affine()),
}


def variables_of(bijector: Bijector, context_dim: int | None):
    context = None if context_dim is None else jnp.ones((3, context_dim))
    return bijector.init(KEY, jax.random.normal(KEY, (3, 4)), context, method="inverse_and_log_det")


@pytest.mark.parametrize("name", WITH_VARIABLES)
@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_another_number_of_features_is_refused(name, method):
    bijector = WITH_VARIABLES[name]()
    variables = variables_of(bijector, None)
    with pytest.raises(InvalidValueError, match="as at `init`|that it had at `init`"):
        bijector.apply(variables, jnp.ones((3, 6)), method=method)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_another_context_size_is_refused(name):
    bijector = CONDITIONAL[name]()
    with pytest.raises(InvalidValueError, match=r"`context` must have the sizes .* at `init`.*got shape \(3, 5\)"):
        bijector.apply(variables_of(bijector, 2), jnp.ones((3, 4)), jnp.ones((3, 5)), method="inverse_and_log_det")


@pytest.mark.parametrize("name", CONDITIONAL)
@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_a_context_left_out_is_refused(name, method):
    bijector = CONDITIONAL[name]()
    with pytest.raises(InvalidValueError, match="`context` must be given, as at `init`"):
        bijector.apply(variables_of(bijector, 2), jnp.ones((3, 4)), method=method)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_context_added_is_refused(name):
    bijector = CONDITIONAL[name]()
    with pytest.raises(InvalidValueError, match="`context` must be None, as at `init`"):
        bijector.apply(variables_of(bijector, None), jnp.ones((3, 4)), jnp.ones((3, 2)), method="inverse_and_log_det")


def test_variables_of_another_bijector_are_refused():
    variables = variables_of(b.ActNorm(), None)
    with pytest.raises(InvalidValueError, match="InvertibleLinear: `variables` must hold parameter"):
        b.InvertibleLinear().apply(variables, jnp.ones((3, 4)), method="inverse_and_log_det")


def test_a_map_without_parameters_ignores_the_context():
    x, log_det = b.Reverse().apply({}, jnp.arange(4.0), jnp.ones(2), method="forward_and_log_det")
    assert x.tolist() == [3.0, 2.0, 1.0, 0.0] and log_det == 0


def test_a_context_without_features_is_refused():
    bijector = CONDITIONAL["coupling"]()
    with pytest.raises(
        InvalidValueError, match=r"`context` must have its features .* after the 1 batch axes of x; got"
    ):
        bijector.init(KEY, jnp.ones((3, 4)), jnp.ones(3), method="inverse_and_log_det")
