"""Mixture of five flows on pinwheel: a cluster for each wing, without labels."""

import dataclasses

from jflows.train import MixtureConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VmonfPinwheel(MixtureConfig):
    """Sizes and schedule of Pires and Figueiredo 2020, arXiv:2009.00585: 5 x 512 points, 400 epochs.

    Expected: accuracy at least 0.95 of the restart with the highest ELBO, `python experiments/clusters.py
    vmonf_pinwheel`.
    """

    data: str = "pinwheel"
    num_train: int = 2560
    num_layers: int = 8
    hidden_sizes: tuple[int, ...] = (8,)
    encoder_sizes: tuple[int, ...] = (3,)
    activation: str = "tanh"
    steps: int = 2000
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0
    ema_decay: float = 0.99
    init_batch: int = 2560
    log_every: int = 100
