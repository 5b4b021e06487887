"""Flow++: couplings by mixtures of logistics, with gated convolutions and attention."""

import dataclasses
import math
from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Bijector,
    Chain,
    Coupling,
    Inverse,
    InvertibleLinear,
    LogisticMixture,
    LogitPixels,
    Repeat,
    Reshape,
    Sigmoid,
    Squeeze,
    SwapHalves,
)
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.dequantize import ImageDequantize, UniformDequantize, VariationalDequantize
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.glow import NumBits, Padding
from jflows.flows.presets.preset import preset
from jflows.nn import ClassEmbed, ColumnPairFeatures, GatedConvNet
from jflows.nn.transformer import check_heads
from jflows.options import Option
from jflows.typing import Shape

NOISE_BLOCKS = 2  # of the networks of the noise, in the published code
NOISE_FEATURES = 32  # of the image, from which twice as many numbers come that the noise sees

NumCouplings = Annotated[
    tuple[int, ...],
    Option(
        "Number of couplings of each of three kinds: of columns at full size, of channels after the squeeze, and of "
        "columns after it. More couplings fit more, and a training step takes time in proportion, while compile time "
        "does not grow; those at full size take longest. 0 leaves a kind out.",
        low=0,
        axes=3,
        noun="three ints, such as (4, 2, 3)",
    ),
]
NumBlocks = Annotated[
    int,
    Option(
        "Number of blocks in the network of one coupling, each a gated convolution and a gated attention. More blocks "
        "fit more, and cost time and compile time in proportion.",
        low=1,
    ),
]
Width = Annotated[
    int,
    Option(
        "Number of channels in the couplings' networks, a multiple of num_heads. More channels fit more; time grows "
        "with their square once there are many.",
        low=1,
    ),
]
NumHeads = Annotated[
    int,
    Option(
        "Number of heads of the attention over pixels. Each head computes a number for each pair of half the pixels of "
        "an image, and takes time in proportion; 0 leaves the attention out, which is faster and sees less far.",
        low=0,
    ),
]
NumComponents = Annotated[
    int,
    Option(
        "Number of logistics in the mixture of one coupling. More components bend the map more finely, and each costs "
        "three outputs of the network for every number.",
        low=1,
    ),
]
Alpha = Annotated[
    float,
    Option(
        "How far the logit keeps pixels away from black and white. A smaller alpha spreads black and white further "
        "apart, which suits images of mostly black and white.",
        above=0,
        below=0.5,
    ),
]
Dequantization = Annotated[
    str,
    Option(
        "Where the noise comes from that makes integers continuous: variational learns, by couplings like those of the "
        "flow that see the image, which noise makes the bound tightest; uniform draws it evenly from each bin, which "
        "takes less time and fits less well in the end.",
        choices=("uniform", "variational"),
    ),
]
DequantizeWidth = Annotated[
    int,
    Option(
        "With dequantize=variational, number of channels in the networks of the noise, a multiple of num_heads.", low=1
    ),
]
Backprop = Annotated[
    str,
    Option(
        "What back-propagation stores: standard stores all activations; remat stores the input of each coupling and "
        "computes couplings twice, in about a fifth of the memory or less and, on a CPU, no more time. There is no "
        "invertible, as the way from latent to data is solved by iteration, to rounding only.",
        choices=("standard", "remat"),
    ),
]


@preset
def flow_plus_plus(
    event_shape: s.ImageShape,
    num_couplings: NumCouplings = (4, 2, 3),
    num_blocks: NumBlocks = 10,
    width: Width = 96,
    *,
    num_heads: NumHeads = 4,
    num_components: NumComponents = 32,
    num_bits: NumBits = 8,
    dequantize: Dequantization = "variational",
    dequantize_steps: s.DequantizeSteps = 2,
    dequantize_width: DequantizeWidth = 96,
    alpha: Alpha = 0.05,
    padding: Padding = 0,
    num_classes: s.NumClasses = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: Backprop = "standard",
) -> Flow:
    """Flow++ on integer images: couplings by mixtures of logistics, whose networks have gates and attention.

    From data to latent: the logit; couplings of even and odd columns; a squeeze; couplings of channels; couplings of
    columns again. One step, from data to latent: a scale and shift of each number, set from the first batch; a linear
    map of the channels of a pixel; a coupling; an exchange of its two halves. Equal steps are one scanned step, in the
    learned noise too, which sees the image through features that are computed once. The latent is one flat vector.

    The likelihood takes one pass. The way from latent to data is a safeguarded Newton method in each coupling, so that
    samples take several times as long.

    Source: Ho et al. 2019, arXiv:1902.00275, sections 3.1 to 3.3. The defaults are the model of the published code for
    CIFAR-10. Differs: no dropout; scales of the mixtures are bounded on both sides; both halves of a step share the
    linear map of their channels, which starts as a rotation; the squeeze orders channels as RealNVP's, so that
    channels are split by diagonals; the networks start at zero. See `GatedConvNet` too.
    """
    if num_heads:
        check_heads("flow_plus_plus", num_heads, width)
        if dequantize == "variational" and dequantize_width % num_heads:
            rule = f"must be a multiple of num_heads={num_heads}"
            raise InvalidValueError("flow_plus_plus", "dequantize_width", rule, dequantize_width)
    if sum(num_couplings) < 2:
        rule = "must sum to at least 2, as one coupling changes half of the numbers"
        raise InvalidValueError("flow_plus_plus", "num_couplings", rule, num_couplings)
    image_shape = _image_shape(event_shape, padding)
    make = _Steps(num_blocks, width, num_heads, num_components, compute_dtype, backprop)
    noise = UniformDequantize(num_bits, padding)
    if dequantize == "variational":
        own = dataclasses.replace(make, num_blocks=NOISE_BLOCKS, width=dequantize_width)
        noise = _learned_noise(image_shape, num_bits, padding, own, 2 * dequantize_steps)
    bijector = _bijector(image_shape, make, num_couplings)
    return Flow(
        bijector=bijector,
        base=StandardNormal(bijector.z_event_shape(image_shape)),
        event_shape=event_shape,
        dequantize=noise,
        preprocess=LogitPixels(num_bits, alpha),
        embed=None if num_classes is None else ClassEmbed(num_classes),
        context_shape=None if num_classes is None else (),
    )


@dataclasses.dataclass(frozen=True)
class _Steps:
    """What all steps of a flow have in common."""

    num_blocks: int
    width: int
    num_heads: int
    num_components: int
    compute_dtype: str
    backprop: str

    def __call__(self, shape: Shape, num: int) -> tuple[Bijector, ...]:
        """`num` steps on images [height, columns, two halves of the channels]; () for none."""
        if num == 0:
            return ()
        height, columns, channels = shape
        network = GatedConvNet(self.width, self.num_blocks, self.num_heads, self.compute_dtype)
        coupling = Coupling(network, LogisticMixture(self.num_components), event_ndims=3)
        pixels = (height, 2 * columns, channels // 2)  # the halves side by side, each with the channels of a pixel
        linear = (Reshape(pixels, shape), InvertibleLinear(3), Reshape(shape, pixels)) if channels > 2 else ()
        dim = (math.prod(shape),)
        norm = (Reshape(dim, shape), ActNorm(), Reshape(shape, dim))
        return (Repeat(Chain((SwapHalves(3), coupling, *linear, *norm)), num, self.backprop),)


def _bijector(image_shape: Shape, make: _Steps, num_couplings: Shape) -> Bijector:
    """The couplings, from the flat latent to logits of pixels."""
    height, width, channels = image_shape
    first, second, third = num_couplings
    pairs = (height, width // 2, 2 * channels)
    squeezed = (height // 2, width // 2, 4 * channels)
    squeezed_pairs = (height // 2, width // 4, 8 * channels)
    return Chain(
        (
            Reshape(squeezed_pairs, (math.prod(image_shape),)),
            *make(squeezed_pairs, third),
            Reshape(squeezed, squeezed_pairs),
            *make(squeezed, second),
            Squeeze(order="realnvp"),
            Reshape(pairs, image_shape),
            *make(pairs, first),
            Reshape(image_shape, pairs),
        )
    )


def _learned_noise(image_shape: Shape, num_bits: int, padding: int, make: _Steps, num: int) -> ImageDequantize:
    """Noise by couplings of columns that are exact from normal numbers to noise, which is the way that is needed."""
    height, width, channels = image_shape
    pairs = (height, width // 2, 2 * channels)
    couplings = Chain((Reshape(pairs, image_shape), *make(pairs, num), Reshape(image_shape, pairs)))
    bijector = Chain((Inverse(couplings), Sigmoid(event_ndims=3)))
    features = ColumnPairFeatures(NOISE_FEATURES, compute_dtype=make.compute_dtype)
    return VariationalDequantize(num_bits, padding, bijector, features)


def _image_shape(event_shape: Shape, padding: int) -> Shape:
    """The padded shape, if it can be squeezed, and then be cut into pairs of columns."""
    height, width, channels = UniformDequantize(padding=padding).padded_shape(event_shape)
    if height % 2 or width % 4:
        rule = f"must have an even height and a width that is a multiple of 4; it has {height} x {width} with padding"
        fix = "Crop the images." if height % 2 or width % 2 else "Set {padding}, or crop the images."
        raise InvalidValueError("flow_plus_plus", "event_shape", rule, event_shape, fix)
    return height, width, channels
