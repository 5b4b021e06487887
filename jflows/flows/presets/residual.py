"""Residual flows on vectors: i-ResNets, whose layers add a contraction, with the exact or an unbiased log-det."""

from typing import Annotated

from jflows.bijectors import Chain, Repeat, Residual
from jflows.bijectors.residual import ESTIMATORS
from jflows.distributions import StandardNormal
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset
from jflows.nn import LIPSCHITZ_ACTIVATIONS, LipschitzMLP
from jflows.options import Option

Coefficient = Annotated[
    float,
    Option(
        "Bound of the Lipschitz constant of each layer's network. Near 1 a layer bends data further, but sampling "
        "takes more iterations and an estimated log-det needs more terms.",
        above=0,
        below=1,
    ),
]
Activation = Annotated[
    str,
    Option(
        "Activation function of the networks, with slopes of 1 at most. lipswish, elu, softplus and tanh are "
        "smooth; the others let the log-det learn little, as their slopes are steps.",
        choices=LIPSCHITZ_ACTIVATIONS,
    ),
]
Estimator = Annotated[
    str,
    Option(
        "How the log-det is found: exact, at D^3 operations a row, for small D; roulette, by an unbiased estimate "
        "that is noisy and costs a few passes; truncated, by num_terms terms of the series, which is biased. "
        "With an estimate, scores have noise, and the seed is part of them.",
        choices=ESTIMATORS,
    ),
]
NumTerms = Annotated[
    int,
    Option(
        "Number of terms of the log-det's series that an estimate always takes, each a pass of the network. More "
        "of them lower the variance of roulette and the bias of truncated; exact ignores it.",
        low=1,
    ),
]
StopProbability = Annotated[
    float,
    Option(
        "Probability with which roulette ends after each further term. A larger one is faster and noisier; the "
        "variance is finite where coefficient^2 < 1 - stop_probability. The other estimators ignore it.",
        above=0,
        below=1,
    ),
]
Backprop = Annotated[
    str,
    Option(
        "What back-propagation stores: standard stores all activations and is the fastest where they fit the "
        "cache; remat stores each layer's input and computes layers twice, in several times less memory. There is no "
        "invertible here, as inverses are iterated.",
        choices=("standard", "remat"),
    ),
]


@preset
def residual(
    event_shape: s.EventShape,
    num_layers: s.NumLayers = 10,
    hidden_sizes: s.HiddenSizes = (64, 64),
    *,
    coefficient: Coefficient = 0.97,
    activation: Activation = "lipswish",
    estimator: Estimator = "exact",
    num_terms: NumTerms = 4,
    stop_probability: StopProbability = 0.05,
    norm: s.Norm = "actnorm",
    context_dim: s.ContextDim = None,
    standardize: s.StandardizeData = True,
    domains: s.ColumnDomains = None,
    backprop: Backprop = "standard",
) -> Flow:
    """Residual flow (i-ResNet): layers z = x + g(x) with Lip(g) < 1. Scores cost a pass; samples solve fixed points.

    Source: Behrmann et al. 2019, arXiv:1811.00995, sections 2 and 3 (the toys have 100 layers there); Chen et al. 2019,
    arXiv:1906.02735, for roulette and lipswish. Differs: norms of weights are exact, not by power iteration.
    """
    columns = s.columns("residual", event_shape, domains)
    network, make_norm = LipschitzMLP(hidden_sizes, coefficient, activation), s.NORMS[norm]
    layer = Residual(network, estimator, num_terms, stop_probability)
    steps = Repeat(Chain((layer, *(() if make_norm is None else (make_norm(),)))), num_layers, backprop)
    return s.vector_flow(steps, StandardNormal(columns.latent_shape), context_dim, standardize, columns)
