"""Training: `fit` and its parts. Loading a finished run is `load`."""

from jflows.train.config import GlowConfig, TrainConfig
from jflows.train.loop import FitResult, fit
from jflows.train.losses import negative_log_likelihood
from jflows.train.mixture import MixtureLoss
from jflows.train.optim import make_optimizer
from jflows.train.run import Run, load, read_config, read_metrics
from jflows.train.sharding import Runner
from jflows.train.step import TrainState, init_state, make_train_step

__all__ = [
    "FitResult",
    "GlowConfig",
    "MixtureLoss",
    "Run",
    "Runner",
    "TrainConfig",
    "TrainState",
    "fit",
    "init_state",
    "load",
    "make_optimizer",
    "make_train_step",
    "negative_log_likelihood",
    "read_config",
    "read_metrics",
]
