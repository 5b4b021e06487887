"""Mixtures as presets: VMoNF has a flow for each component, FlowGMM one flow with a normal for each in its latent."""

import functools
from collections.abc import Callable
from typing import Annotated

from jflows.data.domains import Domains
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.mixture import MixtureOfFlows
from jflows.flows.mixture_of import mixture_of_flows, with_mixture_base
from jflows.flows.mixture_parts import WEIGHTS
from jflows.flows.mixture_structure import STARTS
from jflows.flows.presets import circles as angles
from jflows.flows.presets import shared as s
from jflows.flows.presets.coupling import realnvp
from jflows.flows.presets.preset import preset
from jflows.nn import MLP, ConvClassifier
from jflows.options import Option, settings_of
from jflows.typing import Shape

IMAGE_AXES = 3

Weights = Annotated[
    str | tuple[float, ...],
    Option(
        "Weights of the components: uniform, which keeps them equal; learned, from a uniform start, which suits "
        "clusters of different sizes; or, in Python, numbers that sum to 1.",
        choices=WEIGHTS,
    ),
]


@preset
def vmonf(
    event_shape: s.EventShape,
    num_components: Annotated[
        int,
        Option(
            "Number of components. More of them can tell more clusters apart; a training step takes time in "
            "proportion.",
            low=2,
        ),
    ] = 5,
    component: Annotated[
        Callable[..., Flow],
        Option(
            "Preset of flows that makes each component: one of vectors, such as realnvp, for rows of a table; one of "
            "images, such as glow, for images. Its options are written component.num_layers; in Python, "
            "functools.partial(jflows.maf, num_layers=3) sets some of them."
        ),
    ] = realnvp,
    *,
    encoder_sizes: Annotated[
        tuple[int, ...],
        Option(
            "Units of each hidden layer of the encoder, the network that estimates which component a row comes from. A "
            "larger encoder can follow more complicated borders between clusters. For images they are the channels of "
            "3x3 convolutions, after each of which height and width are halved.",
            low=1,
            fewest=1,
        ),
    ] = (32, 32),
    activation: Annotated[
        str,
        Option(
            "Activation function of the encoder. tanh, silu and softplus make its borders between components smooth.",
            choices=s.ACTIVATION_NAMES,
        ),
    ] = "relu",
    weights: Weights = "uniform",
    start: Annotated[
        str,
        Option(
            "Which rows initialise a component: same takes all rows for every component; kmeans takes the rows of one "
            "cluster for each, which makes most restarts unnecessary where clusters are well separated.",
            choices=STARTS,
        ),
    ] = "same",
    domains: s.ColumnDomains = None,
) -> MixtureOfFlows:
    """Variational mixture of normalizing flows: K flows, and an encoder that tells them apart; trained by the ELBO.

    Source: Pires and Figueiredo 2020, arXiv:2009.00585.
    """
    made = _part("vmonf", "component", component, event_shape, domains)
    network = ConvClassifier if len(event_shape) == IMAGE_AXES else MLP
    encoder = network(encoder_sizes, activation)
    return mixture_of_flows(made, encoder, num_components, weights=weights, start=start)


@preset
def flow_gmm(
    event_shape: s.EventShape,
    num_components: Annotated[
        int,
        Option(
            "Number of components. More of them can tell more clusters apart; as all share one flow, a training step "
            "hardly takes longer.",
            low=2,
        ),
    ] = 5,
    flow: Annotated[
        Callable[..., Flow],
        Option(
            "Preset of flows that makes the one flow of all components: one of vectors, such as realnvp, for rows of a "
            "table, or one of images, such as glow, for images. Its options are written flow.num_layers; in Python, "
            "functools.partial(jflows.maf, num_layers=3) sets some of them."
        ),
    ] = realnvp,
    *,
    spread: Annotated[
        float,
        Option(
            "Standard deviation with which the components' means are drawn at the start, in units of the latent. A "
            "larger one sets the classes further apart.",
            above=0,
        ),
    ] = 1.0,
    weights: Weights = "uniform",
    domains: s.ColumnDomains = None,
) -> MixtureOfFlows:
    """FlowGMM: one flow, with one normal per class in its latent; the class of an event follows by Bayes' rule.

    Source: Izmailov et al. 2020, arXiv:1912.13025, section 3. Differs: deviations and means are learned.
    """
    made = _part("flow_gmm", "flow", flow, event_shape, domains)
    return with_mixture_base(made, num_components, spread=spread, weights=weights)


def _part(where: str, option: str, make: Callable[..., Flow], event_shape: Shape, domains: Domains | None) -> Flow:
    """The flow that a preset makes of events of this shape, whose columns have these domains.

    Raises:
      InvalidValueError: if the preset makes flows of vectors and events are images, or the other way round; or if a
        column is an angle, which neither an encoder nor a normal knows.
    """
    is_image = len(event_shape) == IMAGE_AXES
    if not is_image or domains:
        columns = s.columns(where, event_shape, domains, circles=True)
        angles.check_no_circles(where, columns, "Use nsf_autoregressive alone.")
    try:
        return make(event_shape, domains=domains) if domains else make(event_shape)
    except InvalidValueError as error:
        if error.settings != ("event_shape",) or (not is_image and not _takes_images(make)):
            raise
        kind, fix = ("images", f"Set {{{option}=glow}}.") if is_image else ("vectors", f"Set {{{option}=realnvp}}.")
        rule = f"must be a preset of flows of {kind}, for events of shape {event_shape}"
        raise InvalidValueError(where, option, rule, error.where, fix) from error


def _takes_images(make: Callable[..., Flow]) -> bool:
    """Whether a preset, which may be inside partials, declares that events are images."""
    while isinstance(make, functools.partial):
        make = make.func
    axes = {setting.name: setting.option.axes for setting in settings_of(make)}
    return axes.get("event_shape") == IMAGE_AXES
