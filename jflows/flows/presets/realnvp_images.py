"""RealNVP on images: checkerboard and channel couplings over several scales."""

from collections.abc import Callable
from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijector,
    Chain,
    Coupling,
    Identity,
    LogitPixels,
    Mirror,
    MultiScale,
    Repeat,
    Squeeze,
    SwapHalves,
)
from jflows.bijectors.pixels import SIDES
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.glow import NumBits
from jflows.flows.presets.preset import preset
from jflows.nn import ClassEmbed, ResidualConvNet
from jflows.options import Option
from jflows.typing import Shape

NORMS = {"batchnorm": (BatchNorm, "batch"), "actnorm": (ActNorm, "weight")}
"""The normalisation after each coupling, and that of `ResidualConvNet`, by the name of the option."""


NumScales = Annotated[
    int,
    Option(
        "Number of scales. All but the last squeeze the image and factor out half of it, so that height and width "
        "must be multiples of 2^(num_scales - 1). More scales see more of the image at once.",
        low=1,
    ),
]
NumBlocks = Annotated[
    int,
    Option(
        "Number of residual blocks in the network of one coupling. More blocks fit more, and cost time and "
        "compile time in proportion.",
        low=1,
    ),
]
Maps = Annotated[
    int,
    Option(
        "Number of feature maps of the networks at the first size; it doubles with every squeeze. More maps fit "
        "more; time grows with their square once there are many.",
        low=1,
    ),
]
NumCouplings = Annotated[
    int,
    Option(
        "Number of couplings of each kind, checkerboard and channel, in each scale; the last scale has one more "
        "checkerboard. More couplings fit more, and a training step takes time in proportion; a single one leaves half "
        "of the numbers as they are.",
        low=1,
    ),
]
Norm = Annotated[
    str,
    Option(
        "Normalisation after couplings and in their networks: batchnorm normalises both by the statistics of the "
        "batch in training, as in the paper, so that the images of a batch depend on each other; actnorm "
        "normalises couplings and weights from the first batch and then learns.",
        choices=tuple(NORMS),
    ),
]
Alpha = Annotated[
    float,
    Option(
        "How far the logit keeps pixels away from black, and with sides=two from white. A smaller alpha spreads "
        "black and white further apart.",
        above=0,
        below=0.5,
    ),
]
Sides = Annotated[
    str,
    Option(
        "Which ends the logit keeps pixels away from: one, black alone, as in the paper; two, both, which suits "
        "images with much white. The density accounts for either exactly.",
        choices=SIDES,
    ),
]


@preset
def realnvp_images(
    event_shape: s.ImageShape,
    num_scales: NumScales = 2,
    num_blocks: NumBlocks = 8,
    width: Maps = 64,
    *,
    num_couplings: NumCouplings = 3,
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    norm: Norm = "batchnorm",
    num_bits: NumBits = 8,
    dequantize: s.Dequantization = "uniform",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: s.DequantizeWidth = 32,
    alpha: Alpha = 0.05,
    sides: Sides = "one",
    num_classes: s.NumClasses = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """RealNVP on integer images: affine couplings with residual networks, squeezed and factored out scale by scale.

    One scale, from data to latent: checkerboard couplings with alternating masks, squeeze, channel couplings with
    alternating masks, half of the channels factored out; each coupling is followed by a normalisation. The last scale
    has checkerboards alone. All that is factored out has the density N(0, I). Masks alternate by a mirror, or by a swap
    of channels, between equal couplings, which so are one scanned step; of an odd width, checkerboards are unrolled.

    Source: Dinh et al. 2017, arXiv:1605.08803, sections 3.4 to 3.7 and 4.1. The defaults are its setting for CIFAR-10.
    Differs: the log scale is bounded by a constant and not by a learned factor; the networks see no negated copy of
    their input, and have no connections from each block to the output.
    """
    _check_shape(event_shape, num_scales)
    _check_norm(norm, backprop)
    make_norm, network_norm = NORMS[norm]

    def step(mask: str, maps: int, flip: bool = False) -> tuple[Bijector, ...]:
        network = ResidualConvNet(maps, num_blocks, norm=network_norm, compute_dtype=compute_dtype)
        return make_norm(3), Coupling(network, Affine(scale, max_log_scale), event_ndims=3, mask=mask, flip=flip)

    levels = _levels(step, event_shape[1], num_scales, num_couplings, width, backprop)
    bijector = MultiScale(event_shape, levels, tuple(Identity(event_ndims=3) for _ in levels))
    return Flow(
        bijector=bijector,
        base=StandardNormal(bijector.z_event_shape(event_shape)),
        event_shape=event_shape,
        dequantize=s.dequantizer(dequantize, num_bits, 0, dequantize_steps, dequantize_width, compute_dtype),
        preprocess=LogitPixels(num_bits, alpha, sides),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )


def _levels(
    step: Callable[..., tuple[Bijector, ...]],
    columns: int,
    num_scales: int,
    num_couplings: int,
    width: int,
    backprop: str,
) -> tuple[Bijector, ...]:
    """The scales of an image with so many columns, finest first; `step(mask, maps, flip)` is a norm and a coupling."""
    levels: list[Bijector] = []
    for index in range(num_scales - 1):
        by_channel = Chain((SwapHalves(3), *step("channel", width * 2 ** (index + 1))))
        boards = _checkerboards(step, columns // 2**index, num_couplings, width * 2**index, backprop)
        levels.append(Chain((Repeat(by_channel, num_couplings, backprop), Squeeze(order="realnvp"), boards)))
    last = num_scales - 1
    return (*levels, _checkerboards(step, columns // 2**last, num_couplings + 1, width * 2**last, backprop))


def _checkerboards(
    step: Callable[..., tuple[Bijector, ...]], columns: int, num: int, maps: int, backprop: str
) -> Bijector:
    """`num` checkerboard couplings whose masks alternate: by a mirror, if the width is even, else by two masks."""
    if columns % 2 == 0:
        return Repeat(Chain((Mirror(), *step("checkerboard", maps))), num, backprop)
    flips = [index % 2 == 1 for index in range(num)]  # from data to latent, so the last one is listed first
    steps = [Repeat(Chain(step("checkerboard", maps, flip)), 1, backprop) for flip in flips]
    return Chain(tuple(reversed(steps)))


def _check_norm(norm: str, backprop: str) -> None:
    """Raises for batch normalisation with invertible back-propagation."""
    if norm == "batchnorm" and backprop == "invertible":
        rule = "must not be 'invertible' with {norm=batchnorm}, whose statistics cannot be told from an output"
        fix = "Set {backprop=remat}, or {norm=actnorm}."
        raise InvalidValueError("realnvp_images", "backprop", rule, repr(backprop), fix)


def _check_shape(event_shape: Shape, num_scales: int) -> None:
    """Raises unless an image can be squeezed so often, and leaves two pixels for a checkerboard."""
    factor, sides = 2 ** (num_scales - 1), event_shape[:2]
    if any(side % factor for side in sides) or sides[0] * sides[1] < 2 * factor**2:
        rule = f"must leave a height and width, {sides}, that are multiples of 2^(num_scales - 1), and two pixels"
        raise InvalidValueError("realnvp_images", "num_scales", rule, repr(num_scales), "Lower {num_scales}.")
