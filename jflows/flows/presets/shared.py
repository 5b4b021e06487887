"""Options that several presets have, each declared once, and how layers of vectors are put together."""

from collections.abc import Callable
from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijector,
    Chain,
    Coupling,
    Elementwise,
    InvertibleLinear,
    RandomPermutation,
    Repeat,
    Reverse,
    Sigmoid,
    SwapHalves,
)
from jflows.bijectors.repeat import BACKPROP_MODES
from jflows.data.domains import Domains
from jflows.distributions import Base
from jflows.errors import InvalidValueError
from jflows.flows.columns import Layout, layout
from jflows.flows.dequantize import ImageDequantize, UniformDequantize, VariationalDequantize
from jflows.flows.flow import Flow
from jflows.flows.presets import circles as angles
from jflows.nn import ACTIVATIONS, ConvNet, StandardizeContext
from jflows.ops.affine import SCALE_KINDS
from jflows.ops.numerics import COMPUTE_DTYPES
from jflows.options import LEAST_WIDTH, MOST_WIDTH, Option
from jflows.typing import Shape

PERMUTATIONS = {"swap": SwapHalves, "reverse": Reverse, "shuffle": RandomPermutation, "linear": InvertibleLinear}
ACTIVATION_NAMES = tuple(ACTIVATIONS)
NORMS = {"none": None, "actnorm": ActNorm, "batchnorm": BatchNorm}

EventShape = Annotated[
    Shape,
    Option("Shape of one example: (D,) of a vector, (height, width, channels) of an image.", low=1, from_data=True),
]
ImageShape = Annotated[
    Shape,
    Option(
        "Shape of one image: (height, width, channels).",
        low=1,
        axes=3,
        noun="(height, width, channels)",
        fix="Gray images are (height, width, 1); vectors are for another preset, such as realnvp.",
        from_data=True,
    ),
]
NumClasses = Annotated[
    int | None,
    Option(
        "Number of classes of a flow that is conditioned on each example's class label; None builds a flow without "
        "classes.",
        low=2,
        from_data=True,
    ),
]
ContextDim = Annotated[
    int | None,
    Option(
        "Size of the context vector that every layer is conditioned on; None builds a flow without a context.",
        low=1,
        from_data=True,
    ),
]
NumLayers = Annotated[
    int,
    Option(
        "Number of layers. More layers fit more; a training step takes time in proportion, while compile time does not "
        "grow. A coupling changes half of the columns, rounded down: of couplings, one layer leaves the others as they "
        "are; with permutation=swap, two layers still leave one of an odd number, and three change all.",
        low=1,
    ),
]
HiddenSizes = Annotated[
    tuple[int, ...],
    Option(
        "Units of each hidden layer in the network of one flow layer. More units fit more, and cost time and memory.",
        low=1,
    ),
]
Activation = Annotated[
    str,
    Option(
        "Activation function of the networks. relu is the fastest; tanh, silu and softplus give smooth densities.",
        choices=ACTIVATION_NAMES,
    ),
]
Scale = Annotated[
    str,
    Option(
        "How affine maps bound their scale: tanh bounds it on both sides, so that neither direction can blow up; "
        "sigmoid bounds it from above, as Glow's published code does; exp does not bound it, as in RealNVP's paper.",
        choices=SCALE_KINDS,
    ),
]
MaxLogScale = Annotated[
    float,
    Option(
        "Largest absolute log scale of one affine map with scale=tanh, in nats per element. A smaller bound is more "
        "stable, but needs more layers to stretch data equally far.",
        above=0,
    ),
]
Permutation = Annotated[
    str,
    Option(
        "How coordinates are mixed between layers: swap exchanges the two halves, reverse turns the order round, "
        "shuffle draws one order at random and keeps it, and linear learns a full linear map, which fits best and "
        "costs a D x D matrix product.",
        choices=tuple(PERMUTATIONS),
    ),
]
Norm = Annotated[
    str,
    Option(
        "Normalisation after each layer: none; actnorm, a scale and shift that are set from the first batch and then "
        "learned; or batchnorm, which uses batch statistics in training as MAF's paper does, and so makes the examples "
        "of a batch depend on each other.",
        choices=tuple(NORMS),
    ),
]
StandardizeData = Annotated[
    bool,
    Option(
        "Bring every column, and every entry of the context, to mean 0 and deviation 1 first, by the statistics of the "
        "training rows. The density accounts for this and stays that of the original data. Turn it off for data that "
        "are standardised already.",
    ),
]
ColumnDomains = Annotated[
    Domains | None,
    Option(
        "What values the columns can have, such as jflows.data.Domains(positive=(0,)); other columns hold any real "
        "numbers, and None means all. A recipe makes it from positive, interval, circle, integer and simplex.",
        from_data=True,
    ),
]
ComputeDtype = Annotated[
    str,
    Option(
        "Type of numbers in which conditioners, the networks that give maps their parameters, compute: full, that of "
        "data and parameters, float32 as a rule; or bfloat16 or float16, which halve the memory of their activations "
        "and are multiplied faster by accelerators, but round to 2 or 3 digits, so that a round trip is only that "
        "good. "
        "Parameters, maps and log-dets keep their type.",
        choices=COMPUTE_DTYPES,
    ),
]
Backprop = Annotated[
    str,
    Option(
        "What back-propagation stores: standard stores all activations and is the fastest; remat stores each layer's "
        "input and computes layers twice; invertible stores none and rebuilds activations from the output, so that "
        "memory does not grow with depth, but a step takes about twice as long.",
        choices=BACKPROP_MODES,
    ),
]
AnchorEvery = Annotated[
    int,
    Option(
        "With backprop=invertible, store the activations after every so many layers all the same. A smaller number "
        "keeps rounding errors smaller and needs more memory; 0 stores none. It must divide the number of layers.",
        low=0,
    ),
]
Residual = Annotated[
    bool,
    Option(
        "Use residual connections in the autoregressive networks (ResMADE), which are meant for several hidden layers; "
        "all hidden sizes must then be equal."
    ),
]
NumBins = Annotated[
    int,
    Option("Number of bins of each spline. More bins bend it more finely, and cost time in proportion.", low=2),
]
Bound = Annotated[
    float,
    Option(
        "Splines bend the interval [-bound, bound] and leave values outside as they are, so data should be "
        "standardised. A larger bound reaches further and makes the bins wider.",
        low=LEAST_WIDTH,
        high=MOST_WIDTH,
    ),
]

Dequantization = Annotated[
    str,
    Option(
        "Where the noise comes from that makes integers continuous: uniform draws it evenly from each bin; variational "
        "learns, by a small flow that sees the image, which noise makes the bound tightest, and costs time.",
        choices=("uniform", "variational"),
    ),
]
DequantizeSteps = Annotated[
    int,
    Option(
        "With dequantize=variational, number of steps of the flow of the noise, each of two couplings. More steps fit "
        "more, and take time in proportion.",
        low=1,
    ),
]
DequantizeWidth = Annotated[
    int,
    Option(
        "With dequantize=variational, number of hidden channels in the networks of the flow of the noise, which see "
        "images at full size: wide ones are slow.",
        low=1,
    ),
]


def check_vector(where: str, event_shape: Shape, least: int = 1) -> None:
    """Raises `InvalidValueError` unless events are vectors of at least `least` dimensions; couplings need 2."""
    if len(event_shape) != 1:
        fix = "Use glow for images, or rows of pixels, such as mnist_logit."
        raise InvalidValueError(where, "event_shape", "must be (dim,)", event_shape, fix)
    if event_shape[0] < least:
        rule, fix = "must have at least 2 dimensions, to couple one part to the other", "Use maf or nsf_autoregressive."
        raise InvalidValueError(where, "event_shape", rule, event_shape, fix)


def columns(
    where: str, event_shape: Shape, domains: Domains | None, least: int = 1, *, circles: bool = False
) -> Layout:
    """The layout of columns with these domains, checked by `check_vector`; `circles` says if angles may be there."""
    check_vector(where, event_shape)
    found = layout(where, event_shape, domains)
    if found.latent_shape[0] < least <= event_shape[0]:
        rule, got = f"must leave {least} dimensions, to couple one part to the other", f"{found.latent_shape[0]} left"
        raise InvalidValueError(where, "simplex", rule, got, "Use maf or nsf_autoregressive.")
    check_vector(where, found.latent_shape, least)
    if not circles:
        angles.check_no_circles(where, found, "Use nsf_coupling or nsf_autoregressive.")
    return found


def repeated(where: str, step: Bijector, num_layers: int, dim: int, permutation: str, norm: str, backprop: str):
    """`num_layers` times, listed from latent to data: the step, a permutation, a normalisation."""
    if permutation == "reverse" and dim % 2 and isinstance(step, Coupling):
        rule = "must not be 'reverse' for couplings of an odd number of dimensions: the middle one would never change"
        raise InvalidValueError(where, "permutation", rule, f"{dim} dimensions", "Use {permutation=swap}.")
    make_norm = NORMS[norm]
    parts = (step, PERMUTATIONS[permutation](), *(() if make_norm is None else (make_norm(),)))
    return Repeat(Chain(parts), num_layers, backprop)


def dequantizer(
    kind: str, num_bits: int, padding: int, num_steps: int, width: int, compute_dtype: str
) -> ImageDequantize:
    """How integer images become floats: with uniform noise, or with learned noise in the manner of Flow++.

    The learned noise is u = sigmoid(f(e; x)), e ~ N(0, I), with couplings over checkerboards whose networks see the
    image; f starts at the identity.

    Source: Ho et al. 2019, arXiv:1902.00275, section 3.1 and appendix. Differs: affine couplings with Glow's networks.
    """
    if kind == "uniform":
        return UniformDequantize(num_bits, padding)
    halves = (
        Coupling(
            ConvNet(width, norm="bias", compute_dtype=compute_dtype),
            Affine(),
            event_ndims=3,
            mask="checkerboard",
            flip=flip,
        )
        for flip in (False, True)
    )
    scale = Elementwise(Affine(), event_ndims=3)
    noise = Chain((Repeat(Chain(tuple(halves)), num_steps), scale, Sigmoid(event_ndims=3)))
    return VariationalDequantize(num_bits, padding, noise)


def in_turn(
    makes: list[Callable[[], Bijector]], columns: Layout, num_layers: int, permutation: str, norm: str, backprop: str
) -> Bijector:
    """`num_layers` layers in turn, for columns with angles among them; real numbers are mixed, or normalised, alone."""
    mixing = {"linear": InvertibleLinear, "shuffle": RandomPermutation}.get(permutation)
    return angles.in_turn(makes, columns, num_layers, mixing, NORMS[norm], backprop)


def vector_flow(
    bijector: Bijector, base: Base, context_dim: int | None, standardize: bool, columns: Layout | None = None
) -> Flow:
    """A flow of vectors, whose data and contexts are standardised first if asked; `columns` has domains of data."""
    own = Layout(base.event_shape, base.event_shape) if columns is None else columns
    return Flow(
        bijector,
        base,
        own.event_shape,
        own.dequantize,
        own.preprocess(standardize),
        StandardizeContext() if standardize and context_dim is not None else None,
        None if context_dim is None else (context_dim,),
        own.domains,
    )
