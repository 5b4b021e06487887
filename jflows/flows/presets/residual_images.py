"""Residual flows on images: contractions of convolutions over several scales, with the unbiased log-det."""

import math
from collections.abc import Callable
from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Bijector,
    CentredPixels,
    Chain,
    Identity,
    LogitPixels,
    MultiScale,
    Repeat,
    Reshape,
    Residual,
    Squeeze,
)
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.glow import Alpha, NumBits, Padding, Preprocess
from jflows.flows.presets.preset import preset
from jflows.flows.presets.residual import Activation, Backprop, Coefficient, Estimator, NumTerms, StopProbability
from jflows.nn import ClassEmbed, LipschitzConvNet, LipschitzMLP
from jflows.nn.lipschitz import NORM_METHODS
from jflows.options import Option
from jflows.typing import Shape

NumScales = Annotated[
    int,
    Option(
        "Number of scales. The image is squeezed between two of them, so that height and width, padding included, must "
        "be multiples of 2^(num_scales - 1), or of 2^num_scales with squeeze_first. More scales see more of the image "
        "at once.",
        low=1,
    ),
]
NumBlocks = Annotated[
    int,
    Option(
        "Number of residual blocks in each scale. More blocks fit more; a training step takes time in proportion, "
        "while compile time does not grow.",
        low=1,
    ),
]
Width = Annotated[
    int,
    Option(
        "Number of hidden channels in the blocks' networks. More channels fit more; time grows with their square once "
        "there are many.",
        low=1,
    ),
]
DenseBlocks = Annotated[
    int,
    Option(
        "Number of residual blocks at the end whose networks see all that the last scale holds as one vector; they "
        "tell the parts of an image about each other. 0 leaves them out.",
        low=0,
    ),
]
DenseWidth = Annotated[
    int, Option("Number of units in each hidden layer of the blocks at the end; parameters grow with it.", low=1)
]
SqueezeFirst = Annotated[
    bool,
    Option(
        "Squeeze the image before the first scale: blocks then take a quarter of the time, as they see a quarter of "
        "the pixels, and fit less per block."
    ),
]
FactorOut = Annotated[
    bool,
    Option(
        "Factor out half of the channels after each scale but the last, so that deeper blocks see less and cost less; "
        "without it all blocks transform all of the image, as in the paper up to 32x32. A single scale has nothing to "
        "factor out."
    ),
]
Norms = Annotated[
    str,
    Option(
        "How training finds the norms by which kernels are bounded. exact solves eigenvalue problems, so that the "
        "bound holds in every step; they take time with the cube of width, and accelerators are slow at them. power "
        "takes some steps of power iteration from vectors that checkpoints keep, which costs next to nothing and "
        "falls short of the norm a little. Scores and samples use exact norms in any case.",
        choices=NORM_METHODS,
    ),
]


@preset
def residual_images(
    event_shape: s.ImageShape,
    num_scales: NumScales = 3,
    num_blocks: NumBlocks = 16,
    width: Width = 512,
    *,
    dense_blocks: DenseBlocks = 4,
    dense_width: DenseWidth = 128,
    coefficient: Coefficient = 0.94,
    activation: Activation = "lipswish",
    norms: Norms = "power",
    estimator: Estimator = "roulette",
    num_terms: NumTerms = 2,
    stop_probability: StopProbability = 0.3,
    squeeze_first: SqueezeFirst = False,
    factor_out: FactorOut = False,
    num_bits: NumBits = 8,
    dequantize: s.Dequantization = "uniform",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: s.DequantizeWidth = 32,
    preprocess: Preprocess = "logit",
    alpha: Alpha = 0.05,
    padding: Padding = 0,
    num_classes: s.NumClasses = None,
    backprop: Backprop = "standard",
) -> Flow:
    """Residual flow on integer images: blocks z = x + g(x) of convolutions with Lip(g) < 1, each followed by ActNorm.

    One scale, from data to latent: `num_blocks` blocks, whose networks are activation, 3x3, activation, 1x1,
    activation, 3x3, and a squeeze but after the last, which ends with dense blocks. Scores are cheap and samples are
    not: each block is inverted by iterating its network.

    Source: Chen et al. 2019, arXiv:1906.02735, section 5 and appendix; the defaults are its setting for CIFAR-10.
    Differs: the last layer of each network starts at zero; the number of terms beyond the first two is geometric, with
    a mean of 2.3, and not Poisson with a mean of 2; the first block has an activation in front, like all; norms of
    convolutions are those on the infinite plane. There is no compute_dtype, as an iteration in a narrow type would not
    settle.
    """
    noise = s.dequantizer(dequantize, num_bits, padding, dequantize_steps, dequantize_width, "full")
    image_shape = _image_shape(event_shape, noise.padded_shape(event_shape), num_scales + squeeze_first - 1)

    def blocks(num: int, ndims: int = 3) -> Bijector:
        if ndims == 3:
            network = LipschitzConvNet(width, coefficient, activation, preactivation=True, norms=norms)
        else:
            network = LipschitzMLP((dense_width,) * 2, coefficient, activation, preactivation=True, norms=norms)
        residual = Residual(network, estimator, num_terms, stop_probability, event_ndims=ndims)
        return Repeat(Chain((ActNorm(ndims), residual)), num, backprop)

    levels = _levels(blocks, image_shape, num_scales, num_blocks, dense_blocks, squeeze_first, factor_out)
    bijector = MultiScale(image_shape, levels, tuple(Identity(event_ndims=3) for _ in levels))
    return Flow(
        bijector=bijector,
        base=StandardNormal(bijector.z_event_shape(image_shape)),
        event_shape=event_shape,
        dequantize=noise,
        preprocess=CentredPixels(num_bits) if preprocess == "centred" else LogitPixels(num_bits, alpha),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )


def _levels(
    blocks: Callable[..., Bijector],
    shape: Shape,
    num_scales: int,
    num_blocks: int,
    dense_blocks: int,
    squeeze_first: bool,
    factor_out: bool,
) -> tuple[Bijector, ...]:
    """The levels of the multi-scale flow, finest first; one level that holds all scales without `factor_out`.

    Args:
      blocks: (num, ndims) -> so many residual blocks on images, or on vectors with ndims=1.
      shape: shape of the image.
    """
    scales: list[list[Bijector]] = [[ActNorm(3)]]  # each from data to latent
    if squeeze_first:
        scales[0].append(Squeeze())
    num_squeezes = num_scales - 1 + squeeze_first
    for index in range(num_scales):
        scales[-1].append(blocks(num_blocks))
        if index < num_scales - 1:
            scales[-1].append(Squeeze())
            scales.append([])
    if dense_blocks:
        channels = shape[2] * (4**squeeze_first * 2 ** (num_scales - 1) if factor_out else 4**num_squeezes)
        last = (shape[0] // 2**num_squeezes, shape[1] // 2**num_squeezes, channels)
        flat = (math.prod(last),)
        scales[-1] += [Reshape(last, flat), blocks(dense_blocks, 1), Reshape(flat, last)]
    scales = scales if factor_out else [[part for scale in scales for part in scale]]
    return tuple(Chain(tuple(reversed(scale))) for scale in scales)


def _image_shape(event_shape: Shape, shape: Shape, num_squeezes: int) -> Shape:
    """The padded shape, if it can be squeezed so often."""
    if any(side % 2**num_squeezes for side in shape[:2]):
        rule = f"must leave a height and width, {shape[:2]} with padding, that are multiples of {2**num_squeezes}"
        got = f"{event_shape}, squeezed {num_squeezes} times by num_scales and squeeze_first"
        odd = any(side % 2 for side in shape[:2])  # padding adds as much on both sides
        crop, fewer = "or crop the images to an even size", "Set {num_scales=1} without {squeeze_first}"
        fix = f"{fewer}, {crop}." if odd else "Lower {num_scales}, leave {squeeze_first} out, or set {padding}."
        raise InvalidValueError("residual_images", "num_scales", rule, got, fix)
    return shape
