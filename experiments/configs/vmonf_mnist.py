"""Mixture of five MAFs on MNIST digits 0 to 4, in logit space."""

import dataclasses

from jflows.train import MixtureConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VmonfMnist(MixtureConfig):
    """Sizes of Pires and Figueiredo 2020, arXiv:2009.00585: MAFs of five layers of 200, encoder of 512.

    Expected: accuracy 0.73 (ones and threes share a component, one is unused); 0.96 with 100 labels a class
    (`--labels-per-class 100 --labelled-share 0.3 --supervised 100 --temperature 100 --temperature-decay 200`, and
    `--start same`).
    """

    data: str = "mnist_logit"
    classes: tuple[int, ...] = (0, 1, 2, 3, 4)
    component: str = "maf"
    num_layers: int = 5
    hidden_sizes: tuple[int, ...] = (200,)
    encoder_sizes: tuple[int, ...] = (512,)
    permutation: str = "reverse"
    start: str = "kmeans"
    steps: int = 1200
    batch_size: int = 100
    optimizer: str = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    schedule: str = "constant"
    warmup_steps: int = 0
    init_batch: int = 2000
    steps_per_call: int = 10
    log_every: int = 50
    checkpoint_every: int = 300
    eval_batch_size: int = 500
