"""Training: `fit` and its parts. To go from data to a report in one call, use `jflows.run`."""

from jflows.train.config import TrainConfig
from jflows.train.ensemble import fit_ensemble
from jflows.train.loop import FitResult, fit
from jflows.train.losses import (
    LOSSES,
    Divergence,
    FisherDivergence,
    FlowAnnealedBootstrap,
    FlowMatching,
    FunctionLoss,
    Loss,
    MixtureLoss,
    NegativeLogLikelihood,
    alpha_divergence,
    distillation,
    reverse_kl,
)
from jflows.train.monitor import InMemory, Recorder
from jflows.train.optim import make_optimizer
from jflows.train.plan import StepPlan, plan_step
from jflows.train.sharding import Runner
from jflows.train.step import TrainState, init_state, make_train_step

__all__ = [
    "LOSSES",
    "Divergence",
    "FisherDivergence",
    "FitResult",
    "FlowAnnealedBootstrap",
    "FlowMatching",
    "FunctionLoss",
    "InMemory",
    "Loss",
    "MixtureLoss",
    "NegativeLogLikelihood",
    "Recorder",
    "Runner",
    "StepPlan",
    "TrainConfig",
    "TrainState",
    "alpha_divergence",
    "distillation",
    "fit",
    "fit_ensemble",
    "init_state",
    "make_optimizer",
    "make_train_step",
    "plan_step",
    "reverse_kl",
]
