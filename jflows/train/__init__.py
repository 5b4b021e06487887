"""Training: `fit` and its parts. Loading a finished run is `load`."""

from jflows.train.config import TrainConfig
from jflows.train.image_configs import GlowConfig, ImageConfig
from jflows.train.loop import FitResult, fit
from jflows.train.losses import negative_log_likelihood
from jflows.train.mixture import MixtureLoss
from jflows.train.mixture_configs import MixtureConfig
from jflows.train.optim import make_optimizer
from jflows.train.run import Run, load, read_config, read_metrics
from jflows.train.sharding import Runner
from jflows.train.step import TrainState, init_state, make_train_step
from jflows.train.table_configs import (
    MadeConfig,
    MafConfig,
    NiceConfig,
    NsfAutoregressiveConfig,
    NsfCouplingConfig,
    RealNVPConfig,
    TableConfig,
)
from jflows.train.variational import alpha_divergence, distillation, reverse_kl

__all__ = [
    "FitResult",
    "GlowConfig",
    "ImageConfig",
    "MadeConfig",
    "MafConfig",
    "MixtureConfig",
    "MixtureLoss",
    "NiceConfig",
    "NsfAutoregressiveConfig",
    "NsfCouplingConfig",
    "RealNVPConfig",
    "Run",
    "Runner",
    "TableConfig",
    "TrainConfig",
    "TrainState",
    "alpha_divergence",
    "distillation",
    "fit",
    "init_state",
    "load",
    "make_optimizer",
    "make_train_step",
    "negative_log_likelihood",
    "read_config",
    "read_metrics",
    "reverse_kl",
]
