"""NICE on images: additive couplings of odd and even pixels."""

import math
from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    AdditiveTwoWay,
    Bijector,
    CentredPixels,
    Chain,
    Coupling,
    EvensFirst,
    Repeat,
    Reshape,
    Shift,
    Whiten,
)
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.coupling import NICE_BASES, NiceBase
from jflows.flows.presets.glow import NumBits
from jflows.flows.presets.preset import preset
from jflows.nn import MLP, ClassEmbed
from jflows.options import Option

NOISE_VARIANCE = 1 / 12  # of the uniform noise of dequantization, in levels squared


@preset
def nice_images(
    event_shape: s.ImageShape,
    num_layers: s.NumLayers = 4,
    hidden_sizes: s.HiddenSizes = (1000,) * 5,
    *,
    activation: s.Activation = "relu",
    base: NiceBase = "logistic",
    num_bits: NumBits = 8,
    dequantize: s.Dequantization = "uniform",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: s.DequantizeWidth = 32,
    whitening: Annotated[
        str,
        Option(
            "What is done to pixels first: none only centres them; zca takes away all their correlations, by the "
            "covariance of the training images, which helps natural images. The density accounts for it exactly. For "
            "D numbers an image, zca stores a D x D matrix and costs two products with it.",
            choices=("none", "zca"),
        ),
    ] = "none",
    num_classes: s.NumClasses = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """NICE on integer images: additive couplings of odd and even pixels, then one learned scale per dimension.

    Pixels are flattened, those at even positions put first, and the two halves shifted in turn by networks of each
    other. Two layers are one scanned step, for any depth and for an odd number of pixels too. ZCA regularises the
    covariance of the integers by the variance of the noise that is added to them, 1/12 of a level squared; whether
    pixels are in levels or scaled to [-1, 1] makes no difference to what comes out of it.

    Networks see and shift pixels in units of their own deviation. A pixel that is black in nearly all images varies by
    its noise alone, 1/300 of what a stroke varies by; if one step of training moves both by as much, the shifts
    ruin the black pixels at first, and the networks learn to put out nothing, for good (all rectified units die).

    Source: Dinh et al. 2014, arXiv:1410.8516, sections 3 and 5.1; the defaults are its setting for MNIST. Differs:
    pixels are centred and scaled by the deviations of the first batch, which are learned further, conditioners start at
    zero, and the last scaling has a shift.
    """
    dim = math.prod(event_shape)
    if dim < 2:
        rule = "must have at least 2 numbers, to couple one part to the other"
        raise InvalidValueError("nice_images", "event_shape", rule, event_shape)
    pairs, single = divmod(num_layers, 2)
    mlp = lambda: MLP(hidden_sizes, activation, compute_dtype=compute_dtype)
    layers: list[Bijector] = [ActNorm()]
    if single:
        layers.append(Coupling(mlp(), Shift()))
    if pairs:
        layers.append(Repeat(AdditiveTwoWay(mlp(), mlp()), pairs, backprop))
    return Flow(
        bijector=Chain((*layers, ActNorm(), EvensFirst(), Reshape(event_shape, (dim,)))),
        base=NICE_BASES[base]((dim,)),
        event_shape=event_shape,
        dequantize=s.dequantizer(dequantize, num_bits, 0, dequantize_steps, dequantize_width, compute_dtype),
        preprocess=Whiten(3, NOISE_VARIANCE) if whitening == "zca" else CentredPixels(num_bits),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )
