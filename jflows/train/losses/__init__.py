"""Losses: one file for each kind, one name here. `LOSSES` has those that are made from options alone."""

from collections.abc import Mapping
from types import MappingProxyType

from jflows.train.losses.base import FunctionLoss, Loss, check_loss
from jflows.train.losses.divergence import Divergence, alpha_divergence, distillation, reverse_kl
from jflows.train.losses.flow_matching import FlowMatching
from jflows.train.losses.likelihood import NegativeLogLikelihood
from jflows.train.losses.mixture import MixtureLoss

LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {loss.name: loss for loss in (NegativeLogLikelihood, FlowMatching, MixtureLoss)}
)

__all__ = [
    "LOSSES",
    "Divergence",
    "FlowMatching",
    "FunctionLoss",
    "Loss",
    "MixtureLoss",
    "NegativeLogLikelihood",
    "alpha_divergence",
    "check_loss",
    "distillation",
    "reverse_kl",
]
