"""Complete flows of the literature, ready to train."""

from jflows.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    CentredPixels,
    Chain,
    Coupling,
    Elementwise,
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
from jflows.distributions import DiagonalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError, check_choice
from jflows.flows.dequantize import UniformDequantize
from jflows.flows.flow import Flow
from jflows.nn import ClassEmbed, ConvNet, ZeroConv
from jflows.typing import Shape

PERMUTATIONS = {"conv1x1": InvertibleLinear, "reverse": Reverse, "shuffle": RandomPermutation}
PRIOR_MAX_LOG_SCALE = 4.0


def glow(
    event_shape: Shape,
    num_levels: int = 3,
    num_steps: int | tuple[int, ...] = 32,
    width: int = 512,
    *,
    coupling: str = "affine",
    scale: str = "tanh",
    max_log_scale: float = 2.0,
    permutation: str = "conv1x1",
    norm: str = "actnorm",
    num_bits: int = 8,
    preprocess: str = "centred",
    alpha: float = 0.05,
    padding: int = 0,
    num_classes: int | None = None,
    base: str = "normal",
    backprop: str = "standard",
    anchor_every: int = 0,
) -> Flow:
    """Glow: multi-scale flow of ActNorm, invertible 1x1 convolution and coupling steps, on integer images.

    One step, from data to latent: ActNorm, permutation, coupling. One level: squeeze, `num_steps` steps, half of the
    channels factored out and standardised by a prior learned from the other half.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, table 1 and figure 2. With event_shape (32, 32, 3), 3 levels,
    32 steps and width 512 it has the published 44.0 M parameters. Differs: the affine scale is bounded on both sides
    unless `scale="sigmoid"` asks for that of the published code.

    Args:
      event_shape: (height, width, channels); height and width are multiples of 2^num_levels once padded.
      num_levels: number of squeezes.
      num_steps: steps per level, or a tuple with one number per level.
      width: channels of the conditioners' hidden layers.
      coupling: "affine" or "additive".
      scale: of the affine coupling: "tanh" (bounded by exp(+-max_log_scale)), "sigmoid" or "exp".
      max_log_scale: bound of "tanh", in nats per element and step.
      permutation: "conv1x1" (learned, PLU), "reverse" or "shuffle" (fixed at random).
      norm: of the conditioner, "actnorm" or "bias".
      num_bits: data are integers 0..2^num_bits - 1, dequantized uniformly.
      preprocess: "centred" (pixels to [-0.5, 0.5)) or "logit" (of pixels squeezed by `alpha`); both count exactly.
      alpha: of "logit".
      padding: zero pixels added on each side before the flow; bits/dim still count event_shape.
      num_classes: if given, `context` is an integer label that conditions couplings and priors.
      base: "normal", or "diagonal" for a learned mean and deviation per latent.
      backprop: "standard", "remat" or "invertible"; see `Repeat`.
      anchor_every: see `Repeat`.
    Returns:
      A `Flow` whose latent is one flat vector.
    Raises:
      InvalidValueError: for an unknown option or an image that cannot be squeezed.
    """
    check_choice("glow", "coupling", coupling, ("affine", "additive"))
    check_choice("glow", "permutation", permutation, tuple(PERMUTATIONS))
    check_choice("glow", "preprocess", preprocess, ("centred", "logit"))
    check_choice("glow", "base", base, ("normal", "diagonal"))
    if len(event_shape) != 3:
        raise InvalidValueError("glow", "event_shape", "must be (height, width, channels)", tuple(event_shape))
    steps_per_level = (num_steps,) * num_levels if isinstance(num_steps, int) else tuple(num_steps)
    if num_levels < 1 or len(steps_per_level) != num_levels:
        got = f"num_levels={num_levels}, num_steps={num_steps}"
        raise InvalidValueError("glow", "num_steps", "must be an int or have one entry per level", got)

    shape = (event_shape[0] + 2 * padding, event_shape[1] + 2 * padding)
    if any(side % 2**num_levels for side in shape):
        rule = f"must leave a height and width, {shape} with padding, that are multiples of 2^num_levels"
        fix = "Use fewer levels, or pad or crop the images."
        raise InvalidValueError("glow", "num_levels", rule, repr(num_levels), fix)
    if not isinstance(width, int):
        raise InvalidTypeError("glow", "width", "must be an int", repr(width))

    inner = Affine(scale, max_log_scale) if coupling == "affine" else Shift()
    levels, priors = [], []
    for level, steps in enumerate(steps_per_level):
        step = glow_step(inner, permutation, width, norm)
        levels.append(Chain((Repeat(step, steps, backprop, anchor_every), Squeeze())))
        top = level == num_levels - 1
        prior = Affine("tanh", PRIOR_MAX_LOG_SCALE)
        priors.append(Elementwise(prior, event_ndims=3) if top else Coupling(ZeroConv(), prior, event_ndims=3))
    dequantize = UniformDequantize(num_bits, padding)
    bijector = MultiScale(dequantize.padded_shape(event_shape), tuple(levels), tuple(priors))
    latent_shape = bijector.z_event_shape(bijector.image_shape)
    return Flow(
        bijector=bijector,
        base=StandardNormal(latent_shape) if base == "normal" else DiagonalNormal(latent_shape),
        event_shape=event_shape,
        dequantize=dequantize,
        preprocess=CentredPixels(num_bits) if preprocess == "centred" else LogitPixels(num_bits, alpha),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )


def glow_step(inner: InnerMap, permutation: str = "conv1x1", width: int = 512, norm: str = "actnorm") -> Bijector:
    """One step of Glow on images, listed from latent to data.

    Shapes:
      x: [*batch, height, width, channels] <-> z: the same.
    """
    coupling = Coupling(ConvNet(width, norm), inner, event_ndims=3)
    return Chain((coupling, PERMUTATIONS[permutation](event_ndims=3), ActNorm(event_ndims=3)))
