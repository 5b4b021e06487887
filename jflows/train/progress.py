"""Progress on stderr: a moving bar on a terminal or in a notebook, and occasional lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from jflows.processes import together

Part = TypeVar("Part", bound=Sized)
LINE_SECONDS = 20  # between two lines where nobody watches


def is_watched() -> bool:
    """Whether someone sees what is written now: stderr is a terminal, or this is a notebook."""
    console = Console(stderr=True)
    return console.is_jupyter or sys.stderr.isatty()


@contextlib.contextmanager
def training(steps: int, start: int, noun: str, unit: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """Shows the progress of `fit`; call the value with the metrics of every logging interval.

    It shows step, loss, `noun` per second and the time left.

    Args:
      steps: number of steps of the whole run.
      start: number of steps taken before, by a run that is resumed.
      noun: what the examples are called, such as "images".
      unit: unit of the loss: "bits/dim", "nats", or "" for a loss without a unit.
    """
    report = _Report("training", steps, start)
    first: list[tuple[int, float]] = []

    def callback(entry: dict[str, float]) -> None:
        step, now = int(entry["step"]), time.monotonic()
        loss = f"{entry.get('bits_per_dim', entry['loss']):.3f} {unit}" if unit else f"loss {entry['loss']:.4g}"
        text = f"step {step:,}/{steps:,}  {loss}"
        if first:
            # Since the first call, so that compilation does not count and checkpoints and validation do.
            seconds = (now - first[0][1]) / max(step - first[0][0], 1)
            text += f"  {entry['examples_per_second']:,.0f} {noun}/s  {_duration((steps - step) * seconds)} left"
        else:
            first.append((step, now))
        report.update(step, text + (f"  {int(entry['skipped'])} steps skipped" if entry.get("skipped") else ""))

    with report.bar or contextlib.nullcontext():
        report.update(start, f"step {start:,}/{steps:,}", "compiling")
        yield callback


@contextlib.contextmanager
def counting(title: str, total: int, noun: str) -> Iterator[Callable[[int], None]]:
    """Shows the progress of a task that counts images or rows; call the value with the number that are done."""
    report = _Report(title, total)
    started = time.monotonic()

    def callback(done: int) -> None:
        done = min(done, total)
        rate = done / max(time.monotonic() - started, 1e-9)
        left = _duration((total - done) / rate) if rate else "unknown time"
        report.update(done, f"{done:,}/{total:,} {noun}  {rate:,.0f} {noun}/s  {left} left")

    with report.bar or contextlib.nullcontext():
        yield callback


@contextlib.contextmanager
def stages(title: str, names: Sequence[str]) -> Iterator[Callable[[int], None]]:
    """Shows which stage of a task is at work; call the value with the number of stages that are done."""
    report = _Report(title, len(names))

    def callback(done: int) -> None:
        report.update(done, f"{names[min(done, len(names) - 1)]}, {done + 1} of {len(names)}")

    with report.bar or contextlib.nullcontext():
        callback(0)
        yield callback


def counted(title: str, total: int, noun: str, parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of a task, while it shows how many images or rows of all are done."""
    with counting(title, total, noun) as on_part:
        done = 0
        for part in parts:
            yield part
            done += len(part)
            on_part(done)


class _Report:
    """One task with `total` units: a moving bar, or a line at most every `LINE_SECONDS`; of process 0 alone."""

    def __init__(self, title: str, total: int, start: int = 0):
        self.title = title
        self.bar: Progress | None = None
        self.last_line = time.monotonic()
        self.is_shown = together.is_first()
        if self.is_shown and is_watched():
            text = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self.bar = Progress(SpinnerColumn(), *text, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(title, total=total, completed=start, text="")

    def update(self, done: int, text: str, title: str = "") -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=done, text=text, description=title or self.title)
        elif self.is_shown and time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            print(f"{title or self.title}: {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
