"""`fit_ensemble`: N runs of one flow from seeds that follow each other, trained at once by one compiled program.

The members share flow, settings and data, and nothing else: each has its seed, order of rows, noise, optimizer, skipped
steps, validation scores and checkpoints, and ends as `fit` with its seed would have. Members of flows of tables run
side by side under `jax.vmap`, those of images one after the other, see `jflows.flows.mixture_parts.over_copies`.
Read next: `jflows/train/loop.py`, which trains one; `jflows/runs/ensembles.py`, the directories of an ensemble.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jflows.data import Data
from jflows.errors import InvalidValueError, RunError
from jflows.eval.memory import bytes_held, check_memory
from jflows.flows import Density
from jflows.flows.mixture_parts import over_copies
from jflows.options import Option, check_call
from jflows.processes import together
from jflows.train.config import TrainConfig
from jflows.train.loop import (
    SMALLER,
    FitResult,
    check_goes_on,
    checked_start,
    first_state,
    job_of,
    planned_start,
    result_of,
    shown,
    stop_event,
)
from jflows.train.losses import Loss
from jflows.train.monitor import Entry, InMemory, Job, Monitor, Recorder
from jflows.train.sharding import Runner, Step
from jflows.train.step import Metrics, TrainState, make_train_step
from jflows.typing import Batch, PyTree

Outcome = FitResult | RunError
MOST_MEMBERS = 1000


def fit_ensemble(
    flow: Density,
    data: Data | Sequence[Data],
    config: TrainConfig,
    num: int,
    *,
    validation: Data | None = None,
    runs: Sequence[Recorder] | None = None,
    loss: Loss | None = None,
    progress: bool | None = None,
    stop: threading.Event | None = None,
) -> list[Outcome]:
    """Trains `num` flows with the seeds config.seed, config.seed + 1, ... at once.

    A member whose step is not finite skips it alone; one that runs out of patience ends with its state of then, while
    the others go on; one that fails, after `config.max_skipped` steps in a row that were not finite, has its error in
    the place of its result. The memory of a step is `num` times that of one member for tables; members of images share
    that of activations.

    Args:
      flow, config, validation, loss, progress, stop: as for `fit`; progress is shown for the first member that trains.
      data: training rows of all members, or as many rows for each, such as those that keep other labels.
      num: number of members, 2 to 1000.
      runs: a recorder for each member, such as a `RunDirectory`; None keeps everything in memory. Members are saved
        together, so that a run that was killed goes on from the last step that all have.
    Returns:
      For each member what `fit` returns, or the `RunError` with which it failed.
    Raises:
      RunError: if every member failed, or members that are resumed do not stand at one step; and as `fit` does.
    Example:
      >>> import jflows
      >>> flow, data = jflows.realnvp((2,), num_layers=2), jflows.data.load("two_moons")
      >>> config = jflows.TrainConfig(steps=5, parallel="none")
      >>> [result.step for result in jflows.train.fit_ensemble(flow, data, config, 2)]
      [5, 5]
    """
    check_call("fit_ensemble", _declared, {"num": num})
    if together.count() > 1:
        fix = "Train its members one by one over all processes, or the ensemble in one process."
        raise InvalidValueError("fit_ensemble", "num", "must be trained by one process", f"{together.count()}", fix)
    of_each: Any = list(data) if isinstance(data, list | tuple) else [data] * num
    for name, given in (("data", of_each), ("runs", runs)):
        if given is not None and len(given) != num:
            raise InvalidValueError("fit_ensemble", name, f"must be one for each of the {num} members", len(given))
    recorders = [InMemory() for _ in range(num)] if runs is None else runs
    job_of(flow, of_each[0], config, validation, recorders[0], loss)  # refuses what is not a config
    jobs = [
        job_of(flow, of_each[k], dataclasses.replace(config, seed=config.seed + k), validation, recorders[k], loss)
        for k in range(num)
    ]
    sizes = sorted({job.batches.rows_per_epoch for job in jobs})
    if len(sizes) > 1:
        rule, got = "must have as many rows with a weight above 0 for each member", " and ".join(map(str, sizes))
        raise InvalidValueError("fit_ensemble", "data", rule, got, "Train these members one by one.")
    optimizer = config.make_optimizer(jobs[0].steps)
    settings = dict(ema_decay=config.ema_decay, accumulate=config.accumulate)
    make_step = functools.partial(make_train_step, flow, optimizer, jobs[0].loss, **settings)
    make_all = functools.partial(step_of_members, make_step, flow)
    runner = Runner(make_all, config.parallel, config.batch_size, jobs[0].longest_call, stacked=1)
    monitors = [Monitor(job, []) for job in jobs]
    first = _first_states(jobs, monitors, optimizer, runner, validation)
    start = min(int(state.step) for state in first)
    with shown(progress, jobs[0], start) as on_entry, stop_event(stop) as stopped:
        outcomes = _Members(jobs, monitors, runner, on_entry, stopped).train(first)
    errors = [outcome for outcome in outcomes if isinstance(outcome, RunError)]
    if len(errors) == num:
        raise errors[0]
    return outcomes


def step_of_members(make_step: Callable[..., Step], flow: Density, **options: Any) -> Step:
    """One step of all members: states [N, ...] and batches [batch, N, ...] -> states and metrics [N]."""
    step = make_step(**options)

    def of_all(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        of_each = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), batch)
        return over_copies(step, flow.event_shape, state, of_each)

    return of_all


def _declared(num: Annotated[int, Option(low=2, high=MOST_MEMBERS)]) -> None:
    """The declared type of what `fit_ensemble` takes."""


class _Members:
    """The members of an ensemble while they train."""

    def __init__(
        self,
        jobs: list[Job],
        monitors: list[Monitor],
        runner: Runner,
        on_entry: Callable[[Entry], None],
        stopped: threading.Event,
    ):
        self.jobs, self.monitors, self.runner = jobs, monitors, runner
        self.on_entry, self.stopped = on_entry, stopped
        self.outcomes: dict[int, Outcome] = {}

    @property
    def active(self) -> list[int]:
        """Those that have not ended; one that failed is saved with them, only so that all can be resumed."""
        return [k for k in range(len(self.jobs)) if not isinstance(self.outcomes.get(k), FitResult)]

    @property
    def training(self) -> list[int]:
        """Those that have neither ended nor failed."""
        return [k for k in range(len(self.jobs)) if k not in self.outcomes]

    def train(self, first: list[TrainState]) -> list[Outcome]:
        """Takes all steps, and ends every member."""
        job = self.jobs[0]
        for k, monitor in enumerate(self.monitors):
            if monitor.scores.out_of_patience:
                self._end(k, first[k])
        state = self.runner.put_state(jax.tree.map(lambda *leaves: jnp.stack(leaves), *first))
        step = min((int(first[k].step) for k in self.active), default=job.steps)
        if step < job.steps:
            self._compile(state, step)
        while step < job.steps and self.training and not self.stopped.is_set():
            count = job.steps_of_call(step)
            state, metrics = self.runner.run(state, self._batches(step, count))
            step += count
            for k in self.training:
                self.monitors[k].collect({name: values[:, k] for name, values in metrics.items()}, count)
            if self.monitors[0].is_due(step):
                self._log(step, self.runner.get_state(state))
            if step % job.config.checkpoint_every == 0 or any(m.scores.best_step == step for m in self.monitors):
                self._save(step, self.runner.get_state(state))
            for k in self.training:
                if self.monitors[k].scores.out_of_patience:
                    self._end(k, _member(self.runner.get_state(state), k))
        for k in self.training:
            self._end(k, _member(self.runner.get_state(state), k))
        return [self.outcomes[k] for k in range(len(self.jobs))]

    def _compile(self, state: TrainState, step: int) -> None:
        job = self.jobs[0]
        made = self.runner.compile(state, self._batches(step, job.steps_of_call(step)))
        needed, rows = made.planned_bytes - made.in_place, job.config.batch_size
        check_memory("fit_ensemble", "batch_size", needed, "a training step of all members", rows, SMALLER)
        for monitor in self.monitors:
            monitor.start(step, compile_seconds=round(made.seconds, 2))

    def _batches(self, step: int, count: int) -> Batch:
        """The batches of all members, side by side: leaves [count, batch, N, ...]."""
        of_each = [job.batches.at(step, count) for job in self.jobs]
        return jax.tree.map(lambda *leaves: np.stack(leaves, axis=2), *of_each)

    def _log(self, step: int, state: TrainState) -> None:
        """Writes a line for each member that trains; one that fails is left alone from then on."""
        shown = False
        for k in self.training:
            try:
                self.monitors[k].log(step, _member(state, k))
            except RunError as error:
                self.outcomes[k] = error
                continue
            if not shown:
                self.on_entry(self.monitors[k].history[-1])
                shown = True

    def _save(self, step: int, state: TrainState) -> None:
        for k in self.active:
            self.monitors[k].save(step, _member(state, k))

    def _end(self, k: int, final: TrainState) -> None:
        """Ends a member."""
        try:
            self.outcomes[k] = result_of(self.jobs[k], self.monitors[k], final)
        except RunError as error:
            self.outcomes[k] = error


def _first_states(
    jobs: list[Job],
    monitors: list[Monitor],
    optimizer: optax.GradientTransformation,
    runner: Runner,
    validation: Data | None,
) -> list[TrainState]:
    """The states from which members start or go on: all at one step, but for those that have run out of patience."""
    starts = [functools.partial(first_state, job, optimizer, None) for job in jobs]
    shapes = planned_start(jobs[0], starts[0], runner)
    what, got = "parameters, averages and optimizers of all members", repr(jobs[0].flow)
    check_memory("fit_ensemble", "flow", len(jobs) * bytes_held(shapes), what, got, "Train fewer members.")
    found = [job.recorder.restore(shapes) for job in jobs]
    for monitor, state in zip(monitors, found, strict=True):
        if state is not None:
            monitor.resume()
    for job, state in zip(jobs, found, strict=True):
        check_goes_on(job, 0 if state is None else int(state.step))
    standing = {k: 0 if state is None else int(state.step) for k, state in enumerate(found)}
    going = {k: step for k, step in standing.items() if not monitors[k].scores.out_of_patience}
    least = min(going.values(), default=0)
    for k, step in going.items():
        if step > least:
            found[k] = _stepped_back(jobs[k], monitors[k], shapes, least, sorted(set(standing.values())))
    return [
        checked_start(jobs[k], starts[k](), validation) if state is None else state for k, state in enumerate(found)
    ]


def _stepped_back(job: Job, monitor: Monitor, shapes: TrainState, step: int, standing: list[int]) -> TrainState | None:
    """The state of a member that was saved last when the others were not saved yet, at the step of the others."""
    saved = job.recorder.saved_steps()
    if step not in saved and (step or len(saved) > 1):
        rule, fix = "must be members that stand at one step", "Resume as many members as there were, of one ensemble."
        raise RunError("fit_ensemble", "runs", rule, f"steps {', '.join(map(str, standing))}", fix)
    state = job.recorder.restore(shapes, step)
    monitor.begin_again()
    if state is not None:
        monitor.resume()
    return state


def _member(tree: PyTree, k: int) -> Any:
    """The arrays of one member."""
    return jax.tree.map(lambda leaf: leaf[k], tree)
