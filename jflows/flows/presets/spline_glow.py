"""Spline Glow: Glow whose couplings bend their half of the channels by rational-quadratic splines."""

from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Bijector,
    CentredPixels,
    Chain,
    Coupling,
    InvertibleLinear,
    LogitPixels,
    MultiScale,
    RationalQuadraticSpline,
    Repeat,
    Squeeze,
)
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.glow import (
    BASES,
    Alpha,
    BaseName,
    NumBits,
    NumLevels,
    NumSteps,
    Padding,
    Preprocess,
    Prior,
    Width,
    level_prior,
    squeezable_shape,
    steps_per_level,
)
from jflows.flows.presets.preset import preset
from jflows.flows.presets.realnvp_images import NumBlocks
from jflows.nn import ClassEmbed, ResidualConvNet
from jflows.options import Option

Norm = Annotated[
    str,
    Option(
        "Normalisation in the couplings' networks: weight normalises their kernels from the first batch, and images do "
        "not depend on each other; batch normalises hidden channels by the statistics of the batch in training too, "
        "as in the paper, and takes more time.",
        choices=("weight", "batch"),
    ),
]
FactorOut = Annotated[
    bool,
    Option(
        "Factor out half of the channels after each level but the last, as Glow does. Otherwise all channels pass "
        "through all levels, which fits better and takes more time and parameters in the last levels. A single level "
        "has nothing to factor out."
    ),
]


@preset
def spline_glow(
    event_shape: s.ImageShape,
    num_levels: NumLevels = 3,
    num_steps: NumSteps = 7,
    width: Width = 96,
    num_blocks: NumBlocks = 3,
    *,
    num_bins: s.NumBins = 4,
    bound: s.Bound = 3.0,
    norm: Norm = "weight",
    factor_out: FactorOut = False,
    num_bits: NumBits = 8,
    dequantize: s.Dequantization = "uniform",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: s.DequantizeWidth = 32,
    preprocess: Preprocess = "centred",
    alpha: Alpha = 0.05,
    padding: Padding = 0,
    num_classes: s.NumClasses = None,
    prior: Prior = "none",
    base: BaseName = "normal",
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
    anchor_every: s.AnchorEvery = 0,
) -> Flow:
    """Spline Glow: the neural spline flow of images, Glow with rational-quadratic splines in place of affine maps.

    One step, from data to latent: ActNorm, invertible 1x1 convolution, coupling whose residual network sets a spline
    for each number. One level: squeeze, `num_steps` steps, one more 1x1 convolution and, with `factor_out=True`, half
    of the channels factored out and standardised as `prior` says. The latent is one flat vector. Splines have exact
    inverses, so that both directions cost the same.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 5.3, RQ-NSF (C). The defaults are its setting for CIFAR-10 of
    8 bits, whose network has batch normalisation (norm="batch") and dropout. Differs: no dropout; weight normalisation;
    networks start at zero, and so splines at the identity; 1x1 convolutions start at rotations.
    """
    _check_norm(norm, backprop)
    noise = s.dequantizer(dequantize, num_bits, padding, dequantize_steps, dequantize_width, compute_dtype)
    image_shape = squeezable_shape("spline_glow", event_shape, num_levels, noise)

    def level(steps: int) -> Chain:
        network = ResidualConvNet(width, num_blocks, norm=norm, first_kernel_size=1, compute_dtype=compute_dtype)
        coupling = Coupling(network, RationalQuadraticSpline(num_bins, bound), event_ndims=3)
        step = Chain((coupling, InvertibleLinear(event_ndims=3), ActNorm(event_ndims=3)))
        return Chain((InvertibleLinear(event_ndims=3), Repeat(step, steps, backprop, anchor_every), Squeeze()))

    levels: list[Bijector] = [level(steps) for steps in steps_per_level("spline_glow", num_steps, num_levels)]
    if not factor_out:
        levels = [Chain(tuple(reversed(levels)))]
    priors = [level_prior(prior, compute_dtype, top=index == len(levels) - 1) for index in range(len(levels))]
    bijector = MultiScale(image_shape, tuple(levels), tuple(priors))
    return Flow(
        bijector=bijector,
        base=BASES[base](bijector.z_event_shape(image_shape)),
        event_shape=event_shape,
        dequantize=noise,
        preprocess=CentredPixels(num_bits) if preprocess == "centred" else LogitPixels(num_bits, alpha),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )


def _check_norm(norm: str, backprop: str) -> None:
    """Raises for batch normalisation with invertible back-propagation."""
    if norm == "batch" and backprop == "invertible":
        rule = "must not be 'invertible' with {norm=batch}, whose statistics cannot be told from an output"
        fix = "Set {backprop=remat}, or {norm=weight}."
        raise InvalidValueError("spline_glow", "backprop", rule, repr(backprop), fix)
