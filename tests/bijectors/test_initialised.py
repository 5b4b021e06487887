"""Data or a context of another size than at `init`, a context left out or added: named, never ignored."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import errors
from flax import linen as nn

from jflows import bijectors as b
from jflows.bijectors import Bijector
from jflows.bijectors.initialised import MISFITS, refuse_misfit
from jflows.errors import InvalidValueError
from jflows.nn import MADE, MLP, ResidualMLP
from tests.presets import filled

KEY = jax.random.key(0)


class Yours(nn.Module):
    """A conditioner none of whose layers is called after the context."""

    @nn.compact
    def __call__(self, x, num_features, context=None):
        y = nn.Dense(num_features)(x)
        return y if context is None else y + nn.Dense(num_features, name="extra")(context)


CONDITIONAL = {
    "coupling": lambda: b.Coupling(MLP((4,)), b.Affine()),
    "gated": lambda: b.Coupling(ResidualMLP(4, 1, gated=True), b.Affine()),
    "autoregressive": lambda: b.MaskedAutoregressive(MADE((4,)), b.Affine()),
    "repeat": lambda: b.Repeat(b.Coupling(MLP((4,)), b.Affine()), 2),
    "chain": lambda: b.Chain((b.Reverse(), b.Coupling(MLP((4,)), b.Affine()))),
    "planar": lambda: b.Planar(),
    "elementwise": lambda: b.Elementwise(b.Affine()),
    "two ways": lambda: b.AdditiveTwoWay(MLP((4,)), MLP((4,))),
    "yours": lambda: b.Coupling(Yours(), b.Affine()),
    "split": lambda: b.Split(b.Planar(), b.Coupling(Yours(), b.Affine())),
    "inverse": lambda: b.Inverse(b.Coupling(MLP((4,)), b.Affine())),
}
WITH_VARIABLES = {
    **CONDITIONAL,
    "actnorm": lambda: b.ActNorm(),
    "standardize": lambda: b.Standardize(),
    "batchnorm": lambda: b.BatchNorm(),
    "linear": lambda: b.InvertibleLinear(),
    "shuffle": lambda: b.RandomPermutation(),
}


@functools.cache
def variables_of(bijector: Bijector, context_dim: int | None):
    context = None if context_dim is None else jnp.ones((3, context_dim))
    init = functools.partial(bijector.init, method="inverse_and_log_det")
    return filled(jax.eval_shape(init, KEY, jnp.ones((3, 4)), context), seed=0)


@pytest.mark.parametrize("name", WITH_VARIABLES)
@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_another_number_of_features_is_refused(name, method):
    bijector = WITH_VARIABLES[name]()
    variables = variables_of(bijector, None)
    with pytest.raises(InvalidValueError, match="as at `init`|that it had at `init`"):
        bijector.apply(variables, jnp.ones((3, 6)), method=method)


@pytest.mark.parametrize("name", CONDITIONAL)
@pytest.mark.by_default("coupling", "elementwise", "gated")
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


@pytest.mark.parametrize("name", WITH_VARIABLES)
@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_variables_that_are_missing_are_named(name, method):
    with pytest.raises(InvalidValueError, match="`variables` must hold .*. Pass what `init` has returned."):
        WITH_VARIABLES[name]().apply({}, jnp.ones((3, 4)), method=method)


def test_a_label_left_out_is_refused():
    """Also where a conditioner takes no float context at all, so that none can be made up."""

    class Labelled(nn.Module):
        @nn.compact
        def __call__(self, x, num_features, label=None):
            y = nn.Dense(num_features)(x)
            return y if label is None else y + nn.Embed(3, num_features)(label)

    bijector, x, labels = b.Coupling(Labelled(), b.Shift()), jnp.ones((3, 4)), jnp.arange(3)
    variables = bijector.init(KEY, x, labels)
    assert bijector.apply(variables, x, labels)[0].shape == (3, 4)
    rule = "`context` must be given, as at `init`; got None, which leaves parameter conditioner/Embed_0/embedding"
    with pytest.raises(InvalidValueError, match=f"Coupling: {rule} without use. Pass context=..."):
        bijector.apply(variables, x)


def test_what_init_creates_is_traced_once():
    calls = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x, num_features, context=None):
            calls.append(self.is_initializing())
            return nn.Dense(num_features)(x)

    bijector, x = b.Repeat(b.Coupling(Counted(), b.Shift()), 2, "invertible"), jnp.ones((3, 4))
    variables = bijector.init(KEY, x)
    traced = []
    for dtype in (jnp.float32, jnp.float64, jnp.float32):
        jax.grad(lambda x: bijector.apply(variables, x)[0].sum())(x.astype(dtype))
        bijector.apply(variables, x.astype(dtype)[:2], method="forward")
        traced.append(calls.count(True))
    assert traced[0] == traced[2]


def test_other_modules_are_held_to_their_init_too():
    dense, x = nn.Dense(2), jnp.ones((3, 4))
    init = lambda x, context: dense.init(KEY, x)
    variables = dense.init(KEY, x)
    for given, wrong, message in (
        ({}, x, "Mine: `variables` must hold parameter bias. Pass what `init` has returned."),
        (variables, x[:, :3], r"Mine: `x` must have the sizes .* by parameter kernel; got shape \(3, 3\)"),
    ):
        with pytest.raises(MISFITS) as caught:
            dense.apply(given, wrong)
        with pytest.raises(InvalidValueError, match=message):
            refuse_misfit(caught.value, "Mine", init, given, "x", wrong, None)
    other = errors.ScopeParamNotFoundError("bias", "/")
    with pytest.raises(type(other)) as raised:  # what does not come from the arguments stays as it is
        refuse_misfit(other, "Mine", init, variables, "x", x, None)
    assert raised.value is other


def test_a_map_without_parameters_ignores_the_context():
    x, log_det = b.Reverse().apply({}, jnp.arange(4.0), jnp.ones(2), method="forward_and_log_det")
    assert x.tolist() == [3.0, 2.0, 1.0, 0.0] and log_det == 0


def test_a_context_without_features_is_refused():
    bijector = CONDITIONAL["coupling"]()
    with pytest.raises(
        InvalidValueError, match=r"`context` must have its features .* after the 1 batch axes of x; got"
    ):
        bijector.init(KEY, jnp.ones((3, 4)), jnp.ones(3), method="inverse_and_log_det")
