"""`TrainConfig`: the settings of training, each declared once with its type, its range and what it costs."""

import dataclasses
import math
from typing import Annotated

import optax

from jflows.errors import InvalidValueError
from jflows.options import Checked, Option, documented
from jflows.train.optim import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule
from jflows.train.sharding import PARALLEL_MODES

DEFAULT_STEPS = 1000


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """How to train: the settings of `fit`, whatever the flow, the data and the loss are.

    A step is one update by the optimizer; intervals count steps. The defaults suit tables and images of a few thousand
    rows alike: small batches, Adam with a short warm-up and a cosine down to 0, no clipping.

    Raises:
      InvalidTypeError: if a setting is of another type.
      InvalidValueError: if a setting is out of its range, or does not fit another.
    """

    steps: Annotated[
        int,
        Option(
            "Steps in all, which is also the length of the learning rate's schedule. 0 counts `epochs` instead, or "
            f"trains for {DEFAULT_STEPS} steps if that is 0 too.",
            low=0,
        ),
    ] = 0
    epochs: Annotated[
        float,
        Option(
            "Passes over the training rows, instead of `steps`; the last step completes the last pass. 0 counts "
            "`steps`; giving both is an error.",
            low=0,
        ),
    ] = 0.0
    batch_size: Annotated[
        int,
        Option("Rows per step, over all devices. More make a step slower and its gradient less noisy.", low=1),
    ] = 64
    accumulate: Annotated[
        int,
        Option(
            "Parts into which a batch is cut, whose gradients are added up: memory for activations falls by this "
            "factor, the result stays the same, and a step takes somewhat longer. It must divide `batch_size`.",
            low=1,
        ),
    ] = 1
    optimizer: Annotated[
        str,
        Option(
            "The update rule: adam, or adamw, which also shrinks the weights of networks by `weight_decay`.",
            choices=OPTIMIZERS,
        ),
    ] = "adam"
    learning_rate: Annotated[
        float,
        Option(
            "The highest learning rate. Too high a one makes the loss jump or overflow; too low a one is slow.", above=0
        ),
    ] = 1e-3
    warmup_steps: Annotated[
        int,
        Option("The learning rate rises linearly from 0 in so many steps; at most the whole run counts.", low=0),
    ] = 100
    schedule: Annotated[
        str,
        Option(
            "What the learning rate does after the warm-up: constant; cosine, which falls to 0 at the last step; or "
            "plateau, which falls whenever the training loss no longer does.",
            choices=SCHEDULES,
        ),
    ] = "cosine"
    plateau_factor: Annotated[
        float, Option("The plateau schedule multiplies the learning rate by this.", above=0, below=1)
    ] = 0.5
    plateau_window: Annotated[
        int,
        Option(
            "The plateau schedule compares losses averaged over so many steps; fewer make it react to noise.", low=1
        ),
    ] = 500
    plateau_patience: Annotated[
        int, Option("The plateau schedule acts after so many windows without a lower loss.", low=1)
    ] = 5
    weight_decay: Annotated[
        float,
        Option("Decoupled decay of the weights of networks; above 0 it needs the optimizer adamw.", low=0),
    ] = 0.0
    clip_norm: Annotated[
        float,
        Option(
            "Largest norm of the gradient of the loss (of a likelihood, in nats per event): longer ones are shortened, "
            "which keeps rare rows from undoing much. 0 does not clip.",
            low=0,
        ),
    ] = 0.0
    b2: Annotated[
        float,
        Option("Decay of Adam's average of squared gradients; lower reacts faster and is noisier.", low=0, below=1),
    ] = 0.999
    ema_decay: Annotated[
        float,
        Option(
            "Decay of the moving average of the parameters, which evaluation and sampling use; 0 takes the last ones.",
            low=0,
            below=1,
        ),
    ] = 0.999
    mirror: Annotated[
        bool, Option("Flip images left to right with probability 1/2 each time they are seen; not for tables.")
    ] = False
    seed: Annotated[int, Option("Seed of the first parameters, of the order of the rows and of all noise.", low=0)] = 0
    init_batch: Annotated[
        int,
        Option("Rows that the data-dependent initialisation sees; more cost memory once, fewer make it noisy.", low=1),
    ] = 512
    parallel: Annotated[
        str,
        Option(
            "How a step is run on several devices: jit (the default: XLA divides the work), shard_map, pmap, or none, "
            "which takes one device. All give the same numbers up to rounding.",
            choices=PARALLEL_MODES,
        ),
    ] = "jit"
    steps_per_call: Annotated[
        int,
        Option(
            "Most steps that one call of the compiled program takes. More spare small flows the cost of calls, and "
            "hold as many batches in memory; the result stays the same.",
            low=1,
        ),
    ] = 50
    log_every: Annotated[
        int, Option("Steps between two lines of metrics; each is a mean over the steps since the last.", low=1)
    ] = 50
    eval_every: Annotated[
        int,
        Option(
            "Steps between two scores on the validation rows; 0 scores at the end alone. Each is a whole pass.", low=0
        ),
    ] = 0
    patience: Annotated[
        int,
        Option(
            "Validations in a row without a better score after which the run ends; 0 always takes all steps.", low=0
        ),
    ] = 0
    checkpoint_every: Annotated[
        int,
        Option("Steps between two checkpoints: what a killed run loses at most. The last step always gets one.", low=1),
    ] = 500
    eval_batch_size: Annotated[
        int, Option("Rows per call of evaluation; more are faster until memory ends, the score stays the same.", low=1)
    ] = 250
    max_skipped: Annotated[
        int, Option("Steps in a row with a loss or gradient that is not finite after which the run ends.", low=1)
    ] = 20
    max_reconstruction_error: Annotated[
        float,
        Option(
            "Largest |decode(encode(x)) - x|, in units of x, at which a run with invertible back-propagation goes on: "
            "beyond it, its gradients are not to be trusted.",
            above=0,
        ),
    ] = 1.0

    def _check(self) -> None:
        where = type(self).__name__
        if self.steps and self.epochs:
            rule, fix = "must not both be given", "Set {steps=0} to count epochs."
            raise InvalidValueError(where, ("steps", "epochs"), rule, f"{self.steps} and {self.epochs}", fix)
        if self.patience and not self.eval_every:
            rule = f"must be positive with {{patience={self.patience}}}, which counts validations"
            raise InvalidValueError(where, "eval_every", rule, 0, "Set {eval_every}, such as 1000.")
        if self.batch_size % self.accumulate:
            rule = f"must divide {{batch_size={self.batch_size}}}"
            raise InvalidValueError(where, "accumulate", rule, repr(self.accumulate))
        if self.weight_decay and self.optimizer == "adam":
            rule, fix = "must be 0 with {optimizer=adam}", "Set {optimizer=adamw}."
            raise InvalidValueError(where, "weight_decay", rule, repr(self.weight_decay), fix)

    def total_steps(self, num_examples: int) -> int:
        """Steps of a run on so many training rows: `steps`, or as many as `epochs` take."""
        if self.epochs:
            return max(1, math.ceil(self.epochs * num_examples / self.batch_size))
        return self.steps or DEFAULT_STEPS

    def make_optimizer(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The optimizer of a run of so many steps."""
        return make_optimizer(
            steps=steps,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            warmup_steps=self.warmup_steps,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            b2=self.b2,
            plateau_factor=self.plateau_factor,
            plateau_window=self.plateau_window,
            plateau_patience=self.plateau_patience,
        )

    def make_schedule(self, steps: int) -> optax.Schedule:
        """The learning rate as a function of the step, before "plateau" lowers it."""
        return make_schedule(steps, self.learning_rate, self.warmup_steps, self.schedule, final_fraction=0.0)
