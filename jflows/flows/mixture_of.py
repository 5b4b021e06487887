"""Mixtures made of existing flows: `mixture_of_flows`, and `with_mixture_base` for one flow whose latent has classes.

Read next: `jflows/flows/presets/mixtures.py`, which makes mixtures from options.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from jflows.bijectors import Identity
from jflows.distributions import DiagonalNormal
from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows.flow import Flow
from jflows.flows.mixture import MixtureOfFlows
from jflows.options import AtLeastTwo, Positive, checked


@checked
def mixture_of_flows(
    components: Flow | Sequence[Flow],
    encoder: nn.Module | None,
    num_components: AtLeastTwo | None = None,
    *,
    weights: str | Sequence[float] = "uniform",
    trunk: Flow | None = None,
    start: str = "same",
) -> MixtureOfFlows:
    """A `MixtureOfFlows` of K copies of one flow, or of K flows.

    Args:
      components: one flow, of which K copies are made, or K flows; K equal flows run as copies of one.
      encoder: q(k | x), such as `jflows.nn.MLP((64,))`; None for the exact posterior.
      num_components: K; only needed with one flow.
      weights: "uniform", "learned" (starting uniform), or K positive numbers that sum to one.
      trunk: a flow between the data and all components, see `MixtureOfFlows`; None for none.
      start: which rows initialise a component: "same" takes all, "kmeans" those of one cluster for each.
    Raises:
      InvalidValueError, InvalidTypeError: see `MixtureOfFlows`.
    Example:
      >>> import jax, jflows
      >>> mixture = jflows.mixture_of_flows(jflows.realnvp((2,), 2, (8,)), jflows.nn.MLP((8,)), 3)
      >>> x = jax.random.normal(jax.random.key(0), (64, 2))
      >>> variables = mixture.init(jax.random.key(1), x)
      >>> jax.jit(mixture.predict)(variables, x).shape
      (64,)
      >>> mixture.sample_by_component(variables, jax.random.key(2), (4,)).shape
      (3, 4, 2)
    """
    if not isinstance(components, Flow | list | tuple):
        rule = "must be a Flow, or a list or tuple of them"
        raise InvalidTypeError("mixture_of_flows", "components", rule, kind_of(components))
    if encoder is not None and not isinstance(encoder, nn.Module):
        rule, fix = "must be a network such as jflows.nn.MLP(), or None", "Pass the number of components after it."
        raise InvalidTypeError("MixtureOfFlows", "encoder", rule, kind_of(encoder), fix)
    flows = (components,) if isinstance(components, Flow) else tuple(components)
    if not flows:
        raise InvalidValueError("mixture_of_flows", "components", "must hold at least one flow", "none")
    if num_components is None:
        num_components = len(flows)
    elif len(flows) not in (1, num_components):
        rule = f"must be the number of flows, {len(flows)}"
        raise InvalidValueError("mixture_of_flows", "num_components", rule, repr(num_components), "Leave it out.")
    flows = flows[:1] if all(flow == flows[0] for flow in flows) else flows
    own: Any = tuple(np.asarray(weights).tolist()) if isinstance(weights, list | tuple | np.ndarray) else weights
    return MixtureOfFlows(flows, num_components, encoder, own, trunk, start)


@checked
def with_mixture_base(
    flow: Flow,
    num_components: AtLeastTwo,
    *,
    spread: Positive = 1.0,
    weights: str | Sequence[float] = "uniform",
) -> MixtureOfFlows:
    """One flow whose base is replaced by a mixture of normals, one for each class; the class follows by Bayes' rule.

    The result is a `MixtureOfFlows` whose trunk is the flow and whose components are normals, without an encoder, so
    that responsibilities are exact. To use few labels, train it by `jflows.train.MixtureLoss` on partly labelled data.

    Source: Izmailov et al. 2020, arXiv:1912.13025, section 3. Differs: deviations and means are learned.

    Args:
      flow: the flow whose base is replaced; a flow with a context cannot learn from labels.
      num_components: number of classes, K >= 2.
      spread: deviation of N(0, spread^2 I), from which the means are drawn.
      weights: "uniform", "learned" (starting uniform), or K positive numbers that sum to one.
    """
    if not isinstance(flow, Flow):
        raise InvalidTypeError("with_mixture_base", "flow", "must be a Flow", kind_of(flow))
    shape = flow.latent_shape
    normal = Flow(Identity(event_ndims=len(shape)), DiagonalNormal(shape, spread), shape)
    return mixture_of_flows(normal, None, num_components, weights=weights, trunk=flow)
