"""`fit`: the training loop around one compiled call that takes many steps.

A run is a function of its config and data alone: batches and noise depend on (seed, step), so a run that was killed
and resumed from its last checkpoint ends in the same parameters, bit for bit, as one that was never stopped.
Read next: `jflows/train/step.py` (the step), `jflows/train/run.py` (the run directory).
"""

import contextlib
import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data import Data, NoData, Reading, TrainBatches, eval_batches
from jflows.errors import InvalidTypeError, InvalidValueError, RunError, kind_of
from jflows.eval.bits import evaluate, example_keys
from jflows.eval.latent import reconstruct
from jflows.flows import Density
from jflows.train.checkpoint import BEST_METRIC as SCORE
from jflows.train.config import TrainConfig
from jflows.train.image_configs import ImageConfig
from jflows.train.losses import negative_log_likelihood
from jflows.train.optim import make_optimizer, make_schedule, rate_scale
from jflows.train.run import Run
from jflows.train.sharding import Runner
from jflows.train.step import Loss, TrainState, init_state, make_train_step
from jflows.typing import Batch, Variables

RECONSTRUCTION_EXAMPLES = 16
_reconstruct = jax.jit(reconstruct, static_argnames="flow")


class FitResult(NamedTuple):
    """What `fit` returns.

    Attributes:
      variables: Linen collections with the averaged parameters (EMA): those with the best validation score, or the last
        ones of a run without validation.
      step: when they were those of the run.
      state: the whole final state.
      history: the metrics of every logging interval.
      interrupted: True if SIGTERM ended the run early; its checkpoint is saved.
    """

    variables: Variables
    step: int
    state: TrainState
    history: list[dict[str, float]]
    interrupted: bool

    def __repr__(self) -> str:
        """Without the arrays."""
        last = self.history[-1] if self.history else {}
        return f"FitResult(step={self.step}, interrupted={self.interrupted}, history=[..., {last}])"


def fit(
    flow: Density,
    data: Data | NoData,
    config: TrainConfig,
    *,
    validation: Data | None = None,
    run: Run | None = None,
    loss: Loss | None = None,
    variables: Variables | None = None,
    callback: Callable[[dict[str, float]], None] | None = None,
) -> FitResult:
    """Trains a flow.

    Args:
      data: training split, images or a table; `NoData` with a loss that draws its own samples.
      config: all settings; those of `TrainConfig`, and of an `ImageConfig` how pixels are read, matter here.
      validation: scored every `config.eval_every` steps with the averaged parameters. The best are kept, and after
        `config.patience` scores without a better one the run ends.
      run: where checkpoints and metrics go; a run opened with `resume=True` continues from its last checkpoint.
        None keeps everything in memory.
      loss: per-example loss; None for that of the config.
      variables: to start from, as `flow.init` or another run gives them; None makes new ones from the first batches.
      callback: called with the metrics of every logging interval.
    Returns:
      `FitResult`.
    Raises:
      RunError: if `config.max_skipped` steps in a row were not finite, or reconstruction fails with
        backprop="invertible"; the last good state is in the last checkpoint.
    """
    _check_arguments(flow, data, config, validation, loss)
    loss = config.loss if loss is None else loss
    data = data if isinstance(data, NoData) else config.for_training(data)
    reading = _reading(flow, config)
    batches = _train_batches(data, config, config.batch_size, reading)
    optimizer = make_optimizer(**_optimizer_settings(config))
    settings = dict(ema_decay=config.ema_decay, accumulate=config.accumulate)
    make_step = functools.partial(make_train_step, flow, optimizer, loss, **settings)
    runner = Runner(make_step, config.parallel, config.batch_size)
    start = functools.partial(_first_state, flow, config, optimizer, _init_data(batches, config, reading), variables)
    restored = run.restore(jax.eval_shape(start)) if run is not None else None
    if restored is None:
        restored = start()
    monitor = _Monitor(flow, config, batches, validation, run, callback)
    state = runner.put_state(restored)
    step = int(restored.step)
    monitor.recall(step)
    if step % config.chunk and step < config.steps:
        rule, fix = f"must be a multiple of {config.chunk} (from the intervals)", "Use the intervals of the run."
        raise InvalidValueError("fit", "step", rule, f"{step} in the checkpoint", fix)
    with _stop_signal() as stopped:
        if step < config.steps:
            seconds = runner.compile(state, batches.at(step, config.chunk))
            monitor.start(step, compile_seconds=round(seconds, 2))
        while step < config.steps and not monitor.out_of_patience and not stopped.is_set():
            state, metrics = runner.run(state, batches.at(step, config.chunk))
            step += config.chunk
            monitor.collect(metrics)
            if monitor.is_due(step):
                monitor.log(step, runner.get_state(state))
            if run is not None and (step % config.checkpoint_every == 0 or monitor.best_step == step):
                monitor.save(step, runner.get_state(state))
    final = runner.get_state(state)
    if step and int(final.skipped) == step:
        rule, fix = "must be finite in at least one step", "Look at the loss, and log_density, of the first batch."
        raise RunError(f"fit, step {step}", "loss", rule, f"{step} steps that were not", fix)
    interrupted = stopped.is_set() and step < config.steps and not monitor.out_of_patience
    if run is not None and run.saved_step() != step:
        monitor.save(step, final)
    variables, at = (final.ema_variables, step) if monitor.best is None else (monitor.best, monitor.best_step)
    return FitResult(variables, at, final, monitor.history, interrupted)


def _check_arguments(
    flow: Density, data: Data | NoData, config: TrainConfig, validation: Data | None, loss: Loss | None
) -> None:
    if not isinstance(data, Data | NoData):
        fix = 'Wrap arrays: jflows.data.TableData("name", x) or ImageData("name", x).'
        raise InvalidTypeError("fit", "data", "must be TableData, ImageData or NoData", type(data).__name__, fix)
    if not isinstance(config, TrainConfig):
        fix = "Write jflows.train.TrainConfig(steps=1000)."
        raise InvalidTypeError("fit", "config", "must be a TrainConfig", kind_of(config), fix)
    if validation is not None and not isinstance(validation, Data):
        raise InvalidTypeError("fit", "validation", "must be TableData or ImageData", kind_of(validation))
    if isinstance(loss, type) or not (loss is None or callable(loss)):
        raise InvalidTypeError("fit", "loss", "must be a function such as negative_log_likelihood", kind_of(loss))
    if isinstance(data, NoData) and loss in (None, negative_log_likelihood):
        fix = "Pass loss=jflows.train.reverse_kl(log_density), or data."
        raise InvalidValueError("fit", "loss", "must be given where there are no data", None, fix)
    num_components = getattr(flow, "num_components", None)
    num_classes = None if isinstance(data, NoData) else data.num_classes
    if config.wants_labels and num_components and num_classes and num_classes > num_components:
        rule = f"must have labels below the {num_components} components of the mixture"
        raise InvalidValueError("fit", "data", rule, f"{num_classes} classes", "Build it with more components.")
    if config.patience and validation is None:
        rule, fix = f"must be given with patience={config.patience}", "Set num_validation, or patience=0."
        raise InvalidValueError("fit", "validation", rule, None, fix)


def _optimizer_settings(config: TrainConfig) -> dict:
    names = "steps learning_rate optimizer warmup_steps schedule weight_decay clip_norm b2 "
    names += "plateau_factor plateau_window plateau_patience"
    return {name: getattr(config, name) for name in names.split()}


def _reading(flow: Density, config: TrainConfig) -> Reading:
    """How batches are read: as the flow says, with labels where the loss wants them."""
    return flow.reading.with_labels(flow.reading.num_classes) if config.wants_labels else flow.reading


def _init_data(batches: TrainBatches, config: TrainConfig, reading: Reading) -> Batch:
    """The first visits of the stream, as many as data-dependent initialisation wants."""
    size = min(config.init_batch, len(batches.data))
    return jax.tree.map(lambda leaf: leaf[0], _train_batches(batches.data, config, size, reading).at(0))


def _train_batches(data: Data, config: TrainConfig, batch_size: int, reading: Reading) -> TrainBatches:
    mirror = isinstance(config, ImageConfig) and config.mirror
    return TrainBatches(data, batch_size, config.seed, reading, mirror)


def _first_state(
    flow: Density, config: TrainConfig, optimizer, batch: Batch, variables: Variables | None
) -> TrainState:
    init_key, noise_key = jax.random.split(jax.random.key(config.seed))
    init = functools.partial(flow.init, init_key, None if batch.x is None else jnp.asarray(batch.x), batch.context)
    if variables is None:
        return init_state(init(), optimizer, noise_key)
    _check_variables(variables, jax.eval_shape(init))
    return init_state(jax.tree.map(jnp.array, variables), optimizer, noise_key)  # copies, as the state is donated


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
        fix = "Were they another flow's?" if "params" in variables else 'Pass {"params": ..., ...}, not its params.'
        raise InvalidValueError("fit", "variables", rule, got, fix)


class _Monitor:
    """Collects metrics, logs, validates, saves, and ends a run that has gone wrong."""

    def __init__(self, flow, config, batches, validation, run, callback):
        self.flow, self.config, self.batches = flow, config, batches
        self.validation, self.run, self.callback = validation, run, callback
        self.history: list[dict[str, float]] = []
        self.pending: list = []
        self.scores: dict[int, float] = {}  # step -> validation bits/dim
        self.best: Variables | None = None
        self.rate = make_schedule(
            config.steps, config.learning_rate, config.warmup_steps, config.schedule, final_fraction=0.0
        )

    @property
    def best_step(self) -> int:
        """Of the lowest score, the later of equals; -1 if there is none."""
        return min(self.scores, key=lambda step: (self.scores[step], -step), default=-1)

    @property
    def out_of_patience(self) -> bool:
        later = sum(step > self.best_step for step in self.scores)
        return 0 < self.config.patience <= later

    def recall(self, step: int) -> None:
        """Takes up the scores of a run that goes on, and its best variables."""
        if self.run is None or self.validation is None or not step:
            return
        scored = [entry for entry in self.run.metrics() if SCORE in entry]
        self.scores = {int(entry["step"]): entry[SCORE] for entry in scored if math.isfinite(entry[SCORE])}
        saved = self.run.checkpoints.steps()
        while self.scores and self.best_step not in saved:  # its checkpoint was damaged, so an earlier one goes on
            del self.scores[self.best_step]
        if self.scores:
            self.best = self.run.variables(self.best_step)

    def is_due(self, step: int) -> bool:
        """Whether to log at this step."""
        every = self.config.eval_every
        return step % self.config.log_every == 0 or step == self.config.steps or bool(every and step % every == 0)

    def start(self, step: int, **once: float) -> None:
        """Begins an interval; `once` goes into its line of metrics."""
        self.last_step, self.last_time, self.once = step, time.perf_counter(), once

    def collect(self, metrics) -> None:
        self.pending.append(metrics)

    def log(self, step: int, state: TrainState) -> None:
        metrics = {name: np.concatenate([np.asarray(m[name]) for m in self.pending]) for name in self.pending[0]}
        self.pending = []
        now = time.perf_counter()
        good = np.isfinite(metrics["loss"])
        entry = {
            "step": step,
            "epoch": round(self.batches.epoch(step), 4),
            "loss": _mean(metrics["loss"][good]),
            "bits_per_dim": _mean(metrics["bits_per_dim"][good]),
            "grad_norm": _mean(metrics["grad_norm"][np.isfinite(metrics["grad_norm"])]),
            "learning_rate": float(np.asarray(self.rate(step))) * rate_scale(state.opt_state),
            "skipped": int(metrics["skipped"][-1]),
            "examples_per_second": round((step - self.last_step) * self.config.batch_size / (now - self.last_time), 1),
            **self.once,
        }
        if metrics["skipped_in_a_row"][-1] >= self.config.max_skipped:
            raise self._non_finite_error(step, state, entry)
        if getattr(self.config, "backprop", None) == "invertible":
            entry["reconstruction_error"] = self._reconstruction_error(step, state)
        every = self.config.eval_every
        if self.validation is not None and ((every and step % every == 0) or step == self.config.steps):
            entry |= self._validate(step, state)
        self.history.append(entry)
        if self.run is not None:
            self.run.append_metrics(entry)
        if self.callback is not None:
            self.callback(entry)
        self.start(step)

    def save(self, step: int, state: TrainState) -> None:
        assert self.run is not None
        self.run.save(step, state, {SCORE: self.scores[step]} if step in self.scores else {})

    def _validate(self, step: int, state: TrainState) -> dict[str, float]:
        config = self.config
        assert self.validation is not None
        batches = eval_batches(self.validation, config.eval_batch_size, self.flow.reading)
        result = evaluate(self.flow, state.ema_variables, batches, state.key)
        if math.isfinite(result.bits_per_dim):
            self.scores[step] = result.bits_per_dim
        if self.best_step == step:
            self.best = jax.tree.map(jnp.copy, state.ema_variables)  # the next call is given the state's own buffers
        return {SCORE: result.bits_per_dim, "validation_nats": result.nats}

    def _example_batch(self, step: int, state: TrainState) -> Batch:
        """A few training rows; the flow's own samples where there are no data."""
        batch = jax.tree.map(lambda leaf: leaf[0, :RECONSTRUCTION_EXAMPLES], self.batches.at(step))
        if batch.x is not None:
            return batch._replace(x=jnp.asarray(batch.x))
        shape = batch.index.shape if batch.context is None else ()
        return batch._replace(x=self.flow.sample(state.variables, state.key, shape, batch.context))

    def _reconstruction_error(self, step: int, state: TrainState) -> float:
        batch = self._example_batch(step, state)
        error = float(jnp.max(_reconstruct(self.flow, state.variables, batch.x, batch.context)[1]))
        if not error <= self.config.max_reconstruction_error:
            rule = f"must rebuild x within max_reconstruction_error={self.config.max_reconstruction_error}"
            fix = "Set anchor_every, lower max_log_scale, or use backprop='remat'."
            raise RunError(f"fit, step {step}", "backprop='invertible'", rule, f"an error of {error:.3g}", fix)
        return error

    def _non_finite_error(self, step: int, state: TrainState, entry: dict[str, float]) -> RunError:
        batch = self._example_batch(step - 1, state)
        keys = example_keys(state.key, batch.index) if self.flow.needs_key else None
        sizes = self.flow.activations(state.variables, batch.x, batch.context, keys)
        worst = max(sizes, key=lambda path: float(np.nan_to_num(np.max(sizes[path]), nan=np.inf)))
        rule = f"must stay finite; it was not for {self.config.max_skipped} steps in a row"
        got = (
            f"last finite mean loss {entry['loss']:.5g}, gradient norm {entry['grad_norm']:.3g}, "
            f"largest activation {float(np.max(sizes[worst])):.3g} in {worst}"
        )
        fix = "Lower learning_rate, set clip_norm, or ask jflows.testing.find_non_finite for the layer where it begins."
        return RunError(f"fit, step {step}", "loss", rule, got, fix)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the loop can save and leave; outside the main thread it never is."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, previous)
