"""The settings of a training run: one frozen dataclass, from which a config in `experiments/configs` derives."""

import dataclasses
import math
from typing import Any

from jflows.errors import InvalidValueError, check_choice, check_positive
from jflows.flows import Flow, glow
from jflows.train.optim import OPTIMIZERS, SCHEDULES
from jflows.train.sharding import PARALLEL_MODES
from jflows.typing import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; a subclass adds what to train, by fields of the flow and `build`.

    Every field is an override of `jflows train`. Steps are optimizer steps; intervals count steps.
    """

    data: str = "mnist"
    """Name of a data set, or path of a folder of images or an .npz file."""
    num_bits: int = 8
    """Bits kept of every pixel."""
    num_validation: int = 0
    """Training rows held out for validation, which then selects the best checkpoint."""
    mirror: bool = False
    """Flip images left to right with probability 1/2."""
    image_size: int = 0
    """For folders: centre-crop and resize to this side; 0 keeps the images as they are."""

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
    """constant or cosine (down to 0 at the last step)."""
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
        check_choice(where, "parallel", self.parallel, PARALLEL_MODES)
        check_choice(where, "optimizer", self.optimizer, OPTIMIZERS)
        check_choice(where, "schedule", self.schedule, SCHEDULES)
        positive = "steps batch_size accumulate learning_rate init_batch steps_per_call log_every checkpoint_every"
        for name in (*positive.split(), "eval_batch_size", "max_skipped", "max_reconstruction_error"):
            check_positive(where, name, getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "clip_norm", "eval_every", "num_validation", "image_size", "seed"):
            if getattr(self, name) < 0:
                raise InvalidValueError(where, name, "must be at least 0", repr(getattr(self, name)))
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

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """The flow for data of this shape; written by the subclass."""
        raise InvalidValueError(type(self).__name__, "build", "must be written by the config class", None)

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowConfig(TrainConfig):
    """A Glow on images, with the arguments of `jflows.glow`."""

    num_levels: int = 3
    """Number of squeezes."""
    num_steps: tuple[int, ...] = (8,)
    """Steps per level: one number for all levels, or one per level."""
    width: int = 64
    """Hidden channels of the conditioners."""
    coupling: str = "affine"
    """affine or additive."""
    scale: str = "tanh"
    """Scale of affine couplings: tanh (bounded on both sides), sigmoid (published code) or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale."""
    permutation: str = "conv1x1"
    """conv1x1, reverse or shuffle."""
    norm: str = "actnorm"
    """Of the conditioners: actnorm or bias."""
    preprocess: str = "centred"
    """centred or logit."""
    alpha: float = 0.05
    """Of logit."""
    padding: int = 0
    """Zero pixels added on each side; bits/dim still count the data's own pixels."""
    class_conditional: bool = False
    """Condition on the class label."""
    base: str = "normal"
    """normal or diagonal (learned)."""
    backprop: str = "standard"
    """standard, remat or invertible."""
    anchor_every: int = 0
    """Steps between stored activations with backprop=invertible."""

    @property
    def wants_labels(self) -> bool:
        """As `class_conditional`."""
        return self.class_conditional

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.glow` with these settings."""
        if self.class_conditional and num_classes is None:
            rule, fix = "needs data with labels", "Set class_conditional=False."
            raise InvalidValueError(type(self).__name__, "class_conditional", rule, "data without labels", fix)
        return glow(
            event_shape,
            num_levels=self.num_levels,
            num_steps=self.num_steps[0] if len(self.num_steps) == 1 else self.num_steps,
            width=self.width,
            coupling=self.coupling,
            scale=self.scale,
            max_log_scale=self.max_log_scale,
            permutation=self.permutation,
            norm=self.norm,
            num_bits=self.num_bits,
            preprocess=self.preprocess,
            alpha=self.alpha,
            padding=self.padding,
            num_classes=num_classes if self.class_conditional else None,
            base=self.base,
            backprop=self.backprop,
            anchor_every=self.anchor_every,
        )
