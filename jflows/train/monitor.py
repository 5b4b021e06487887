"""`Monitor` watches a run: metrics, validation scores, the best variables, checkpoints, and reasons to end.

`Recorder` is the interface of a run directory for `fit`; a run in memory uses `InMemory` instead.
Read next: `jflows/train/loop.py`, which calls the monitor; `jflows/train/diagnosis.py`, which explains failed steps.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jflows.data import Reading, TrainBatches
from jflows.errors import InvalidValueError, RunError
from jflows.eval.bits import evaluate
from jflows.flows import Density
from jflows.train import diagnosis
from jflows.train.config import TrainConfig
from jflows.train.losses import Loss
from jflows.train.optim import rate_scale
from jflows.train.step import Metrics, TrainState, copied
from jflows.typing import Batch, Variables

SCORE = "validation_nll"
Entry = dict[str, float]
"""The metrics of one logging interval: a line of metrics.jsonl."""


class Standing(NamedTuple):
    """What a resumed run must know beside its state, to go on as if it had never stopped.

    Attributes:
      scores: all validation scores so far, by step; lower is better.
      pending: the metrics of the steps since the last line, one number for each step, by name.
    """

    scores: dict[int, float] = {}  # noqa: RUF012 (never changed)
    pending: dict[str, list[float]] = {}  # noqa: RUF012


class Recorder(Protocol):
    """The place that keeps a run's checkpoints and metrics, and gives them back when the run is resumed."""

    def restore(self, abstract: TrainState, step: int | None = None) -> TrainState | None:
        """The state of the last good checkpoint, or that of `step`, in the shapes of `abstract`; None for a new run."""
        ...

    @property
    def standing(self) -> Standing:
        """What was saved with the state that `restore` gave."""
        ...

    def save(self, step: int, state: TrainState, standing: Standing) -> None:
        """Stores a checkpoint."""
        ...

    def saved_steps(self) -> list[int]:
        """Steps of the stored checkpoints, ascending."""
        ...

    def variables(self, step: int) -> Variables:
        """The averaged variables of one stored checkpoint."""
        ...

    def append_metrics(self, entry: Entry) -> None:
        """Stores the metrics of one interval."""
        ...


class InMemory:
    """The `Recorder` of a run without a directory: it stores nothing, so that every run is a new one."""

    standing = Standing()

    def restore(self, abstract: TrainState, step: int | None = None) -> TrainState | None:
        """Returns None, as every run is a new one."""
        return None

    def save(self, step: int, state: TrainState, standing: Standing) -> None:
        """Stores nothing; `fit` returns the last state."""

    def saved_steps(self) -> list[int]:
        """An empty list, as no checkpoint is stored."""
        return []

    def variables(self, step: int) -> Variables:
        """Raises an error, as no checkpoint is stored."""
        raise InvalidValueError("InMemory.variables", "step", "must be a saved step", step)

    def append_metrics(self, entry: Entry) -> None:
        """Stores nothing; `fit` returns the history."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that stays the same during a run: the flow, the loss, the data and the settings.

    Attributes:
      flow, loss, config: the arguments of `fit`, with the loss chosen.
      reading: how the training rows are handed over: as the flow wants them, with labels if the loss learns from them.
      batches: the batches of the training rows.
      steps: number of steps of the whole run.
      validation: makes the batches of the validation rows anew; None without validation rows.
      recorder: stores checkpoints and metrics.
    """

    flow: Density
    loss: Loss
    config: TrainConfig
    reading: Reading
    batches: TrainBatches
    steps: int
    validation: Callable[[], Iterable[Batch]] | None
    recorder: Recorder

    @property
    def longest_call(self) -> int:
        """Most steps of one call, see `TrainConfig.longest_call`."""
        return self.config.longest_call(self.steps)

    def steps_of_call(self, step: int) -> int:
        """Number of steps of the call that begins at `step`: to the end of an interval, at most `longest_call`."""
        config = self.config
        intervals = [every for every in (config.log_every, config.checkpoint_every, config.eval_every) if every]
        following = min(self.steps, *(step + every - step % every for every in intervals))
        return min(following - step, self.longest_call)

    def calls_from(self, step: int) -> list[tuple[int, int]]:
        """The first step, and the number of steps, of each call from `step` to the end."""
        calls = []
        while step < self.steps:
            calls.append((step, self.steps_of_call(step)))
            step += calls[-1][1]
        return calls

    def example_batch(self, step: int) -> Batch:
        """The batch of one step."""
        return jax.tree.map(lambda leaf: leaf[0], self.batches.at(step))


class Scores:
    """Validation scores by step, lower is better, and the variables of the best."""

    def __init__(self, patience: int):
        self.patience = patience
        self.by_step: dict[int, float] = {}
        self.best: Variables | None = None

    @property
    def best_step(self) -> int:
        """Step of the lowest score, the later of equals; -1 if there is none."""
        return min(self.by_step, key=lambda step: (self.by_step[step], -step), default=-1)

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` scores in a row were no better than the best."""
        later = sum(step > self.best_step for step in self.by_step)
        return 0 < self.patience <= later

    def add(self, step: int, score: float, variables: Variables) -> None:
        """Adds a score if it is finite, and a copy of its variables if it is the best so far."""
        if math.isfinite(score):
            self.by_step[step] = score
        if self.best_step == step:
            self.best = copied(variables)  # the next call is given the state's own buffers

    def recall(self, recorder: Recorder) -> None:
        """Restores the scores of a run that is resumed, and its best variables."""
        self.by_step, saved = dict(recorder.standing.scores), recorder.saved_steps()
        while self.by_step and self.best_step not in saved:
            warnings.warn(
                f"fit: the checkpoint of step {self.best_step}, whose score is the best so far, is gone; the run goes "
                "on with the best of the others.",
                stacklevel=5,
            )
            del self.by_step[self.best_step]
        if self.by_step:
            self.best = recorder.variables(self.best_step)


class Monitor:
    """Turns the metrics of steps into one line per interval, and ends, saves or goes on accordingly.

    Args:
      job: what is trained, and how.
      listeners: functions that are called with every line.

    Attributes:
      history: the lines of this call of `fit`.
      scores: the validation scores.
    """

    def __init__(self, job: Job, listeners: Sequence[Callable[[Entry], None]]):
        self.job, self.listeners = job, listeners
        self.history: list[Entry] = []
        self.scores = Scores(job.config.patience)
        self.pending: list[tuple[Metrics, int]] = []
        self.rate = jax.jit(job.config.make_schedule(job.steps))  # one program; as single operations, one for each
        self.has_warned = False

    def start(self, step: int, **once: float) -> None:
        """Begins an interval; the entries of `once` are added to its line."""
        self.last_step, self.last_time, self.once = step, time.perf_counter(), once

    def begin_again(self) -> None:
        """Forgets what `resume` brought, before a run goes on from an earlier step."""
        self.scores, self.pending = Scores(self.job.config.patience), []

    def resume(self) -> None:
        """Goes on from where the run was stopped: with its scores, and in the middle of its interval."""
        standing = self.job.recorder.standing
        if self.job.validation is not None:
            self.scores.recall(self.job.recorder)
        if standing.pending:
            metrics: Any = {name: np.asarray(values) for name, values in standing.pending.items()}
            self.pending = [(metrics, len(metrics["loss"]))]

    def collect(self, metrics: Metrics, count: int) -> None:
        """Keeps the metrics of a call of `count` steps, without waiting for them to be computed."""
        self.pending.append((metrics, count))

    def is_due(self, step: int) -> bool:
        """Whether a line ends at this step."""
        return step % self.job.config.log_every == 0 or self.scores_at(step) or step == self.job.steps

    def scores_at(self, step: int) -> bool:
        """Whether validation follows this step."""
        every = self.job.config.eval_every
        return self.job.validation is not None and (step == self.job.steps or bool(every and step % every == 0))

    def log(self, step: int, state: TrainState) -> None:
        """Ends an interval: runs the checks that may end the run, and then writes one line."""
        metrics, self.pending = self._collected(), []
        entry = self._entry(step, state, metrics)
        self._check_skipped(step, state, entry, metrics)
        if self.job.flow.uses_invertible_backprop:
            entry["reconstruction_error"] = diagnosis.reconstruction_error(
                self.job.flow, state, self.job.example_batch(step), step, self.job.config.max_reconstruction_error
            )
        if self.scores_at(step):
            entry |= self._validate(step, state)
        self.history.append(entry)
        self.job.recorder.append_metrics(entry)
        for listener in self.listeners:
            listener(entry)
        self.start(step)

    def save(self, step: int, state: TrainState) -> None:
        """Hands a checkpoint to the recorder."""
        pending = {name: values.tolist() for name, values in self._collected().items()}
        self.job.recorder.save(step, state, Standing(self.scores.by_step, pending))

    def _collected(self) -> dict[str, np.ndarray]:
        """The metrics of all steps since the last line, one number for each step, by name."""
        names = self.pending[0][0] if self.pending else ()
        # Cut on the host: on the device, every length would compile a program of its own.
        return {name: np.concatenate([np.asarray(m[name])[:count] for m, count in self.pending]) for name in names}

    def _entry(self, step: int, state: TrainState, metrics: dict[str, np.ndarray]) -> Entry:
        flow, seconds = self.job.flow, time.perf_counter() - self.last_time
        loss = _mean_of_finite(metrics["loss"])
        entry = {"step": step, "epoch": round(self.job.batches.epoch(step), 4), "loss": loss}
        if self.job.loss.unit == "nats" and flow.unit.is_beside_loss:
            entry[flow.unit.key] = flow.unit.curve(loss, flow.num_dims)
        num_rows = (step - self.last_step) * self.job.config.batch_size
        return entry | {
            "grad_norm": _mean_of_finite(metrics["grad_norm"]),
            "learning_rate": float(np.asarray(self.rate(step))) * rate_scale(state.opt_state),
            "skipped": int(metrics["skipped"][-1]),
            "examples_per_second": round(num_rows / seconds, 1),
            **self.once,
        }

    def _check_skipped(self, step: int, state: TrainState, entry: Entry, metrics: dict[str, np.ndarray]) -> None:
        """Ends the run if too many steps in a row were not finite; warns once, of the first such step."""
        flow, loss, num_rows = self.job.flow, self.job.loss, len(self.job.batches.data)
        if metrics["skipped_in_a_row"][-1] >= self.job.config.max_skipped:
            batch, most = self.job.example_batch(step - 1), self.job.config.max_skipped
            raise diagnosis.non_finite_error(flow, state, batch, step, most, entry["loss"], entry["grad_norm"])
        skipped = np.flatnonzero(~np.isfinite(metrics["loss"]) | ~np.isfinite(metrics["grad_norm"]))
        if self.has_warned or not skipped.size:
            return
        self.has_warned = True
        first = step - len(metrics["loss"]) + int(skipped[0])
        cause = diagnosis.cause_of(flow, loss, state, self.job.example_batch(first), first, num_rows)
        warnings.warn(
            f"fit, step {first}: the loss or its gradient was not finite, so that this step changed nothing; {cause}. "
            "Further steps of this kind are only counted, as `skipped`. Lower learning_rate or set clip_norm if there "
            "are many.",
            RuntimeWarning,
            stacklevel=5,
        )

    def _validate(self, step: int, state: TrainState) -> Entry:
        assert self.job.validation is not None
        flow = self.job.flow
        nats = evaluate(flow, state.ema_variables, self.job.validation(), state.key).nats
        self.scores.add(step, -nats, state.ema_variables)
        return {SCORE: -nats, f"validation_{flow.unit.key}": flow.unit.score(nats, flow.num_dims)}


def check_ends_finite(step: int, state: TrainState) -> None:
    """Raises `RunError` if not one step of a run was finite."""
    if step and int(state.skipped) == step:
        rule, fix = "must be finite in at least one step", "Look at the loss, and log_density, of the first batch."
        raise RunError(f"fit, step {step}", "loss", rule, f"{step} steps that were not", fix)


def _mean_of_finite(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.mean(values, dtype=np.float64)) if values.size else float("nan")
