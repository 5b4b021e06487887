"""Values between layers: nothing is skipped, and the last are those of `encode` and `decode`."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import Flow, InvalidTypeError, InvalidValueError
from jflows.bijectors import (
    Affine,
    Chain,
    Conditioned,
    Coupling,
    Elementwise,
    Haar,
    Inverse,
    LogitPixels,
    Masked,
    MaskedAutoregressive,
    Repeat,
    Reverse,
    Split,
    Squeeze,
    Stack,
    Standardize,
    Vmap,
)
from jflows.distributions import StandardNormal
from jflows.eval.layers import layer_names, layerwise
from jflows.flows import UniformDequantize
from jflows.nn import MADE, MLP, ClassEmbed, ContextEmbed, ConvNet
from jflows.testing.common import perturb

DIM, BATCH, NUM_CLASSES = 3, 4, 3
STEPS = ["step 1", "step 2", "step 3"]


def coupling() -> Coupling:
    return Coupling(MLP((4,)), Affine())


def repeat() -> Repeat:
    return Repeat(Chain((coupling(), Reverse())), 3, "invertible")


def vectors(bijector, **options) -> Flow:
    return Flow(bijector, StandardNormal((DIM,)), (DIM,), **options)


def nested() -> Flow:
    steps = Chain((Elementwise(Affine()), repeat()))
    made = Inverse(Chain((MaskedAutoregressive(MADE((4,)), Affine()), Reverse())))
    return vectors(Chain((steps, made, Inverse(Repeat(coupling(), 2)), Standardize())))


def with_classes() -> Flow:
    return vectors(Chain((repeat(), coupling())), embed=ClassEmbed(NUM_CLASSES), context_shape=())


def image() -> Flow:
    bijector, base = Elementwise(Affine(), event_ndims=3), StandardNormal((4, 4, 1))
    return Flow(bijector, base, (2, 2, 1), UniformDequantize(padding=1), LogitPixels())


def inside_parts() -> Flow:
    split = Split(Chain((Elementwise(Affine()), Repeat(coupling(), 2))), coupling())
    stack = Stack((Elementwise(Affine()), Inverse(Chain((coupling(), Elementwise(Affine()))))), (1, 2))
    return vectors(Chain((stack, split, Masked(Chain((Elementwise(Affine()), Standardize()))))))


def inside_conditioned() -> Flow:
    conditioned = Conditioned(Chain((coupling(), Elementwise(Affine()))), ContextEmbed(2, ()))
    return vectors(Chain((conditioned, Standardize())), embed=ClassEmbed(NUM_CLASSES), context_shape=())


def copies() -> Flow:
    bijector = Vmap(Chain((coupling(), Repeat(coupling(), 2), Standardize())), 2)
    return Flow(bijector, StandardNormal((2, DIM)), (2, DIM))


def squeezed_part() -> Flow:
    """A part whose values have another shape inside: they are put back in row-major order."""
    of_images = Coupling(ConvNet(4), Affine(), event_ndims=3)
    bijector = Chain((Inverse(Haar()), Coupling(ConvNet(4), Affine(), event_ndims=3), Squeeze()))
    return Flow(Split(bijector, of_images), StandardNormal((2, 2, 4)), (2, 2, 4))


CASES = {
    inside_parts: [
        *("Elementwise", "Elementwise", "Coupling"),
        *("Elementwise", "step 1", "step 2", "Coupling"),
        *("Elementwise", "Standardize"),
    ],
    inside_conditioned: ["Coupling", "Elementwise", "Standardize"],
    copies: ["Coupling", "step 1", "step 2", "Standardize"],
    squeezed_part: ["Haar", "Coupling", "Squeeze", "Coupling"],
    nested: ["Elementwise", *STEPS, "Reverse", "MaskedAutoregressive", "step 2", "step 1", "Standardize"],
    with_classes: [*STEPS, "Coupling"],
    image: ["Elementwise", "LogitPixels", "UniformDequantize"],
}


def example(flow: Flow):
    random = np.random.default_rng(0)
    x = 2 + random.normal(size=(BATCH, *flow.event_shape))
    x = np.arange(16).reshape(BATCH, 2, 2, 1) if flow.dequantize is not None else x
    context = None if flow.context_shape is None else np.arange(BATCH) % NUM_CLASSES
    return perturb(flow.init(jax.random.key(0), x, context), 1, 0.2, jnp.float64), x, context


@functools.partial(jax.jit, static_argnames="flow")
def there_and_back(flow: Flow, variables, x, context):
    z, _ = flow.encode(variables, x, context)
    rebuilt, _ = flow.decode(variables, z, context)
    return (
        z,
        layerwise(flow, variables, x, "inverse", context),
        rebuilt,
        layerwise(flow, variables, z, "forward", context),
    )


@pytest.mark.parametrize("build", CASES)
@pytest.mark.by_default("inside_parts", "inside_conditioned", "copies", "with_classes", "image")
def test_layers_meet_encode_decode_and_each_other(build):
    flow, names = build(), CASES[build]
    variables, x, context = example(flow)
    z, inwards, rebuilt, outwards = there_and_back(flow, variables, x, context)
    np.testing.assert_allclose(inwards[-1], z, atol=1e-12)
    np.testing.assert_allclose(outwards[-1], rebuilt, atol=1e-12)
    assert layer_names(flow, "forward") == names and layer_names(flow) == names[::-1]
    assert len(inwards) == len(outwards) == len(names)
    way, back = [*inwards], [*outwards[-2::-1], z]  # between the layers, in the order of the inverse
    for there, again in zip(way, back, strict=True):
        np.testing.assert_allclose(again, there, atol=1e-9)
    for before, after in itertools.pairwise(way):
        assert before.shape == after.shape and float(jnp.abs(after - before).max()) > 1e-3  # none was skipped


def test_values_without_batch_axes():
    flow = vectors(Standardize())
    variables, x, _ = example(flow)
    (value,) = layerwise(flow, variables, x[0])
    np.testing.assert_allclose(value, (x[0] - x.mean(axis=0)) / x.std(axis=0), rtol=1e-5)


def test_errors():
    flow, x = vectors(Standardize()), np.ones((BATCH, DIM))
    with pytest.raises(InvalidValueError, match=r"`direction` must be one of 'forward', 'inverse'; got 'backward'"):
        layerwise(flow, {}, x, "backward")
    with pytest.raises(InvalidValueError, match="layer_names: `direction` must be one of"):
        layer_names(flow, "backward")
    with pytest.raises(
        InvalidValueError, match=r"`values` must have event shape \(3,\); got shape \(4, 2\). They are x"
    ):
        layerwise(flow, {}, x[:, :2])
    with pytest.raises(
        InvalidTypeError, match="layerwise: `values` must be an array; got list. Wrap it in jnp.asarray"
    ):
        layerwise(flow, {}, [[0.0, 0.0, 0.0]])
