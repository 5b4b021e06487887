"""`TrainConfig`: the settings of training, each declared once with its type, its range and its cost."""

import dataclasses
import math
from typing import Annotated

import optax

from jflows.errors import InvalidValueError
from jflows.options import LARGEST_INT, LARGEST_SEED, Checked, Option, documented
from jflows.train.optim import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule
from jflows.train.sharding import PARALLEL_MODES

DEFAULT_STEPS = 1000


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """The settings of `fit` that hold for every flow, data set and loss.

    A step is one update by the optimizer; intervals count steps. The defaults are made for a few thousand rows of a
    table or images: small batches, Adam with a short warm-up and a cosine schedule down to 0, and no clipping.

    Raises:
      InvalidTypeError: if a setting is of another type.
      InvalidValueError: if a setting is out of its range, or does not fit another.
    """

    steps: Annotated[
        int,
        Option(
            "Number of training steps, which is also the length of the learning rate's schedule. 0 counts `epochs` "
            f"instead, or trains for {DEFAULT_STEPS} steps if `epochs` is 0 too.",
            low=0,
            stands_for=f"{DEFAULT_STEPS}, unless epochs are given",
        ),
    ] = 0
    epochs: Annotated[
        float,
        Option(
            "Number of passes over the training rows, which sets the length of the run instead of `steps`; the last "
            "step completes the last pass. 0 counts `steps`; it is an error to give both.",
            low=0,
        ),
    ] = 0.0
    batch_size: Annotated[
        int,
        Option(
            "Rows per training step, over all devices together. A larger batch makes a step slower and its gradient "
            "less noisy.",
            low=1,
        ),
    ] = 64
    accumulate: Annotated[
        int,
        Option(
            "Number of parts into which a batch is cut, one after the other. More parts need less memory for "
            "activations, by this factor, and somewhat more time; the result stays the same. It must divide "
            "`batch_size`.",
            low=1,
        ),
    ] = 1
    optimizer: Annotated[
        str,
        Option(
            "How gradients become updates: by adam, or by adamw, which also shrinks the weights of networks by "
            "`weight_decay`.",
            choices=OPTIMIZERS,
        ),
    ] = "adam"
    learning_rate: Annotated[
        float,
        Option(
            "The highest learning rate of the schedule. If it is too high, the loss jumps or overflows; if it is too "
            "low, training is slow.",
            above=0,
        ),
    ] = 1e-3
    warmup_steps: Annotated[
        int,
        Option(
            "Steps in which the learning rate rises linearly from 0 to its highest value. More of them make the start "
            "safer and slower; 0 starts at the highest value. The warm-up is never longer than the run.",
            low=0,
        ),
    ] = 100
    warmup_epochs: Annotated[
        float,
        Option(
            "Length of the warm-up in passes over the training rows, for runs whose length is given in `epochs`; it "
            "takes the place of `warmup_steps`, and is at most `epochs`. 0 counts `warmup_steps`.",
            low=0,
        ),
    ] = 0.0
    schedule: Annotated[
        str,
        Option(
            "What the learning rate does after the warm-up: constant keeps it; cosine lowers it to 0 at the last step; "
            "plateau lowers it whenever the training loss stops falling.",
            choices=SCHEDULES,
        ),
    ] = "cosine"
    plateau_factor: Annotated[
        float,
        Option(
            "Factor by which schedule=plateau multiplies the learning rate whenever the loss stops falling; a smaller "
            "one lowers it more at once.",
            above=0,
            below=1,
        ),
    ] = 0.5
    plateau_window: Annotated[
        int,
        Option(
            "Steps over which schedule=plateau averages the loss before it looks whether the loss still falls; fewer "
            "steps make it react to noise.",
            low=1,
        ),
    ] = 500
    plateau_patience: Annotated[
        int,
        Option(
            "Windows of `plateau_window` steps without a lower loss after which schedule=plateau lowers the learning "
            "rate; fewer windows lower it sooner.",
            low=1,
        ),
    ] = 5
    plateau_growth: Annotated[
        float,
        Option(
            "Factor by which `plateau_patience` grows whenever schedule=plateau lowers the rate, rounded up; above 1, "
            "lower rates are kept longer.",
            low=1,
        ),
    ] = 1.0
    weight_decay: Annotated[
        float,
        Option(
            "How strongly optimizer=adamw shrinks the weights of networks: each step takes off the fraction "
            "weight_decay * learning rate. More of it counters overfitting and limits the fit. With adam it must be 0.",
            low=0,
        ),
    ] = 0.0
    clip_norm: Annotated[
        float,
        Option(
            "Largest norm of the loss's gradient (of a likelihood, in nats per event). A longer gradient is shortened "
            "to it, so that a few rare rows cannot undo much; a small bound slows training down. 0 does not clip.",
            low=0,
        ),
    ] = 0.0
    b2: Annotated[
        float,
        Option(
            "Decay of Adam's moving average of squared gradients; a lower one reacts faster and is noisier.",
            low=0,
            below=1,
        ),
    ] = 0.999
    ema_decay: Annotated[
        float,
        Option(
            "Decay of the moving average of the parameters, which evaluation and sampling use. It averages over about "
            "1 / (1 - decay) steps; 0 uses the parameters of the last step.",
            low=0,
            below=1,
        ),
    ] = 0.999
    mirror: Annotated[
        bool,
        Option(
            "Flip each image left to right with probability 1/2 every time it is seen, which is for images that are as "
            "likely when mirrored. With a table it is an error.",
        ),
    ] = False
    mutate: Annotated[
        float,
        Option(
            "Share of the numbers of each image that are replaced by random ones every time it is seen. A flow that is "
            "trained so learns the background of images, but not their content, as `jflows score --measure "
            "likelihood_ratio` needs it; 0.1 to 0.3 is usual, and 0 replaces none. With a table it is an error.",
            low=0,
            below=1,
        ),
    ] = 0.0
    seed: Annotated[
        int,
        Option(
            "Seed of the initial parameters, the order of the rows and all noise; another seed gives another run.",
            low=0,
            high=LARGEST_SEED,
        ),
    ] = 0
    init_batch: Annotated[
        int,
        Option(
            "Training rows that the data-dependent initialisation sees. More rows cost memory once; fewer make the "
            "start noisy.",
            low=1,
        ),
    ] = 512
    parallel: Annotated[
        str,
        Option(
            "How a step runs on several devices: by jit, where XLA divides the work; by fsdp, where each device also "
            "holds only its share of parameters, average and optimizer, and gathers the others when it needs them, "
            "which saves memory and costs messages; by shard_map; by pmap; or by none, which uses one device only. All "
            "of them give the same numbers up to rounding.",
            choices=PARALLEL_MODES,
        ),
    ] = "jit"
    steps_per_call: Annotated[
        int,
        Option(
            "Largest number of steps in one call of the compiled program. More steps per call save small flows the "
            "overhead of calls, and keep that many batches in memory; the result stays the same.",
            low=1,
        ),
    ] = 50
    log_every: Annotated[
        int,
        Option(
            "Steps between two lines of metrics, each of which holds means over the steps since the line before. Fewer "
            "steps show more detail, and interrupt the compiled program more often.",
            low=1,
        ),
    ] = 50
    eval_every: Annotated[
        int,
        Option(
            "Steps between two scores on the validation rows. Each score costs a pass over all of them; 0 scores only "
            "at the end of the run.",
            low=0,
        ),
    ] = 0
    patience: Annotated[
        int,
        Option(
            "Number of validations in a row without a better score after which the run ends. It needs `eval_every`; 0 "
            "never ends a run early.",
            low=0,
        ),
    ] = 0
    checkpoint_every: Annotated[
        int,
        Option(
            "Steps between two checkpoints, which are the most that a killed run loses; fewer steps cost more writing. "
            "The last step always gets a checkpoint.",
            low=1,
        ),
    ] = 500
    eval_batch_size: Annotated[
        int,
        Option(
            "Number of rows that evaluation scores in one call. More rows are faster as long as they fit into memory; "
            "the score stays the same.",
            low=1,
        ),
    ] = 250
    max_skipped: Annotated[
        int,
        Option(
            "A run ends with an error after this many steps in a row whose loss or gradient is not finite. Before "
            "that, such steps are skipped: they change no parameter.",
            low=1,
        ),
    ] = 20
    max_reconstruction_error: Annotated[
        float,
        Option(
            "Largest |decode(encode(x)) - x|, in units of x, at which a run with backprop=invertible goes on. Beyond "
            "it the rebuilt activations, and so the gradients, cannot be trusted, and the run ends with an error.",
            above=0,
        ),
    ] = 1.0

    def _check(self) -> None:
        where = type(self).__name__
        if self.steps and self.epochs:
            rule, fix = "must not both be given", "Set {steps=0} to count epochs."
            raise InvalidValueError(where, ("steps", "epochs"), rule, f"{self.steps} and {self.epochs}", fix)
        if self.warmup_epochs > self.epochs:
            rule = f"must be at most {{epochs={self.epochs:g}}}, the length of the run"
            fix = (
                "Lower it, or set {epochs}."
                if self.epochs
                else "Set {epochs} instead of {steps}, or {warmup_epochs=0}."
            )
            raise InvalidValueError(where, "warmup_epochs", rule, f"{self.warmup_epochs:g}", fix)
        if self.patience and not self.eval_every:
            rule = f"must be positive with {{patience={self.patience}}}, which counts validations"
            raise InvalidValueError(where, "eval_every", rule, 0, "Set {eval_every}, such as a tenth of the steps.")
        if self.batch_size % self.accumulate:
            rule = f"must divide {{batch_size={self.batch_size}}}"
            raise InvalidValueError(where, "accumulate", rule, repr(self.accumulate))
        if self.weight_decay and self.optimizer == "adam":
            rule, fix = "must be 0 with {optimizer=adam}", "Set {optimizer=adamw}."
            raise InvalidValueError(where, "weight_decay", rule, repr(self.weight_decay), fix)

    def total_steps(self, num_examples: int) -> int:
        """Number of steps of a run on `num_examples` training rows: `steps`, or what `epochs` amount to.

        Raises:
          InvalidValueError: if the epochs amount to more steps than can be counted.
        """
        if self.epochs:
            steps = self.epochs * num_examples / self.batch_size
            if steps > LARGEST_INT:
                rule = f"must amount to at most {LARGEST_INT} steps of {self.batch_size} rows"
                raise InvalidValueError(type(self).__name__, "epochs", rule, f"{self.epochs:g}")
            return max(1, math.ceil(steps))
        return self.steps or DEFAULT_STEPS

    def longest_call(self, steps: int) -> int:
        """Most steps of one call of a run of `steps` steps: at most `steps_per_call`, and such that calls cut the
        shortest interval evenly.
        """
        shortest = min(steps, self.log_every, self.checkpoint_every, self.eval_every or steps)
        return math.ceil(shortest / math.ceil(shortest / self.steps_per_call))

    def make_optimizer(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The optimizer of a run of `steps` steps."""
        return make_optimizer(
            steps=steps,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            warmup_steps=self._warmup_steps(steps),
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            b2=self.b2,
            plateau_factor=self.plateau_factor,
            plateau_window=self.plateau_window,
            plateau_patience=self.plateau_patience,
            plateau_growth=self.plateau_growth,
        )

    def make_schedule(self, steps: int) -> optax.Schedule:
        """The learning rate as a function of the step, before "plateau" lowers it."""
        return make_schedule(steps, self.learning_rate, self._warmup_steps(steps), self.schedule, final_fraction=0.0)

    def _warmup_steps(self, steps: int) -> int:
        """The warm-up of a run of `steps` steps: its share of the epochs, if it is given in epochs."""
        return round(steps * self.warmup_epochs / self.epochs) if self.warmup_epochs else self.warmup_steps
