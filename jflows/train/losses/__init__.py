"""Losses: one file for each kind, and one line here."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType

from jflows.options import REQUIRED, settings_of
from jflows.train.losses.annealed import FlowAnnealedBootstrap as FlowAnnealedBootstrap
from jflows.train.losses.base import FunctionLoss as FunctionLoss
from jflows.train.losses.base import Loss as Loss
from jflows.train.losses.base import NegativeLogLikelihood as NegativeLogLikelihood
from jflows.train.losses.base import check_loss as check_loss
from jflows.train.losses.divergence import Divergence as Divergence
from jflows.train.losses.divergence import alpha_divergence as alpha_divergence
from jflows.train.losses.divergence import distillation as distillation
from jflows.train.losses.divergence import reverse_kl as reverse_kl
from jflows.train.losses.fisher import FisherDivergence as FisherDivergence
from jflows.train.losses.flow_matching import FlowMatching as FlowMatching
from jflows.train.losses.mixture import MixtureLoss as MixtureLoss
from jflows.train.losses.shaped import ShapedLikelihood as ShapedLikelihood

LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {
        value.name: value
        for value in list(globals().values())
        if isinstance(value, type) and issubclass(value, Loss) and not inspect.isabstract(value)
        if all(setting.default is not REQUIRED for setting in settings_of(value))
    }
)
"""The losses that recipes and the command line can make from options, by name."""
