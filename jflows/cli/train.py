"""`jflows train`: data, flow, training, evaluation on the whole test set, pictures; all into one run directory."""

import contextlib
import json
import os
import platform
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np

from jflows._version import __version__
from jflows.cli import mixture_output, pictures
from jflows.cli.configs import from_stored
from jflows.cli.datasets import is_table, load_config_data, pixel_bits, read_options, sample_labels, summary
from jflows.cli.progress import counting, training
from jflows.data import Data, ImageData, TableData, eval_batches, has_validation
from jflows.errors import InvalidValueError, RunError
from jflows.eval import Evaluation, evaluate, plots
from jflows.flows import Density, Flow, MixtureOfFlows
from jflows.train import FitResult, ImageConfig, Run, TrainConfig, fit, read_config, read_metrics
from jflows.train.checkpoint import check_unused
from jflows.typing import Variables

SHOWN_ROWS = 1000  # of a table in its page; where fewer are for testing, the training rows are drawn
RESULT_KEY = 0  # seed of evaluation noise and of the sample grids, as the default of `jflows evaluate` and `sample`
# What a resumed run may change. All but `patience`, and `steps`, which stretches the schedule, leave its result alone.
MAY_DIFFER = (
    *("steps", "patience", "log_every", "eval_every", "checkpoint_every", "steps_per_call", "eval_batch_size"),
    *("parallel", "max_skipped", "max_reconstruction_error"),
)


class _Terminated(BaseException):
    """SIGTERM outside of `fit`. Not an `Exception`: no library may take it for a failure and go on."""


def train(name: str, cls: type[TrainConfig], overrides: dict[str, Any], out: Path | None, resume: bool) -> None:
    """Runs the whole command; see the head of this module.

    SIGTERM is a request, not a failure: the state is saved, the way to go on is printed, and the exit code is 0, so
    that a scheduler which preempts the job does not count it as broken.
    """
    out = out or Path("runs") / Path(name).stem
    again = f"jflows train {name} --out {out} --resume"
    try:
        with _sigterm_raises():
            interrupted = _train(name, cls, overrides, out, resume)
    except _Terminated:
        interrupted = True
    except KeyboardInterrupt:
        from jflows.cli.app import INTERRUPTED, Stop

        raise Stop(f"interrupted; continue from the last checkpoint with `{again}`.", INTERRUPTED) from None
    if interrupted:
        started = (out / "config.json").is_file()
        rest = f"what was done is saved. Continue with `{again}`." if started else "nothing was done yet."
        click.echo(f"jflows: stopped by SIGTERM; {rest}", err=True)


def _train(name: str, cls: type[TrainConfig], overrides: dict[str, Any], out: Path, resume: bool) -> bool:
    """Returns whether SIGTERM ended the training early."""
    if resume:
        config = from_stored(cls, read_config(out), overrides)
    else:
        check_unused(out)
        config = cls(**overrides)
    data, test = load_config_data(config, "train"), load_config_data(config, "test")
    has_rows = has_validation(config.data, config.num_validation)
    validation = load_config_data(config, "validation") if has_rows else None
    if isinstance(config, ImageConfig) and isinstance(data, ImageData) and config.num_bits > data.num_bits:
        rule, fix = f"must be at most the {data.num_bits} bits of {data.name!r}", f"Set --num-bits {data.num_bits}."
        raise InvalidValueError("train", "--num-bits", rule, config.num_bits, fix)
    settings = {"config": name, **config.to_json(), "data_crc32": zlib.crc32(np.ascontiguousarray(data.x).data)}
    if isinstance(data, TableData):
        settings["column_names"] = list(data.columns)
    if resume and read_config(out).get("data_crc32") != settings["data_crc32"]:
        rule = "must hold the training rows that the run began with"
        fix = "Restore them, or train into another directory."
        raise RunError("train", "--data", rule, f"other rows in {config.data!r}", fix)
    flow = config.build(data.event_shape, data.num_classes)
    with _alone(out):
        run = Run.resume(out, flow, settings, MAY_DIFFER) if resume else Run.create(out, flow, settings)
        result = _fit(flow, data, config, validation, run)
        if result.interrupted:
            return True
        _finish(flow, result, settings, data, test, out)
    return False


def _fit(flow: Density, data: Data, config: TrainConfig, validation: Data | None, run: Run) -> FitResult:
    start = run.saved_step() if run.resuming else None
    with training(config.steps, min(start or 0, config.steps), is_table(flow)) as callback:
        return fit(flow, data, config, validation=validation, run=run, callback=callback)


def _finish(flow: Density, fitted: FitResult, settings: dict[str, Any], data: Data, test: Data, out: Path) -> None:
    """Evaluation, result.json and pictures, all with the averaged weights."""
    table = is_table(flow)
    batches = eval_batches(test, settings["eval_batch_size"], **read_options(flow))
    started = time.perf_counter()
    with counting("evaluating", len(test), table) as on_batch:
        score = evaluate(flow, fitted.variables, batches, jax.random.key(RESULT_KEY), on_batch=on_batch)
    seconds = time.perf_counter() - started
    metrics = read_metrics(out)
    result = _result(score, fitted, metrics, settings, seconds)
    if isinstance(flow, MixtureOfFlows):
        result["mixture"] = mixture_output.summary(mixture_output.report_on(flow, fitted.variables, test))
    with pictures.saving(out / "result.json") as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n")
    with counting("drawing", 1, table):
        shown = test if isinstance(test, ImageData) or len(test) >= SHOWN_ROWS else data
        drawn = _draw_all(flow, fitted.variables, shown, metrics, score, out)
    steps = int(fitted.state.step)
    kept = "" if fitted.step == steps else f", weights of step {fitted.step:,}"
    early = f" of {settings['steps']:,}" if steps < settings["steps"] else ""
    of_what = f"{'rows' if table else 'images'} after {steps:,}{early} steps ({result['train_seconds']:.0f} s){kept}"
    click.echo(f"test {summary(flow, score, of_what)}; {out}: result.json, {', '.join(drawn)}")
    if "mixture" in result:
        click.echo(mixture_output.in_words(result["mixture"]))


def _draw_all(
    flow: Density,
    variables: Variables,
    test: Data,
    metrics: list[dict[str, float]],
    score: Evaluation,
    out: Path,
) -> list[str]:
    """Writes all pictures, and returns their names."""
    with pictures.saving(out / "learning_curve.png") as partial:
        plots.learning_curve(metrics, partial, title=out.name, test=score, nats=is_table(flow))
    key = jax.random.key(RESULT_KEY)
    if isinstance(flow, MixtureOfFlows):
        return [*mixture_output.draw(flow, variables, test, out, key), "learning_curve.png"]
    assert isinstance(flow, Flow)
    if not isinstance(test, ImageData):
        if test.event_shape != (2,):
            return ["learning_curve.png"]
        pictures.plane(flow, variables, test, out / "page.png", title=out.name)
        return ["page.png", "learning_curve.png"]
    test = test.reduced(pixel_bits(flow))
    pictures.samples(flow, variables, out, key, sample_labels(flow, pictures.GRID, None))
    num = len(test) // 2
    pictures.interpolation(flow, variables, test, out / "interpolation.png", num_pairs=min(8, num))
    pictures.reconstruction(flow, variables, test, out / "reconstruction.png", num=min(12, len(test)))
    return ["samples.png", "interpolation.png", "reconstruction.png", "learning_curve.png"]


def _result(
    score: Evaluation, fitted: FitResult, metrics: list[dict[str, float]], settings: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """The content of result.json. `train_seconds` adds up all parts of a run that was stopped and resumed, each with
    its compilation; `evaluated_step` is that of the best validation, or the last one.
    """
    steps = np.diff([0, *(entry["step"] for entry in metrics)])
    rates = [entry["examples_per_second"] for entry in metrics]
    spent = sum(n * settings["batch_size"] / rate for n, rate in zip(steps, rates, strict=True) if rate)
    spent += sum(entry.get("compile_seconds", 0) for entry in metrics)
    device = jax.devices()[0]
    return {
        "test_bits_per_dim": score.bits_per_dim,
        "standard_error": score.standard_error,
        "test_nats": score.nats,
        "nats_standard_error": score.nats_standard_error,
        "num_test": score.num_examples,
        "steps": int(fitted.state.step),
        "evaluated_step": fitted.step,
        "skipped": int(fitted.state.skipped),
        "train_seconds": round(float(spent), 1),
        "evaluation_seconds": round(seconds, 1),
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(fitted.state.params)),
        "jflows": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "cpu_count": os.cpu_count(),
        "config": settings,
    }


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Outside of `fit`, which saves, SIGTERM unwinds the command."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Holds a lock on the run directory, which ends with the process however it ends; no file is left.

    Raises:
      RunError: if another process trains there, or the directory cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: unlocked
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        rule = "must be a directory that can be made and read"
        raise RunError("train", "--out", rule, f"{out} ({error.strerror})", "Choose another.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        fix = "Wait for it, stop it, or choose another directory by --out."
        raise RunError("train", "--out", "must not be in use by another process", str(out), fix) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(folder)
