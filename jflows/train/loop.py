"""`fit`: the training loop around one compiled program that takes as many steps as it is told.

A run is a function of its config and data alone: batches and noise depend on (seed, step), so a run that was killed
and resumed from its last checkpoint ends in the same parameters, bit for bit, as one that was never stopped.
Read next: `jflows/train/step.py` (the step), `jflows/train/monitor.py` (metrics, scores, checkpoints).
"""

import contextlib
import dataclasses
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jflows.data import Data, Reading, Statistics, TrainBatches, eval_batches
from jflows.data.base import check_is_data, check_same_columns
from jflows.data.degenerate import warn_if_degenerate
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.memory import bytes_held, bytes_of, check_memory, least_bytes
from jflows.flows import Density
from jflows.flows.once import jit_once
from jflows.processes import together
from jflows.train import progress as bars
from jflows.train.config import TrainConfig
from jflows.train.losses import LOSSES, Loss, check_loss
from jflows.train.monitor import Entry, InMemory, Job, Monitor, Recorder, check_ends_finite
from jflows.train.sharding import Runner
from jflows.train.step import TrainState, check_trainable, copied, init_state, make_train_step
from jflows.train.storage import crc32_of, flatten
from jflows.train.support import check_support
from jflows.typing import Array, Batch, Key, PyTree, Variables

BYTES_OF_VISIT = 32  # its number, epoch, row and index while a batch is made, as int64
SMALLER = "Lower it, set {accumulate} or a {backprop} that stores less, or make the flow smaller."


class FitResult(NamedTuple):
    """The result of `fit`.

    Attributes:
      variables: Linen collections with the averaged parameters (EMA) that had the best validation score, or, without
        validation, those of the last step.
      step: number of steps after which the run had these variables.
      state: the state after the last step, optimizer included.
      history: the metrics of every logging interval, see `fit`.
      interrupted: True if SIGTERM or `stop` ended the run early; its checkpoint is saved.
    """

    variables: Variables
    step: int
    state: TrainState
    history: list[Entry]
    interrupted: bool

    def __repr__(self) -> str:
        """One line, without the arrays."""
        last = self.history[-1] if self.history else {}
        return f"FitResult(step={self.step}, interrupted={self.interrupted}, history=[..., {last}])"


def fit(
    flow: Density,
    data: Data,
    config: TrainConfig,
    *,
    validation: Data | None = None,
    run: Recorder | None = None,
    loss: Loss | None = None,
    variables: Variables | None = None,
    callback: Callable[[Entry], None] | None = None,
    progress: bool | None = None,
    stop: threading.Event | None = None,
) -> FitResult:
    """Trains a flow.

    The metrics of an interval hold `step`, `epoch`, the means of `loss` (nats per event, or the loss's own unit), of
    `bits_per_dim` (for integers, if the loss is in nats) and of `grad_norm`, `learning_rate`, `skipped` (how many steps
    so far were not finite) and `examples_per_second`. The first also holds `compile_seconds`; with invertible
    back-propagation all hold `reconstruction_error`; and where validation was due, they hold `validation_nll` (nats per
    event, lower is better) and the score in the flow's own unit, `validation_bits_per_dim` or `validation_nats`.

    Args:
      flow: the density to train; it determines how the data are read.
      data: training rows, images or a table; `NoData` with a loss that draws its own samples. With weights, a step
        minimises the weighted loss, see `make_train_step`; weights times a constant change nothing.
      config: all settings.
      validation: rows that are scored every `config.eval_every` steps with the averaged parameters. The best parameters
        are kept, and after `config.patience` scores without a better one the run ends.
      run: where checkpoints and metrics go; a run directory opened to resume continues from its last checkpoint. None
        keeps everything in memory.
      loss: the loss to minimise; None takes the flow's own, its negative log-likelihood or `MixtureLoss()`.
      variables: where to start, as `flow.init` or another run gives it; None makes new ones from the first batches.
      callback: called with the metrics of every logging interval.
      progress: True shows progress on stderr, False does not; None shows it on a terminal and in a notebook.
      stop: an event that ends the run early once it is set; the state is saved first. None does this on SIGTERM. Of
        many processes it is enough that one is asked to stop; all do so at the end of the logging interval.
    Returns:
      `FitResult`.
    Raises:
      InvalidTypeError, InvalidValueError: if arguments do not fit together, or the flow has no parameters.
      DataError: if the density of a row is 0, as it lies outside of the flow's support.
      RunError: if `config.max_skipped` steps in a row were not finite, or reconstruction fails with
        backprop="invertible"; the last good state is in the last checkpoint. Of many processes, also if they were not
        given the same, with the name of what differs, and where.
    """
    job = job_of(flow, data, config, validation, InMemory() if run is None else run, loss)
    _check_alike(job)
    optimizer = config.make_optimizer(job.steps)
    settings = dict(ema_decay=config.ema_decay, accumulate=config.accumulate)
    make_step = functools.partial(make_train_step, flow, optimizer, job.loss, **settings)
    runner = Runner(make_step, config.parallel, config.batch_size, job.longest_call)
    start = functools.partial(first_state, job, optimizer, variables, runner.put_params)
    restored = job.recorder.restore(planned_start(job, start, runner))
    check_goes_on(job, 0 if restored is None else int(restored.step))
    first = checked_start(job, start(), validation) if restored is None else restored
    if together.count() > 1:  # parameters that begin unlike stay unlike, without an error
        together.check_alike("fit", {"state": crc32_of(flatten(first)[0])})
    with shown(progress, job, int(first.step)) as on_entry, stop_event(stop) as stopped:
        monitor = Monitor(job, [on_entry] if callback is None else [on_entry, callback])
        final = _take_steps(job, runner, monitor, first, stopped)
    return result_of(job, monitor, final)


def check_goes_on(job: Job, step: int) -> None:
    """Raises `InvalidValueError` if a run that stands at `step` would end before it."""
    if step > job.steps:
        rule, fix = f"must not end before step {step}, at which the run stands", "Ask for more {steps}."
        raise InvalidValueError("fit", "steps", rule, job.steps, fix)


def result_of(job: Job, monitor: Monitor, final: TrainState) -> FitResult:
    """What `fit` returns once a run has ended with this state, which is saved unless it has been."""
    step, scores = int(final.step), monitor.scores
    check_ends_finite(step, final)
    interrupted = step < job.steps and not scores.out_of_patience
    if job.recorder.saved_steps()[-1:] != [step]:
        monitor.save(step, final)
    best, at = (final.ema_variables, step) if scores.best is None else (scores.best, scores.best_step)
    return FitResult(best, at, final, monitor.history, interrupted)


def _take_steps(job: Job, runner: Runner, monitor: Monitor, first: TrainState, stopped: threading.Event) -> TrainState:
    """Takes all steps, from the first state to the last, or until a process is asked to stop."""
    state, step, ended = runner.put_state(first), int(first.step), together.any_of(stopped.is_set())
    if step:
        monitor.resume()
    if step < job.steps:
        made = runner.compile(state, job.batches.at(step, job.steps_of_call(step), runner.rows))
        rows = job.config.batch_size
        check_memory("fit", "batch_size", made.planned_bytes - made.in_place, "a training step", rows, SMALLER)
        monitor.start(step, compile_seconds=round(made.seconds, 2))
    batches = job.batches.along(job.calls_from(step), runner.rows)
    while step < job.steps and not monitor.scores.out_of_patience and not ended:
        count = job.steps_of_call(step)
        state, metrics = runner.run(state, next(batches))
        step += count
        monitor.collect(metrics, count)
        if monitor.is_due(step):
            monitor.log(step, runner.get_state(state))
        if step % job.config.checkpoint_every == 0 or monitor.scores.best_step == step:
            monitor.save(step, runner.get_state(state))
        if together.count() == 1 or monitor.is_due(step):  # many processes ask each other where they wait anyway
            ended = together.any_of(stopped.is_set())
    return runner.get_state(state)


def job_of(
    flow: Density, data: Data, config: TrainConfig, validation: Data | None, recorder: Recorder, loss: Any
) -> Job:
    """Checks the arguments of `fit`, and brings them together."""
    if not isinstance(flow, Density):
        raise InvalidTypeError("fit", "flow", "must be a Flow or a MixtureOfFlows", kind_of(flow))
    check_is_data("fit", "data", data)
    if not isinstance(config, TrainConfig):
        fix = "Write jflows.train.TrainConfig(steps=1000)."
        raise InvalidTypeError("fit", "config", "must be a TrainConfig", kind_of(config), fix)
    if not all(hasattr(recorder, name) for name in ("restore", "save", "append_metrics")):
        fix = "Pass jflows.runs.RunDirectory.create(path, flow)."
        raise InvalidTypeError("fit", "run", "must be a run directory that is opened", kind_of(recorder), fix)
    if validation is not None:
        check_is_data("fit", "validation", validation)
        check_same_columns(validation, "fit", "validation", data.columns, data.context_columns)
        flow.reading.check(validation, "fit")
    chosen = LOSSES[flow.objective]() if loss is None else loss
    check_loss("fit", chosen)
    if chosen.needs_data and not data.kind.has_rows:
        fix = "Pass loss=jflows.train.reverse_kl(log_density), or data."
        raise InvalidValueError("fit", "loss", "must draw its own samples where there are no data", chosen.name, fix)
    if data.kind.has_rows and not chosen.needs_data:
        fix = "Pass jflows.data.NoData(context=...). To begin at rows, pass variables=flow.init(key, rows)."
        raise InvalidValueError("fit", "data", f"must have no rows with the loss {chosen.name}", repr(data), fix)
    if chosen.needs_gradient and data.gradient is None:
        fix = 'Write TableData("draws", x, gradient=g), g being the gradients of the log density at x.'
        raise InvalidValueError("fit", "data", f"must have gradients for the loss {chosen.name}", repr(data), fix)
    if data.gradient is not None and not chosen.needs_gradient:
        rule = "must use the gradients that the data have"
        fix = "Choose {loss=fisher}, or drop them: dataclasses.replace(data, gradient=None)."
        raise InvalidValueError("fit", "loss", rule, chosen.name, fix)
    chosen.check(flow)
    if chosen.keeps_memory and config.parallel in ("pmap", "shard_map"):
        rule = f"must be none, jit or fsdp with the loss {chosen.name}, whose memory is one for all devices"
        raise InvalidValueError("fit", "parallel", rule, repr(config.parallel), "Set {parallel=jit}.")
    if config.patience and validation is None:
        rule, fix = f"must be given with {{patience={config.patience}}}", "Set {num_validation}, or {patience=0}."
        raise InvalidValueError("fit", "validation", rule, None, fix)
    if data.weight is not None and chosen.selects_rows:
        rule = "must be None with {pretrain_steps} or {interleave_every}, which give rows without a turn weight 0"
        raise InvalidValueError("fit", "weight", rule, repr(data), "Set both to 0, or repeat rows by their weights.")
    reading = _reading(flow, chosen, data)
    reading.check(data, "fit")
    warn_if_degenerate("fit", data, reading.domains)
    batches = TrainBatches(data, config.batch_size, config.seed, reading, config.mirror, config.mutate)
    scored = None
    if validation is not None:
        scored = functools.partial(eval_batches, validation, config.eval_batch_size, flow.reading)
    return Job(flow, chosen, config, reading, batches, config.total_steps(batches.rows_per_epoch), scored, recorder)


def _check_alike(job: Job) -> None:
    """Raises `RunError` if many processes do not train the same: other settings, another flow, other rows."""
    if together.count() == 1:
        return
    flow, batches = job.flow, job.batches
    made = {"flow": crc32_of(repr(flow)), "loss": repr(job.loss), "data": repr(batches.data), "steps": job.steps}
    rows = crc32_of(flatten(batches.at(0)._asdict())[0])
    together.check_alike("fit", dataclasses.asdict(job.config) | made | {"rows": rows})


def _reading(flow: Density, loss: Loss, data: Data) -> Reading:
    """How data are handed over: as the flow wants them, with labels as the context if the loss learns from them."""
    wanted = loss.takes_labels and data.partly_labelled and flow.reading.context == "none"
    return flow.reading.with_labels(flow.reading.num_classes) if wanted else flow.reading


def planned_start(job: Job, start: Callable[[], TrainState], runner: Runner) -> TrainState:
    """The shapes of the first state, and the places of its arrays.

    Raises:
      InvalidValueError: if the state, the start or the batches of one call cannot fit into memory.
    """
    config, data = job.config, job.batches.data
    row = (bytes_of(data.x) + bytes_of(data.context)) / max(len(data), 1) + BYTES_OF_VISIT
    calls = job.longest_call * config.batch_size * row
    fix = "Lower {steps_per_call}, or {batch_size}."
    check_memory("fit", "batch_size", calls, "the batches of one call", config.batch_size, fix, host=True)
    jaxpr, shapes = jax.make_jaxpr(start, return_shape=True)()
    placed, fix = (
        runner.shapes_of(shapes),
        "Make the flow smaller, or divide them among more devices by {parallel=fsdp}.",
    )
    check_memory("fit", "flow", bytes_held(placed), "parameters, average and optimizer", repr(job.flow), fix)
    fix = "Lower {init_batch}, or make the flow smaller."
    check_memory("fit", "init_batch", least_bytes(jaxpr), "the initialisation", config.init_batch, fix)
    return placed


def first_state(
    job: Job,
    optimizer: optax.GradientTransformation,
    variables: Variables | None,
    put_params: Callable[[PyTree], PyTree] = lambda params: params,
) -> TrainState:
    """The state before the first step; data-dependent initialisation sees the first visits of the stream, or, of data
    with weights, rows drawn by them. `put_params` moves parameters to their places, see `Runner.put_params`.
    """
    config, data = job.config, job.batches.data
    seen = data if data.weight is None else data.drawn_by_weight(config.init_batch, config.seed)
    size = min(config.init_batch, len(seen))
    batches = TrainBatches(seen, size, config.seed, job.reading, config.mirror, config.mutate)
    batch = jax.tree.map(lambda leaf: leaf[0], batches.at(0))
    data.check_varies()
    flow = job.flow
    statistics = data.statistics(flow.before_standardizing, flow.whitens) if flow.standardizes else None
    init_key, noise_key = _two_keys(jax.random.key(config.seed))
    init = functools.partial(_initial_variables, job.flow, init_key, batch, statistics)
    abstract = jax.eval_shape(init)
    check_trainable("fit", abstract)
    if data.weight is not None and "batch_stats" in abstract:
        rule = "must have no weights for a flow with BatchNorm, whose statistics count the rows of a batch alike"
        raise DataError("fit", "data", rule, repr(data), "Use ActNorm, or repeat rows by their weights.")
    if variables is None:
        found = init()
    else:
        _check_variables(variables, abstract)
        found = copied(variables)  # as the state is donated
    memory = job.loss.first_memory(flow, found, noise_key, config.batch_size)
    return init_state({**found, "params": put_params(found["params"])}, optimizer, noise_key, memory)


@jit_once()
def _two_keys(key: Key) -> tuple[Key, Key]:
    one, other = jax.random.split(key)
    return one, other


def checked_start(job: Job, state: TrainState, validation: Data | None) -> TrainState:
    """The first state of a run, whose rows are all inside the support."""
    size = job.config.eval_batch_size
    for what, data in (("data", job.batches.data), ("validation", validation)):
        if data is not None:
            check_support(job.flow, together.own_copy(state.variables), data, state.key, size, what)
    return state


def _initial_variables(flow: Density, key: Key, batch: Batch, statistics: Statistics | None) -> Variables:
    x: Array | None = None if batch.x is None else jnp.asarray(batch.x)
    return flow.init(key, x, batch.context, statistics)


def _check_variables(variables: Variables, wanted: Variables) -> None:
    """Raises `InvalidValueError` unless these are the flow's variables."""
    shapes = lambda tree: {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    if isinstance(variables, FitResult) or not isinstance(variables, Mapping):
        rule = "must be a dictionary of collections, as flow.init gives it"
        raise InvalidTypeError("fit", "variables", rule, kind_of(variables), "Pass `result.variables` of a result.")
    found, expected = shapes(variables), shapes(wanted)
    wrong = [path for path in {**expected, **found} if found.get(path) != expected.get(path)]
    if wrong:
        rule = "must have the names and shapes that flow.init gives"
        got = f"{wrong[0]}: {found.get(wrong[0], 'missing')} instead of {expected.get(wrong[0], 'nothing')}"
        fix = "Were they another flow's?" if "params" in variables else "Pass all collections, not `params` alone."
        raise InvalidValueError("fit", "variables", rule, got, fix)


@contextlib.contextmanager
def shown(progress: bool | None, job: Job, start: int) -> Iterator[Callable[[Entry], None]]:
    """What shows the metrics of every interval."""
    if not (bars.is_watched() if progress is None else progress):
        yield lambda entry: None
        return
    unit = job.flow.unit.label if job.loss.unit == "nats" else ""
    with bars.training(job.steps, min(start, job.steps), job.batches.data.kind.rows, unit) as on_entry:
        yield on_entry


@contextlib.contextmanager
def stop_event(stop: threading.Event | None) -> Iterator[threading.Event]:
    """The event that ends a run: the one given, or one that SIGTERM sets; outside the main thread none does."""
    stopped = threading.Event() if stop is None else stop
    if stop is not None or threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, previous)
