"""Every message of the bijectors, and that the base class holds hooks to the contract."""

import jax
import jax.numpy as jnp
import pytest

from jflows import bijectors as b
from jflows import nn as networks
from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, InvalidValueError

KEY = jax.random.key(0)


def mlp_coupling() -> Bijector:
    return b.Coupling(networks.MLP((4,)), b.Affine())


def encode(bijector, shape, method="inverse_and_log_det"):
    return jax.eval_shape(lambda x: bijector.init(KEY, x, method=method), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b.Affine("linear"), "Affine: `scale` must be one of 'tanh', 'sigmoid', 'exp'; got 'linear'"),
        (lambda: b.Affine(max_log_scale=0), "Affine: `max_log_scale` must be positive; got 0"),
        (lambda: b.CentredPixels(0), "CentredPixels: `num_bits` must be 1 to 16; got 0"),
        (lambda: b.LogitPixels(17), "LogitPixels: `num_bits` must be 1 to 16; got 17"),
        (lambda: b.LogitPixels(alpha=0.5), r"LogitPixels: `alpha` must lie in \(0, 0.5\); got 0.5"),
        (lambda: b.Reverse(0), "Reverse: `event_ndims` must be at least 1; got 0"),
        (lambda: b.LowRankLinear(0), "LowRankLinear: `rank` must be at least 1; got 0"),
        (lambda: b.Householder(0), "Householder: `num_reflections` must be at least 1; got 0"),
        (lambda: b.QRLinear(-1), "QRLinear: `num_reflections` must be at least 1; got -1"),
        (lambda: b.SVDLinear(0), "SVDLinear: `num_reflections` must be at least 1; got 0"),
        (lambda: b.Orthogonal("expm"), "Orthogonal: `parametrisation` must be one of 'cayley', 'exp'; got 'expm'"),
        (lambda: b.Permute((1, 2)), r"Permute: `order` must hold every number from 0 to 1 once; got \(1, 2\)"),
        (lambda: b.Permute(()), r"Permute: `order` must hold every number from 0 to 0 once; got \(\)"),
        (lambda: b.Transpose((0, 0)), r"Transpose: `axes` must hold every number from 0 to 1 once; got \(0, 0\)"),
        (lambda: b.Reshape((0,), (0, 2)), r"Reshape: `x_shape` must have entries that are at least 1; got \(0,\)"),
        (
            lambda: b.Reshape((2, 3), (5,)),
            r"Reshape: `z_shape` must have as many elements as x_shape \(2, 3\), 6; got \(5,\) with 5",
        ),
        (lambda: b.Squeeze(order="tf"), "Squeeze: `order` must be one of 'glow', 'realnvp'; got 'tf'"),
        (
            lambda: b.Squeeze(3, "realnvp"),
            'Squeeze: `factor` must be 2 with order="realnvp"; got 3. Use order="glow".',
        ),
        (lambda: b.Residual(networks.LipschitzMLP(), "biased"), "Residual: `estimator` must be one of 'exact', 'trunc"),
        (lambda: b.Residual(networks.LipschitzMLP(), noise="flat"), "Residual: `noise` must be one of 'rademacher', "),
        (lambda: b.Residual(networks.LipschitzMLP(), num_terms=0), "Residual: `num_terms` must be at least 1; got 0"),
        (
            lambda: b.Residual(networks.LipschitzMLP(), max_iterations=0),
            "Residual: `max_iterations` must be at least 1",
        ),
        (lambda: b.Residual(networks.LipschitzMLP(), tolerance=0.0), "Residual: `tolerance` must be positive; got 0.0"),
        (
            lambda: b.Residual(networks.LipschitzMLP(), stop_probability=1.0),
            r"Residual: `stop_probability` must lie in \(0, 1\); got 1.0",
        ),
        (lambda: b.Continuous(networks.TimeMLP(), "none"), "Continuous: `trace` must be one of 'exact', 'hutchinson'"),
        (lambda: b.Continuous(networks.TimeMLP(), solver="euler"), "Continuous: `solver` must be one of 'tsit5', 'dop"),
        (lambda: b.Continuous(networks.TimeMLP(), noise="flat"), "Continuous: `noise` must be one of 'rademacher', "),
        (lambda: b.Continuous(networks.TimeMLP(), rtol=0.0), "Continuous: `rtol` must be positive; got 0.0"),
        (lambda: b.Squeeze(1), "Squeeze: `factor` must be at least 2; got 1"),
        (
            lambda: b.Chain((b.Squeeze(), b.ActNorm())),
            r"Chain: `layers` must agree on event_ndims; got Squeeze \(position 0\) with x_event_ndims=3 before "
            r"ActNorm \(position 1\) with z_event_ndims=1. Set one event_ndims.",
        ),
        (
            lambda: b.MultiScale((4, 4, 1), (b.Squeeze(),), (b.ActNorm(3), b.ActNorm(3))),
            "MultiScale: `priors` must have one entry per level; got 1 levels and 2 priors",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_two_ways_need_two_networks():
    network = networks.MLP((4,))
    with pytest.raises(InvalidValueError, match="AdditiveTwoWay: `first, second` must be two instances; .* got MLP"):
        b.AdditiveTwoWay(network, network)


def test_an_estimated_log_det_asks_for_its_stream():
    bijector = b.Residual(networks.LipschitzMLP((4,)), "roulette")
    x = jnp.ones((2, 3))
    variables = bijector.init(KEY, x, method="inverse_and_log_det")
    message = "Residual: `rngs` must hold the stream 'noise', as the log-det is estimated. Pass rngs={'noise': key}."
    with pytest.raises(InvalidValueError, match=message):
        bijector.apply(variables, x, method="inverse_and_log_det")


@pytest.mark.parametrize("wrong", [None, (b.ActNorm(), "ActNorm"), b.ActNorm()])
def test_chain_takes_bijectors_only(wrong):
    with pytest.raises(InvalidTypeError, match="Chain: `layers` must be a tuple of bijectors; got"):
        b.Chain(wrong)
    with pytest.raises(InvalidTypeError, match="MultiScale: `levels` must be a tuple of bijectors; got"):
        b.MultiScale((4, 4, 1), wrong, (b.ActNorm(3),))


def test_chain_takes_at_least_one_bijector():
    with pytest.raises(InvalidValueError, match=r"Chain: `layers` must hold at least 1 entry; got \(\)"):
        b.Chain([])
    with pytest.raises(InvalidValueError, match=r"MultiScale: `levels` must hold at least 1 entry; got \(\)"):
        b.MultiScale((4, 4, 1), (), ())


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (True, False), 2])
def test_orders_and_shapes_are_tuples_of_ints(wrong):
    with pytest.raises(InvalidTypeError, match="Permute: `order` must be a tuple of ints; got"):
        b.Permute(wrong)
    with pytest.raises(InvalidTypeError, match="Transpose: `axes` must be a tuple of ints; got"):
        b.Transpose(wrong)
    with pytest.raises(InvalidTypeError, match="Reshape: `z_shape` must be a tuple of ints; got"):
        b.Reshape((2,), wrong)


def test_lists_become_tuples():
    assert b.Permute([1, 0]) == b.Permute((1, 0)) and hash(b.Permute([1, 0])) == hash(b.Permute((1, 0)))


def test_inverse_takes_a_bijector_only():
    with pytest.raises(InvalidTypeError, match="Inverse: `bijector` must be a Bijector; got MLP"):
        b.Inverse(networks.MLP())


def test_one_instance_listed_twice_is_refused():
    layer = b.ActNorm()
    message = "Chain: `layers` must not list one instance twice; got ActNorm at positions 0 and 2. Create one instance"
    with pytest.raises(InvalidValueError, match=message):
        b.Chain((layer, b.Reverse(), layer))
    b.Chain((layer, b.Reverse(), layer.clone()))
    with pytest.raises(InvalidValueError, match="must not list one instance twice; got ActNorm at positions 0 and 1"):
        b.Chain((layer, b.Inverse(layer)))
    conditioner, inner = networks.MLP((4,)), b.Affine()
    with pytest.raises(InvalidValueError, match="must not list one instance twice; got MLP at positions 0 and 2"):
        b.Chain((b.Coupling(conditioner, inner), b.Reverse(), b.Coupling(conditioner, inner)))
    image = b.ActNorm(3)
    with pytest.raises(InvalidValueError, match="MultiScale: `levels, priors` must not list one instance twice"):
        b.MultiScale((4, 4, 1), (b.Chain((image, b.Squeeze())),), (image,))


@pytest.mark.parametrize(
    ("bijector", "shape", "method", "message"),
    [
        (b.ActNorm(3), (4, 4), "inverse_and_log_det", r"ActNorm: `x` must have at least 3 axes \(its event_ndims\)"),
        (b.ActNorm(3), (4,), "forward_and_log_det", r"ActNorm: `z` must have at least 3 axes .* got shape \(4,\)"),
        (
            mlp_coupling(),
            (5, 1),
            "inverse_and_log_det",
            r"Coupling: `x` must have at least 2 channels; got shape \(1,\)",
        ),
        (
            b.LowRankLinear(4),
            (5, 3),
            "inverse_and_log_det",
            "LowRankLinear: `rank` must be at most the number of channels, 3; got 4. Lower it, or use TriangularLinear",
        ),
        (
            b.Permute((1, 0, 2)),
            (5, 4),
            "forward_and_log_det",
            r"Permute: `x` must have 3 channels, one for each entry of `order`; got shape \(4,\)",
        ),
        (
            b.Reshape((2, 3), (6,)),
            (5, 3, 2),
            "inverse_and_log_det",
            r"Reshape: `x` must have event shape \(2, 3\); got shape \(3, 2\)",
        ),
        (b.Reshape((2, 3), (6,)), (5, 7), "forward_and_log_det", r"Reshape: `z` must have event shape \(6,\); got"),
        (b.Haar(), (4, 5, 1), "inverse_and_log_det", "Haar: `x` must have a height and width that are multiples of 2"),
        (b.Haar(), (2, 2, 6), "forward_and_log_det", "Haar: `z` must have a multiple of 4 channels"),
        (
            b.AdditiveTwoWay(networks.MLP((4,)), networks.MLP((4,))),
            (5, 1),
            "forward_and_log_det",
            r"AdditiveTwoWay: `x` must have at least 2 channels; got shape \(1,\)",
        ),
        (
            b.Squeeze(),
            (2, 5, 4, 1),
            "inverse_and_log_det",
            r"Squeeze: `x` must have a height and width that are multiples of 2; got event shape \(5, 4, 1\). Pad or",
        ),
        (
            b.Squeeze(),
            (2, 2, 2, 3),
            "forward_and_log_det",
            r"Squeeze: `z` must have a multiple of 4 channels; got event shape \(2, 2, 3\)",
        ),
        (
            b.Chain((b.ActNorm(3), b.Squeeze())),
            (5, 4, 1),
            "inverse_and_log_det",
            r"Chain, position 1 of 2: Squeeze: `x` must have a height and width that are multiples of 2",
        ),
        (
            b.MultiScale((4, 4, 1), (b.Squeeze(),), (b.ActNorm(3),)),
            (4, 2, 1),
            "inverse_and_log_det",
            r"MultiScale: `x` must have event shape \(4, 4, 1\); got shape \(4, 2, 1\)",
        ),
        (
            b.MultiScale((4, 4, 1), (b.Squeeze(),), (b.ActNorm(3),)),
            (3, 15),
            "forward_and_log_det",
            r"MultiScale: `z` must have event shape \(16,\); got shape \(15,\)",
        ),
    ],
)
def test_wrong_shapes_are_refused_by_name(bijector, shape, method, message):
    with pytest.raises(InvalidValueError, match=message):
        encode(bijector, shape, method)


def test_a_list_is_not_an_array():
    with pytest.raises(InvalidTypeError, match="Reverse: `x` must be an array; got list. Wrap it in jnp.asarray."):
        b.Reverse().apply({}, [1.0, 2.0], method="inverse")


class Returns(Bijector):
    """Identity with a log-det to be refused."""

    kind: str = ""
    x_event_ndims = z_event_ndims = 1

    def _forward_and_log_det(self, z, context):
        wrong = {"number": 0.0, "int": jnp.zeros(z.shape[:-1], int), "half": jnp.zeros(z.shape[:-1], jnp.float16)}
        return z, wrong[self.kind]

    _inverse_and_log_det = _forward_and_log_det


@pytest.mark.parametrize(("kind", "got"), [("number", r"shape \(\), "), ("int", "int64"), ("half", "float16")])
def test_a_log_det_of_another_shape_or_type_is_refused(kind, got):
    rule = r"Returns: `_forward_and_log_det` must return a log_det of batch shape \(2,\), float32 or wider; got .*"
    with pytest.raises(InvalidValueError, match=rule + got):
        Returns(kind).apply({}, jnp.ones((2, 3)), method="forward")


def test_the_contract_cannot_be_left_half_written():
    class Half(Bijector):
        x_event_ndims = z_event_ndims = 1

    with pytest.raises(TypeError, match="abstract"):
        Half()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: b.Coupling(networks.MLP(), b.Exp()),
            r"Coupling: `inner` must be an inner map .*; got Exp",
        ),
        (
            lambda: b.Elementwise(b.Affine),
            r"Elementwise: `inner` .*; got the class Affine; write Affine\(",
        ),
        (
            lambda: b.Coupling(networks.MLP, b.Affine()),
            "Coupling: `conditioner` must be a network.*; got the class",
        ),
        (lambda: b.Inverse(b.Exp), r"Inverse: `bijector` must be .*; got the class Exp; write Exp\(...\)"),
        (
            lambda: b.Chain((b.Reverse(), b.Affine())),
            r"Chain: `layers` must be a tuple of bijectors; got \(Reverse, Affine\). An inner map goes into Elem",
        ),
        (lambda: b.Repeat(b.Affine(), 2), r"Repeat: `layer` must be a Bijector; got Affine. An inner map goes into El"),
        (lambda: b.Coupling(b.Exp(), b.Affine()), r"Coupling: `conditioner` must be called as .*got Exp with __call__"),
        (lambda: b.Coupling(b.Shift(), b.Affine()), "Coupling: `conditioner` must be .* got Shift with no __call__"),
        (lambda: b.AdditiveTwoWay(networks.MLP(), 3), "AdditiveTwoWay: `second` must be a network, .*; got 3"),
        (lambda: b.Residual("MLP"), "Residual: `network` must be a network, .*; got 'MLP'"),
        (lambda: b.Continuous(None), "Continuous: `network` must be a network, .*; got None"),
        (lambda: b.Conditioned(b.Planar(), 3), "Conditioned: `embed` must be a network, .*; got 3"),
        (
            lambda: b.Conditioned(b.Planar(), b.Exp()),
            "Conditioned: `embed` must be a network; got Exp. List it in a Ch",
        ),
        (lambda: b.Conditioned(b.Planar(), networks.MLP()), r"Conditioned: `embed` must be called as embed\(context\)"),
    ],
)
def test_what_is_not_an_instance_of_the_right_kind_is_named(make, message):
    with pytest.raises(InvalidTypeError, match=message):
        make()


@pytest.mark.parametrize("network", [networks.Transformer(4, 1, 1), networks.ConvNet(4)])
def test_a_network_for_other_axes_is_refused(network):
    """It would take the batch for tokens or pixels, and mix examples."""
    with pytest.raises(InvalidValueError, match="Coupling: `conditioner` must be for events of the same axes; got"):
        b.Coupling(network, b.Affine())


def test_a_context_of_another_batch_is_refused():
    coupling = b.Coupling(networks.MLP((4,)), b.Affine())
    with pytest.raises(InvalidValueError, match=r"ContextTerm: `context` must have the batch shape .*\(8,\) here; got"):
        coupling.init(KEY, jnp.ones((8, 4)), jnp.ones((7, 3)), method="inverse_and_log_det")
