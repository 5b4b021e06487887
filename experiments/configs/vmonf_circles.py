"""Mixture of two flows on two circles, told apart by 16 labels a class."""

import dataclasses

from jflows.train import MixtureConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VmonfCircles(MixtureConfig):
    """300 steps on the 32 labelled points alone (each about 480 times), then labelled and unlabelled steps in turn.

    Expected: accuracy at least 0.95; `--labels-per-class 0 --labelled-share 0 --pretrain-steps 0 --interleave-every 0`
    trains without labels, and cuts both circles in halves.
    """

    data: str = "circles"
    num_train: int = 1024
    num_components: int = 2
    num_layers: int = 8
    hidden_sizes: tuple[int, ...] = (32,)
    encoder_sizes: tuple[int, ...] = (64, 64)
    labels_per_class: int = 16
    labelled_share: float = 0.2
    pretrain_steps: int = 300
    interleave_every: int = 4
    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_steps: int = 0
    ema_decay: float = 0.99
    init_batch: int = 1024
    log_every: int = 100
