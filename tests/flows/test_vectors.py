"""The presets on vectors: densities that agree both ways, context, options, and their messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows import flows
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import MADE, LipschitzMLP
from jflows.spec import from_spec, to_spec
from jflows.testing import check_flow
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")
SMALL = dict(num_layers=2, hidden_sizes=(8, 8))
PRESETS = {
    "nice": functools.partial(flows.nice, **SMALL),
    "realnvp": functools.partial(flows.realnvp, **SMALL, activation="tanh"),
    "maf": functools.partial(flows.maf, **SMALL),
    "iaf": functools.partial(flows.iaf, **SMALL),
    "nsf_coupling": functools.partial(flows.nsf_coupling, **SMALL, num_bins=3),
    "nsf_autoregressive": functools.partial(flows.nsf_autoregressive, **SMALL, num_bins=3),
    "maf_mixture": functools.partial(flows.maf, **SMALL, base="mixture", num_components=2),
    "nsf_autoregressive_made": functools.partial(flows.nsf_autoregressive, **SMALL, num_bins=3, base="made"),
    "made": functools.partial(flows.made, hidden_sizes=(8, 8)),
    "normal": flows.normal,
    "residual": functools.partial(flows.residual, **SMALL, coefficient=0.7),
}
CHECKED = ("realnvp", "maf")


def x(num: int = 8, dim: int = 3):
    return np.random.default_rng(0).normal(size=(num, dim))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in CHECKED else [pytest.mark.slow]) for name in PRESETS]
)
@pytest.mark.by_default("maf")
def test_keeps_the_contract_of_flows(name):
    check_flow(PRESETS[name]((3,)), x(), tol=1e-7)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "normal"])
def test_takes_a_context_and_survives_json(name):
    flow = PRESETS[name]((3,), context_dim=2)
    assert from_spec(to_spec(flow)) == flow
    context = jnp.ones((8, 2))
    shapes = jax.eval_shape(lambda: flow.log_prob(flow.init(KEY, x(), context), x(), context))
    assert shapes.shape == (8,)


@pytest.mark.parametrize("norm", ["actnorm", "batchnorm"])
def test_norms_and_permutations_are_those_asked_for(norm):
    flow = flows.maf((3,), 2, (8,), norm=norm, permutation="linear", standardize=True)
    assert isinstance(flow.preprocess, b.Standardize)
    steps = flow.bijector
    assert [type(part).__name__ for part in steps.layer.layers] == [
        "MaskedAutoregressive",
        "InvertibleLinear",
        {"actnorm": "ActNorm", "batchnorm": "BatchNorm"}[norm],
    ]


def test_standardizing_counts_in_the_density():
    plain, scaled = flows.normal((3,), standardize=False), flows.normal((3,))
    data = 5 + 10 * x(64)
    score = lambda flow: flow.log_prob(flow.init(KEY, data), data)
    wanted = -0.5 * ((data - data.mean(0)) ** 2 / data.var(0) + np.log(2 * np.pi * data.var(0))).sum(1)
    np.testing.assert_allclose(score(scaled), wanted, rtol=1e-10)
    assert np.mean(score(scaled)) > np.mean(score(plain))


def test_iaf_is_maf_the_other_way_round():
    one_way, other = flows.maf((3,), 2, (8,), standardize=False), flows.iaf((3,), 2, (8,))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, one_way.init(KEY, x()))
    swapped = {"params": {"bijector": {"bijector": variables["params"]["bijector"]}}}
    np.testing.assert_allclose(other.decode(swapped, x())[0], one_way.encode(variables, x())[0], rtol=1e-12)


def test_the_base_of_maf_is_the_one_asked_for():
    of = lambda name: flows.maf((3,), 2, (8,), residual=True, base=name, num_components=4).base
    assert isinstance(of("normal"), StandardNormal)
    for name, num_components in (("made", 1), ("mixture", 4)):
        assert of(name).num_components == num_components
        assert of(name).conditioner == MADE((8,), order="reversed", residual=True)
    assert flows.made((3,), 5, (8,)).base.num_components == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: flows.maf((3, 2)),
            r"maf: `event_shape` must be \(dim,\); got \(3, 2\). Use glow for images",
        ),
        (
            lambda: flows.realnvp((3,), permutation="swop"),
            "realnvp: `permutation` must be one of 'swap', 'reverse', 'shuffle'",
        ),
        (lambda: flows.nice((3,), norm="layer"), "nice: `norm` must be one of 'none', 'actnorm', 'batchnorm'"),
        (lambda: flows.nice((3,), base="t"), "nice: `base` must be one of 'logistic', 'normal'; got 't'"),
        (lambda: flows.iaf((3,), norm="batchnorm"), "iaf: `norm` must be one of 'none', 'actnorm'; got 'batchnorm'"),
        (lambda: flows.realnvp((1,)), r"realnvp: `event_shape` must have at least 2 dimensions.*; got \(1,\). Use maf"),
        (lambda: flows.maf((3,), base="mog"), "maf: `base` must be one of 'normal', 'made', 'mixture'; got 'mog'"),
        (lambda: flows.made((3, 2)), r"made: `event_shape` must be \(dim,\); got \(3, 2\)"),
        (lambda: flows.maf((3,), 0), "maf: `num_layers` must be at least 1; got 0"),
        (lambda: flows.residual((3, 2)), r"residual: `event_shape` must be \(dim,\); got \(3, 2\)"),
        (lambda: flows.residual((2,), coefficient=1.0), r"residual: `coefficient` must lie in \(0, 1\); got 1.0"),
        (lambda: flows.residual((2,), activation="gelu"), "residual: `activation` must be one of 'lipswish', 'elu'"),
        (
            lambda: flows.residual((2,), estimator="russian"),
            "residual: `estimator` must be one of 'exact', 'truncated'",
        ),
        (lambda: flows.residual((2,), num_terms=0), "residual: `num_terms` must be at least 1; got 0"),
        (lambda: flows.residual((2,), stop_probability=1.0), r"`stop_probability` must lie in \(0, 1\); got 1.0"),
        (lambda: flows.residual((2,), norm="layer"), "residual: `norm` must be one of 'none', 'actnorm', 'batchnorm'"),
        (
            lambda: flows.residual((2,), backprop="invertible"),
            "`backprop` must be one of 'standard', 'remat'; got 'inv",
        ),
        (lambda: flows.residual((2,), hidden_sizes=()), "`hidden_sizes` must hold at least 1 entry"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_a_number_in_place_of_a_tuple_is_named():
    with pytest.raises(InvalidTypeError, match=r"maf: `event_shape` must be a tuple; got 3. Write \(3,\)"):
        flows.maf(3)
    with pytest.raises(InvalidTypeError, match=r"maf: `hidden_sizes` must be a tuple of ints; got 8"):
        flows.maf((3,), hidden_sizes=8)


def test_options_of_a_residual_flow_are_those_of_its_layers():
    own = dict(coefficient=0.6, activation="elu", estimator="roulette", num_terms=3, stop_probability=0.2)
    flow = flows.residual((3,), 2, (5, 6), **own, norm="batchnorm", backprop="remat")
    layer, norm = flow.bijector.layer.layers
    assert layer.network == LipschitzMLP((5, 6), 0.6, "elu") and isinstance(norm, b.BatchNorm)
    assert (layer.estimator, layer.num_terms, layer.stop_probability) == ("roulette", 3, 0.2)
    assert flow.needs_key and flow.estimates_log_det and flow.bijector.backprop == "remat"
    assert not flows.residual((3,)).needs_key


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.by_default("3")
def test_couplings_change_every_coordinate(dim):
    flow = flows.realnvp((dim,), 3, (4,))
    x = np.random.default_rng(0).normal(size=(6, dim))
    variables = filled(jax.eval_shape(flow.init, jax.random.key(1), x), 0)
    z = np.asarray(jax.jit(flow.encode)(variables, x)[0])
    assert not np.isin(z, np.asarray(x)).any()


@pytest.mark.parametrize("make", [flows.nice, flows.realnvp, flows.nsf_coupling])
def test_a_middle_coordinate_that_never_changes_is_refused(make):
    with pytest.raises(InvalidValueError, match="`permutation` must not be 'reverse' .* Use permutation=swap"):
        make((3,), permutation="reverse")
    assert flows.maf((3,), permutation="reverse")
