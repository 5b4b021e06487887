"""The settings of a training run: one frozen dataclass, from which all others derive.

Read next: `image_configs.py` and `table_configs.py`, from which those in `experiments/configs` derive.
"""

import dataclasses
import math
import typing
from typing import Any

from jflows.data import Data
from jflows.errors import InvalidTypeError, InvalidValueError, check_choice, check_positive
from jflows.flows import Density
from jflows.train.losses import negative_log_likelihood
from jflows.train.optim import OPTIMIZERS, SCHEDULES
from jflows.train.sharding import PARALLEL_MODES
from jflows.train.step import Loss
from jflows.typing import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; a subclass adds what to train, by fields of the flow and `build`.

    Every field is an override of `jflows train`. Steps are optimizer steps; intervals count steps.
    """

    data: str = ""
    """Name of a data set, or path."""
    num_validation: int = 0
    """Training rows held out for validation, which then selects the weights; 0 where the data have such rows."""

    steps: int = 1000
    """Optimizer steps in all."""
    batch_size: int = 64
    """Examples per step, over all devices."""
    accumulate: int = 1
    """Parts into which a batch is cut to save memory."""
    optimizer: str = "adam"
    """adam, or adamw (decay on weights only)."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    warmup_steps: int = 100
    """Linear warm-up from 0; at most the whole run."""
    schedule: str = "cosine"
    """constant, cosine (down to 0 at the last step) or plateau (lowered when the training loss no longer falls)."""
    plateau_factor: float = 0.5
    """By which plateau lowers the rate."""
    plateau_window: int = 500
    """Steps over which plateau averages the loss."""
    plateau_patience: int = 5
    """Windows without a lower loss that make a plateau."""
    weight_decay: float = 0.0
    """Of adamw."""
    clip_norm: float = 0.0
    """Largest global norm of the gradient of the loss in nats per event; 0 for none."""
    b2: float = 0.999
    """Decay of Adam's second moment."""
    ema_decay: float = 0.999
    """Of the averaged parameters, which evaluation and sampling use."""

    seed: int = 0
    """Of parameters, order of the data and noise."""
    init_batch: int = 512
    """Examples that the data-dependent initialisation sees."""
    parallel: str = "jit"
    """none, jit, pmap or shard_map."""
    steps_per_call: int = 50
    """Most steps per dispatch; the largest divisor of all intervals up to this is used."""
    log_every: int = 50
    """Interval of metrics."""
    eval_every: int = 0
    """Interval of validation; 0 for only at the end."""
    patience: int = 0
    """Validations without a better score that end the run; 0 for none."""
    checkpoint_every: int = 500
    """Interval of checkpoints; the last step always gets one."""
    eval_batch_size: int = 250
    """Examples per evaluation call."""
    max_skipped: int = 20
    """Non-finite steps in a row that end the run."""
    max_reconstruction_error: float = 1.0
    """Largest |decode(encode(x)) - x| in units of x that a run with backprop="invertible" may reach."""

    def __post_init__(self):
        where = type(self).__name__
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if hint in (int, float, str, bool) and type(value) not in ((int, float) if hint is float else (hint,)):
                raise InvalidTypeError(where, name, f"must be of type {hint.__name__}", repr(value))
        check_choice(where, "parallel", self.parallel, PARALLEL_MODES)
        check_choice(where, "optimizer", self.optimizer, OPTIMIZERS)
        check_choice(where, "schedule", self.schedule, SCHEDULES)
        positive = "steps batch_size accumulate learning_rate init_batch steps_per_call log_every checkpoint_every"
        positive += " plateau_window plateau_patience"
        for name in (*positive.split(), "eval_batch_size", "max_skipped", "max_reconstruction_error"):
            check_positive(where, name, getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "clip_norm", "eval_every", "num_validation", "seed", "patience"):
            if getattr(self, name) < 0:
                raise InvalidValueError(where, name, "must be at least 0", repr(getattr(self, name)))
        if not 0 < self.plateau_factor < 1:
            raise InvalidValueError(where, "plateau_factor", "must lie in (0, 1)", repr(self.plateau_factor))
        if self.patience and not self.eval_every:
            rule = f"must be positive with patience={self.patience}, which counts validations"
            raise InvalidValueError(where, "eval_every", rule, 0, "Set eval_every, such as 1000.")
        if self.batch_size % self.accumulate:
            rule = f"must divide batch_size={self.batch_size}"
            raise InvalidValueError(where, "accumulate", rule, repr(self.accumulate))

    @property
    def chunk(self) -> int:
        """Steps per dispatch: divides every interval, so that one compiled program serves the whole run."""
        common = math.gcd(self.steps, self.log_every, self.checkpoint_every, self.eval_every)
        return max(d for d in range(1, min(common, self.steps_per_call) + 1) if common % d == 0)

    @property
    def wants_labels(self) -> bool:
        """Whether class labels are handed to the flow as its context."""
        return False

    @property
    def loss(self) -> Loss:
        """What a step minimises."""
        return negative_log_likelihood

    def for_training(self, data: Data) -> Data:
        """The training rows as the loss sees them: what is held back, such as labels, is taken out here."""
        return data

    def build(self, event_shape: Shape, num_classes: int | None) -> Density:
        """The flow for data of this shape; written by a subclass."""
        raise InvalidValueError(type(self).__name__, "build", "must be written by the config class", None)

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dataclasses.asdict(self)
