"""Flows of couplings on vectors: NICE, RealNVP and the neural spline flow. Scores and samples cost one pass each."""

import functools
from typing import Annotated

from jflows.bijectors import Affine, Chain, Coupling, DiagonalLinear, RationalQuadraticSpline, Shift
from jflows.distributions import StandardLogistic, StandardNormal
from jflows.flows.flow import Flow
from jflows.flows.presets import circles as angles
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset
from jflows.nn import MLP
from jflows.options import Option

NICE_BASES = {"logistic": StandardLogistic, "normal": StandardNormal}
NiceBase = Annotated[
    str,
    Option(
        "Density of the latent: logistic, which has heavier tails and is the paper's choice, or normal.",
        choices=tuple(NICE_BASES),
    ),
]


@preset
def nice(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 4,
    hidden_sizes: s.HiddenSizes = (1000,) * 5,
    *,
    activation: s.Activation = "relu",
    base: NiceBase = "logistic",
    permutation: s.Permutation = "swap",
    norm: s.Norm = "none",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """NICE: additive couplings, then one learned scale per dimension; the base is logistic.

    Source: Dinh et al. 2014, arXiv:1410.8516, sections 3.2, 3.3 and 5.1. Differs: halves by `permutation` instead of
    odd and even dimensions; zero-initialised conditioners.
    """
    columns = s.columns("nice", event_shape, domains, least=2)
    layer = Coupling(MLP(hidden_sizes, activation, compute_dtype=compute_dtype), Shift())
    steps = s.repeated("nice", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    whole, below = Chain((DiagonalLinear(), steps)), NICE_BASES[base](columns.latent_shape)
    return s.vector_flow(whole, below, context_dim, standardize, columns)


@preset
def realnvp(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 8,
    hidden_sizes: s.HiddenSizes = (128, 128),
    *,
    activation: s.Activation = "relu",
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    permutation: s.Permutation = "swap",
    norm: s.Norm = "none",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """RealNVP on vectors: affine couplings.

    Source: Dinh et al. 2017, arXiv:1605.08803, sections 3.2 and 3.7. Differs: the scale is bounded on both sides unless
    `scale="exp"`; the paper normalises by "batchnorm".
    """
    columns = s.columns("realnvp", event_shape, domains, least=2)
    network = MLP(hidden_sizes, activation, compute_dtype=compute_dtype)
    layer = Coupling(network, Affine(scale, max_log_scale))
    steps = s.repeated("realnvp", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    return s.vector_flow(steps, StandardNormal(columns.latent_shape), context_dim, standardize, columns)


@preset
def nsf_coupling(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 5,
    hidden_sizes: s.HiddenSizes = (128, 128),
    *,
    num_bins: s.NumBins = 8,
    bound: s.Bound = 3.0,
    activation: s.Activation = "relu",
    permutation: s.Permutation = "linear",
    norm: s.Norm = "none",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
) -> Flow:
    """Neural spline flow with couplings: rational-quadratic splines and learned linear maps between them.

    Columns on a circle get circular splines and a uniform base; layers then take turns in which columns they change,
    and `permutation` mixes the other columns only.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 5; Rezende et al. 2020, arXiv:2002.02428 (circles). Differs:
    MLP conditioners.
    """
    columns = s.columns("nsf_coupling", event_shape, domains, least=2, circles=True)
    network = functools.partial(MLP, hidden_sizes, activation, compute_dtype=compute_dtype)
    if columns.circles:
        layers = angles.couplings(columns, network, num_bins, bound)
        steps = s.in_turn(layers, columns, num_layers, permutation, norm, backprop)
    else:
        layer = Coupling(network(), RationalQuadraticSpline(num_bins, bound))
        steps = s.repeated("nsf_coupling", layer, num_layers, columns.latent_shape[0], permutation, norm, backprop)
    return s.vector_flow(steps, angles.base_of(columns), context_dim, standardize, columns)
