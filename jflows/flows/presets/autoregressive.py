"""Autoregressive flows on vectors: MAF, IAF, the neural spline flow, and MADE, the density without layers.

All but IAF score in one pass and sample at the cost of one to three; IAF has it the other way round.
"""

import functools
from collections.abc import Callable
from typing import Annotated

from jflows.bijectors import (
    Affine,
    Gaussianize,
    Identity,
    InnerMap,
    Inverse,
    MaskedAutoregressive,
    RationalQuadraticSpline,
)
from jflows.distributions import AutoregressiveMixture, Base, StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import circles as angles
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset
from jflows.nn import MADE
from jflows.options import Option
from jflows.typing import Shape

Inner = Annotated[
    str | InnerMap,
    Option(
        "Map of each coordinate, given the coordinates before it: affine, or mixture, which maps a mixture of "
        "logistics to a normal and so allows several modes at a few times the cost. In Python it may be any inner map.",
        choices=("affine", "mixture"),
    ),
]
AutoregressiveBase = Annotated[
    str,
    Option(
        "Density of the latent: normal is N(0, I); made and mixture learn it by one more autoregressive network with "
        "the same hidden sizes, whose conditionals are normals (made) or mixtures of num_components normals (mixture, "
        "as in MAF MoG).",
        choices=("normal", "made", "mixture"),
    ),
]
NumComponents = Annotated[
    int,
    Option(
        "Number of components of each mixture, if inner or base is mixture; otherwise it has no effect. Each component "
        "costs three outputs of the network per dimension.",
        low=1,
    ),
]


@preset
def maf(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 5,
    hidden_sizes: s.HiddenSizes = (256, 256),
    *,
    inner: Inner = "affine",
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    activation: s.Activation = "relu",
    residual: s.Residual = False,
    base: AutoregressiveBase = "normal",
    num_components: NumComponents = 10,
    permutation: s.Permutation = "reverse",
    norm: s.Norm = "none",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """Masked autoregressive flow: one pass to score, an incremental inversion to sample. One layer is MADE.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, sections 3 and 4.1 (MAF MoG). Differs: the affine scale is
    bounded on both sides unless `scale` says otherwise; the paper normalises by "batchnorm".
    """
    columns = s.columns("maf", event_shape, domains)
    network = functools.partial(MADE, hidden_sizes, activation, residual=residual, compute_dtype=compute_dtype)
    layer = MaskedAutoregressive(network(), _inner(inner, scale, max_log_scale, num_components))
    steps = s.repeated("maf", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    below = _base(columns.latent_shape, base, num_components, network)
    return s.vector_flow(steps, below, context_dim, standardize, columns)


@preset
def iaf(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 5,
    hidden_sizes: s.HiddenSizes = (256, 256),
    *,
    inner: Inner = "affine",
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    num_components: NumComponents = 10,
    activation: s.Activation = "relu",
    residual: s.Residual = False,
    permutation: s.Permutation = "reverse",
    norm: Annotated[
        str,
        Option(
            "Normalisation after each layer: none, or actnorm, a scale and shift that are learned. There is no "
            "batchnorm here, as its statistics would have to come from data.",
            choices=("none", "actnorm"),
        ),
    ] = "none",
    context_dim: s.ContextDim = None,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """Inverse autoregressive flow: `maf` with its directions swapped, so one pass to sample. For variational inference.

    Initialise it with `flow.init(key)`, in the direction of sampling. Nothing is standardised, as there are no data.

    Source: Kingma et al. 2016, arXiv:1606.04934, section 3.
    """
    columns = s.columns("iaf", event_shape, domains)
    network = functools.partial(MADE, hidden_sizes, activation, residual=residual, compute_dtype=compute_dtype)
    layer = MaskedAutoregressive(network(), _inner(inner, scale, max_log_scale, num_components))
    steps = s.repeated("iaf", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    return s.vector_flow(Inverse(steps), StandardNormal(columns.latent_shape), context_dim, False, columns)


@preset
def nsf_autoregressive(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 5,
    hidden_sizes: s.HiddenSizes = (256, 256),
    *,
    num_bins: s.NumBins = 8,
    bound: s.Bound = 3.0,
    activation: s.Activation = "relu",
    residual: s.Residual = True,
    base: AutoregressiveBase = "normal",
    num_components: NumComponents = 10,
    permutation: s.Permutation = "linear",
    norm: s.Norm = "none",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """Neural spline flow with autoregressive layers: `maf` with rational-quadratic splines and linear maps.

    Columns on a circle get circular splines and a uniform base; layers then take turns in the order of the columns, and
    `permutation` mixes the other columns only.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 5; Rezende et al. 2020, arXiv:2002.02428 (circles).
    """
    columns = s.columns("nsf_autoregressive", event_shape, domains, circles=True)
    network = functools.partial(MADE, hidden_sizes, activation, residual=residual, compute_dtype=compute_dtype)
    if columns.circles:
        if base != "normal":
            rule, fix = "must be normal where a column is on a circle, whose base is uniform", "Leave it out."
            raise InvalidValueError("nsf_autoregressive", "base", rule, repr(base), fix)
        layers = angles.autoregressive(columns, network, num_bins, bound)
        steps, below = s.in_turn(layers, columns, num_layers, permutation, norm, backprop), angles.base_of(columns)
        return s.vector_flow(steps, below, context_dim, standardize, columns)
    layer = MaskedAutoregressive(network(), RationalQuadraticSpline(num_bins, bound))
    steps = s.repeated("nsf_autoregressive", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    below = _base(columns.latent_shape, base, num_components, network)
    return s.vector_flow(steps, below, context_dim, standardize, columns)


@preset
def made(
    event_shape: s.EventShape,
    num_components: Annotated[
        int,
        Option(
            "Number of normals in each conditional: 1 is MADE, more are MADE MoG, which can have several modes. Each "
            "costs three outputs of the network per dimension.",
            low=1,
        ),
    ] = 10,
    hidden_sizes: s.HiddenSizes = (256, 256),
    *,
    activation: s.Activation = "relu",
    residual: s.Residual = False,
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
) -> Flow:
    """MADE, or MADE MoG with several components: the autoregressive baselines, as flows without layers.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, section 4.1.
    """
    columns = s.columns("made", event_shape, domains)
    network = MADE(hidden_sizes, activation, residual=residual, compute_dtype=compute_dtype)
    base = AutoregressiveMixture(columns.latent_shape, network, num_components)
    return s.vector_flow(Identity(), base, context_dim, standardize, columns)


def _inner(inner: str | InnerMap, scale: str, max_log_scale: float, num_components: int) -> InnerMap:
    """The map of each coordinate, by its name."""
    if inner == "affine":
        return Affine(scale, max_log_scale)
    if inner == "mixture":
        return Gaussianize(num_components, max_log_scale)
    assert isinstance(inner, InnerMap)
    return inner


def _base(event_shape: Shape, name: str, num_components: int, network: Callable[..., MADE]) -> Base:
    """N(0, I), or an autoregressive density of the opposite order."""
    if name == "normal":
        return StandardNormal(event_shape)
    return AutoregressiveMixture(event_shape, network(order="reversed"), num_components if name == "mixture" else 1)
