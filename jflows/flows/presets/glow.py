"""Glow: the multi-scale flow of images."""

from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    CentredPixels,
    Chain,
    Coupling,
    Elementwise,
    Identity,
    InnerMap,
    InvertibleLinear,
    LogitPixels,
    MultiScale,
    RandomPermutation,
    Repeat,
    Reverse,
    Shift,
    Squeeze,
)
from jflows.distributions import Base, DiagonalNormal, LocationScale, StandardNormal, StudentT
from jflows.errors import InvalidValueError
from jflows.flows.dequantize import ImageDequantize
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset
from jflows.nn import ClassEmbed, ConvNet, ZeroConv
from jflows.options import Option
from jflows.typing import Shape

PERMUTATIONS = {"conv1x1": InvertibleLinear, "reverse": Reverse, "shuffle": RandomPermutation}
PRIOR_MAX_LOG_SCALE = 4.0


def student_t(event_shape: Shape) -> Base:
    """Student's t with a learned place, scale and degrees of freedom in every dimension; it starts near a normal."""
    return LocationScale(event_shape, StudentT(event_shape, df=30.0, learned=True))


BASES = {"normal": StandardNormal, "diagonal": DiagonalNormal, "student_t": student_t}


NumLevels = Annotated[
    int,
    Option(
        "Number of levels, each of which halves height and width; both must be multiples of 2^num_levels, padding "
        "included. More levels see more of the image at once.",
        low=1,
    ),
]
NumSteps = Annotated[
    int | tuple[int, ...],
    Option(
        "Number of flow steps in each level: one number for all levels, or one for each. More steps fit more; a "
        "training step takes time in proportion, while compile time does not grow.",
        low=1,
    ),
]
Width = Annotated[
    int,
    Option(
        "Number of hidden channels in the couplings' networks. More channels fit more; time grows with their "
        "square once there are many.",
        low=1,
    ),
]
CouplingKind = Annotated[
    str,
    Option(
        "What a coupling does to its half of the channels: affine scales and shifts them; additive only shifts "
        "them, which preserves volume and fits less well.",
        choices=("affine", "additive"),
    ),
]
Permutation = Annotated[
    str,
    Option(
        "How channels are mixed between couplings: conv1x1 learns a linear map and fits best, reverse turns their "
        "order round, and shuffle draws one order at random and keeps it.",
        choices=tuple(PERMUTATIONS),
    ),
]
Norm = Annotated[
    str,
    Option(
        "What follows each convolution in the couplings' networks: actnorm, a scale and shift that start by "
        "normalising the first batch, or bias, a plain bias.",
        choices=("actnorm", "bias"),
    ),
]
NumBits = Annotated[
    int,
    Option(
        "Number of bits of each pixel that are modelled: data are integers 0..2^num_bits - 1, to which noise "
        "is added. Images of more bits are reduced. Bits/dim at different num_bits cannot be compared.",
        low=1,
        high=8,
    ),
]
Preprocess = Annotated[
    str,
    Option(
        "What is done to pixels first: centred maps them linearly to [-0.5, 0.5); logit squeezes them by alpha and "
        "takes the logit, which suits images of mostly black and white. The density accounts for both exactly.",
        choices=("centred", "logit"),
    ),
]
Alpha = Annotated[
    float,
    Option(
        "How far preprocess=logit keeps pixels away from 0 and 1. A smaller alpha spreads black and white further "
        "apart.",
        above=0,
        below=0.5,
    ),
]
Padding = Annotated[
    int,
    Option(
        "Number of zero pixels added on each side, so that height and width can be halved as often as the flow does; "
        "they cost time, and bits/dim still count the data's own pixels. 0 adds none.",
        low=0,
    ),
]
Prior = Annotated[
    str,
    Option(
        "What becomes of the half of the channels that a level factors out: learned standardises it, by a mean and a "
        "deviation that a network predicts from the other half, and what leaves the last level by one of its own; none "
        "leaves both to the base as they are, which fits less well.",
        choices=("learned", "none"),
    ),
]
BaseName = Annotated[
    str,
    Option(
        "Density of the latent: normal is N(0, I); diagonal learns a mean and a deviation for each entry; student_t "
        "learns degrees of freedom too, so that outliers cost less.",
        choices=tuple(BASES),
    ),
]


@preset
def glow(
    event_shape: s.ImageShape,
    num_levels: NumLevels = 3,
    num_steps: NumSteps = 32,
    width: Width = 512,
    *,
    coupling: CouplingKind = "affine",
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    permutation: Permutation = "conv1x1",
    norm: Norm = "actnorm",
    num_bits: NumBits = 8,
    dequantize: s.Dequantization = "uniform",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: s.DequantizeWidth = 32,
    preprocess: Preprocess = "centred",
    alpha: Alpha = 0.05,
    padding: Padding = 0,
    num_classes: s.NumClasses = None,
    prior: Prior = "learned",
    base: BaseName = "normal",
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
    anchor_every: s.AnchorEvery = 0,
) -> Flow:
    """Glow: multi-scale flow of ActNorm, invertible 1x1 convolution and coupling steps, on integer images.

    One step, from data to latent: ActNorm, permutation, coupling. One level: squeeze, `num_steps` steps, half of the
    channels factored out and standardised by a prior learned from the other half. The latent is one flat vector.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, table 1 and figure 2. With event_shape (32, 32, 3), 3 levels,
    32 steps and width 512 it has the published 44.0 M parameters. Differs: the affine scale is bounded on both sides
    unless `scale="sigmoid"` asks for that of the published code.
    """
    noise = s.dequantizer(dequantize, num_bits, padding, dequantize_steps, dequantize_width, compute_dtype)
    image_shape = squeezable_shape("glow", event_shape, num_levels, noise)
    inner = Affine(scale, max_log_scale) if coupling == "affine" else Shift()
    levels, priors = [], []
    for level, steps in enumerate(steps_per_level("glow", num_steps, num_levels)):
        step = glow_step(inner, permutation, width, norm, compute_dtype)
        levels.append(Chain((Repeat(step, steps, backprop, anchor_every), Squeeze())))
        priors.append(level_prior(prior, compute_dtype, top=level == num_levels - 1))
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


def glow_step(
    inner: InnerMap,
    permutation: str = "conv1x1",
    width: int = 512,
    norm: str = "actnorm",
    compute_dtype: str = "full",
) -> Bijector:
    """One step of Glow on images, listed from latent to data.

    Shapes:
      x: [*batch, height, width, channels] <-> z: the same.
    """
    coupling = Coupling(ConvNet(width, norm, compute_dtype=compute_dtype), inner, event_ndims=3)
    return Chain((coupling, PERMUTATIONS[permutation](event_ndims=3), ActNorm(event_ndims=3)))


def level_prior(kind: str, compute_dtype: str, top: bool) -> Bijector:
    """What standardises the latent of a level: the top one by itself, others given the channels that are kept."""
    if kind == "none":
        return Identity(event_ndims=3)
    inner = Affine("tanh", PRIOR_MAX_LOG_SCALE)
    if top:
        return Elementwise(inner, event_ndims=3)
    return Coupling(ZeroConv(compute_dtype=compute_dtype), inner, event_ndims=3)


def squeezable_shape(where: str, event_shape: Shape, num_levels: int, dequantize: ImageDequantize) -> Shape:
    """The padded shape, if it can be squeezed so often."""
    shape = dequantize.padded_shape(event_shape)
    if any(side % 2**num_levels for side in shape[:2]):
        rule = f"must leave a height and width, {shape[:2]} with padding, that are multiples of 2^num_levels"
        odd = any(side % 2 for side in shape[:2])  # padding adds as much on both sides
        sizes = f"Crop or resize the images to multiples of {2**num_levels}, or to even sizes and lower {{num_levels}}."
        fix = sizes if odd else "Lower {num_levels}, or set {padding}."
        raise InvalidValueError(where, "num_levels", rule, repr(num_levels), fix)
    return shape


def steps_per_level(where: str, num_steps: int | tuple[int, ...], num_levels: int) -> tuple[int, ...]:
    """One number per level; a single one serves all."""
    steps = (num_steps,) if isinstance(num_steps, int) else num_steps
    steps = steps * num_levels if len(steps) == 1 else steps
    if len(steps) != num_levels:
        got = f"num_levels={num_levels}, num_steps={num_steps}"
        raise InvalidValueError(where, "num_steps", "must be one number, or one per level", got)
    return steps
