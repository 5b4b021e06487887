"""Mixtures of flows as presets: VMoNF has a flow for each component, FlowGMM a normal for each in one latent space."""

from collections.abc import Callable
from typing import Annotated

from jflows.flows.flow import Flow
from jflows.flows.mixture import STARTS, MixtureOfFlows
from jflows.flows.mixture_of import mixture_of_flows, with_mixture_base
from jflows.flows.mixture_parts import WEIGHTS
from jflows.flows.presets import shared as s
from jflows.flows.presets.coupling import realnvp
from jflows.flows.presets.preset import preset
from jflows.nn import MLP
from jflows.options import Option

NumComponents = Annotated[
    int,
    Option("Number of components, all of one architecture. A step takes time in proportion to it.", low=2),
]
Component = Annotated[
    Callable[..., Flow],
    Option(
        "Preset of flows of vectors that each component is made by; its options are those of that preset. In Python, "
        "functools.partial(jflows.maf, num_layers=3) sets some of them."
    ),
]
Weights = Annotated[
    str | tuple[float, ...],
    Option(
        "Weights of the components: uniform, learned (from a uniform start), or, in Python, numbers that sum to 1.",
        choices=WEIGHTS,
    ),
]


@preset
def vmonf(
    event_shape: s.EventShape,
    num_components: NumComponents = 5,
    component: Component = realnvp,
    *,
    encoder_sizes: Annotated[
        tuple[int, ...],
        Option("Units of each hidden layer of the encoder q(k | x), which tells components apart.", low=1),
    ] = (32, 32),
    activation: Annotated[str, Option("Activation of the encoder.", choices=s.ACTIVATION_NAMES)] = "relu",
    weights: Weights = "uniform",
    start: Annotated[
        str,
        Option(
            "Rows that initialise a component: same takes all rows for each; kmeans takes those of one cluster each, "
            "which spares most restarts where clusters are apart.",
            choices=STARTS,
        ),
    ] = "same",
) -> MixtureOfFlows:
    """Variational mixture of normalizing flows: K flows, and an encoder that tells them apart; trained by the ELBO.

    Source: Pires and Figueiredo 2020, arXiv:2009.00585.
    """
    s.check_vector("vmonf", event_shape)
    encoder = MLP(encoder_sizes, activation)
    return mixture_of_flows(component(event_shape), encoder, num_components, weights=weights, start=start)


@preset
def flow_gmm(
    event_shape: s.EventShape,
    num_components: NumComponents = 5,
    component: Component = realnvp,
    *,
    spread: Annotated[
        float, Option("Deviation of the components' means at the start, in units of the latent.", above=0)
    ] = 1.0,
    weights: Weights = "uniform",
) -> MixtureOfFlows:
    """FlowGMM: one flow whose latent is a mixture of normals, one for each class; the class follows by Bayes' rule.

    Source: Izmailov et al. 2020, arXiv:1912.13025, section 3. Differs: deviations and means are learned.
    """
    s.check_vector("flow_gmm", event_shape)
    return with_mixture_base(component(event_shape), num_components, spread=spread, weights=weights)
