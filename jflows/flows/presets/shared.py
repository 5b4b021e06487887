"""Options that several presets have, each declared once, and how layers of vectors are put together."""

from typing import Annotated

from jflows.bijectors import (
    ActNorm,
    BatchNorm,
    Bijector,
    Chain,
    Coupling,
    InvertibleLinear,
    RandomPermutation,
    Repeat,
    Reverse,
    Standardize,
    SwapHalves,
)
from jflows.bijectors.repeat import BACKPROP_MODES
from jflows.distributions import Base
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.nn import ACTIVATIONS, StandardizeContext
from jflows.ops.affine import SCALE_KINDS
from jflows.options import Option
from jflows.typing import Shape

PERMUTATIONS = {"swap": SwapHalves, "reverse": Reverse, "shuffle": RandomPermutation, "linear": InvertibleLinear}
ACTIVATION_NAMES = tuple(ACTIVATIONS)
NORMS = {"none": None, "actnorm": ActNorm, "batchnorm": BatchNorm}

EventShape = Annotated[
    Shape,
    Option("Shape of one example: (D,) of a vector, (height, width, channels) of an image.", low=1, from_data=True),
]
NumClasses = Annotated[
    int | None,
    Option("Number of classes, for a flow whose context is the class label of each example.", low=2, from_data=True),
]
ContextDim = Annotated[
    int | None,
    Option("Size of the context vector that every layer is conditioned on, or None.", low=1, from_data=True),
]
NumLayers = Annotated[
    int,
    Option("Number of layers. A step takes time in proportion to it; compile time does not grow with it.", low=1),
]
HiddenSizes = Annotated[
    tuple[int, ...],
    Option("Units of each hidden layer of a layer's network; more of them fit more and cost time.", low=1),
]
Activation = Annotated[
    str,
    Option(
        "Activation of the networks. relu is the fastest; tanh, silu and softplus make densities smooth.",
        choices=ACTIVATION_NAMES,
    ),
]
Scale = Annotated[
    str,
    Option(
        "How affine maps bound their scale: tanh on both sides, so that neither direction can blow up; sigmoid from "
        "above, as Glow's published code; exp not at all, as RealNVP's paper.",
        choices=SCALE_KINDS,
    ),
]
MaxLogScale = Annotated[
    float,
    Option(
        "Largest size of the log scale of one map with scale tanh, in nats per element; a smaller bound is more stable "
        "and needs more layers to stretch data as far.",
        above=0,
    ),
]
Permutation = Annotated[
    str,
    Option(
        "How coordinates are mixed between layers: swap exchanges the halves, reverse turns the order round, shuffle "
        "draws an order once, linear learns a full linear map, which fits best and costs one D x D product.",
        choices=tuple(PERMUTATIONS),
    ),
]
Norm = Annotated[
    str,
    Option(
        "Normalisation after each layer: none, actnorm (a scale and shift set from the first batch, then learned) or "
        "batchnorm (batch statistics in training, as MAF's paper; it makes examples of a batch depend on each other).",
        choices=tuple(NORMS),
    ),
]
StandardizeData = Annotated[
    bool,
    Option(
        "Bring columns, and contexts, to mean 0 and deviation 1 first, by the statistics of the training rows. It "
        "counts in the density, which stays that of the data as they came. Turn it off for data that are standardised.",
    ),
]
Backprop = Annotated[
    str,
    Option(
        "What back-propagation stores: standard keeps all activations; remat keeps each layer's input and computes "
        "layers twice; invertible keeps nothing and rebuilds activations from the output, so that memory does not grow "
        "with depth, at about twice the time of a step.",
        choices=BACKPROP_MODES,
    ),
]
AnchorEvery = Annotated[
    int,
    Option(
        "Layers between activations that backprop=invertible stores after all, which bounds its rounding errors; 0 "
        "stores none. It must divide the number of layers.",
        low=0,
    ),
]
Residual = Annotated[
    bool,
    Option("Residual connections in the autoregressive networks (ResMADE); all hidden sizes must then be equal."),
]
NumBins = Annotated[
    int, Option("Bins of each spline; more bins bend it more finely and cost time in proportion.", low=2)
]
Bound = Annotated[
    float,
    Option(
        "Splines act on [-bound, bound] and leave values outside as they are, so data should be standardised.", above=0
    ),
]


def check_vector(where: str, event_shape: Shape, least: int = 1) -> None:
    """Raises `InvalidValueError` unless events are vectors, of at least so many dimensions as couplings need."""
    if len(event_shape) != 1:
        fix = "Flatten the data, or use glow for images."
        raise InvalidValueError(where, "event_shape", "must be (dim,)", event_shape, fix)
    if event_shape[0] < least:
        rule, fix = "must have at least 2 dimensions, to couple one part to the other", "Use maf or nsf_autoregressive."
        raise InvalidValueError(where, "event_shape", rule, event_shape, fix)


def repeated(where: str, step: Bijector, num_layers: int, dim: int, permutation: str, norm: str, backprop: str):
    """`num_layers` times, listed from latent to data: the step, a permutation, a normalisation."""
    if permutation == "reverse" and dim % 2 and isinstance(step, Coupling):
        rule = "must not be 'reverse' for couplings of an odd number of dimensions: the middle one would never change"
        raise InvalidValueError(where, "permutation", rule, f"{dim} dimensions", "Use {permutation=swap}.")
    make_norm = NORMS[norm]
    parts = (step, PERMUTATIONS[permutation](), *(() if make_norm is None else (make_norm(),)))
    return Repeat(Chain(parts), num_layers, backprop)


def vector_flow(bijector: Bijector, base: Base, context_dim: int | None, standardize: bool) -> Flow:
    """A flow of vectors, whose data and contexts are standardised first if asked."""
    return Flow(
        bijector,
        base,
        base.event_shape,
        preprocess=Standardize() if standardize else None,
        embed=StandardizeContext() if standardize and context_dim is not None else None,
        context_shape=None if context_dim is None else (context_dim,),
    )
