"""Progress on stderr: a bar on a terminal, now and then a line where there is none."""

import contextlib
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

LINE_SECONDS = 20  # between two lines where stderr is not a terminal


class _Report:
    """One task with `total` units: a moving bar, or a line at most every `LINE_SECONDS`."""

    def __init__(self, title: str, total: int, start: int = 0):
        self.title, self.total = title, total
        self.console = Console(stderr=True)
        self.bar, self.task = None, None
        self.last_line = time.monotonic()
        if self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(title, total=total, completed=start, text="")

    def update(self, done: int, text: str, title: str = "") -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, text=text, description=title or self.title)
        elif time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            click.echo(f"{title or self.title}: {text}", err=True)


@contextlib.contextmanager
def training(steps: int, start: int = 0, table: bool = False) -> Iterator[Callable[[dict[str, float]], None]]:
    """Progress of `fit`: the value is its callback.

    Shows step, loss (bits/dim of images, nats of a table), examples per second and the time left.
    """
    report = _Report("training", steps, start)
    first: list[tuple[int, float]] = []

    def callback(entry: dict[str, float]) -> None:
        step, now = int(entry["step"]), time.monotonic()
        loss = f"{entry['loss']:.3f} nats" if table else f"{entry['bits_per_dim']:.3f} bits/dim"
        text = f"step {step:,}/{steps:,}  {loss}"
        if first:
            # Since the first call, so that compilation does not count and checkpoints and validation do.
            seconds = (now - first[0][1]) / max(step - first[0][0], 1)
            text += (
                f"  {entry['examples_per_second']:,.0f} {_unit(table)}/s  {_duration((steps - step) * seconds)} left"
            )
        else:
            first.append((step, now))
        report.update(step, text + (f"  {int(entry['skipped'])} steps skipped" if entry.get("skipped") else ""))

    with report.bar or contextlib.nullcontext():
        report.update(start, f"step {start:,}/{steps:,}", "compiling")
        yield callback


@contextlib.contextmanager
def counting(title: str, total: int, table: bool = False) -> Iterator[Callable[[int], None]]:
    """Progress of anything that counts images or rows: the value takes how many are done."""
    report, unit = _Report(title, total), _unit(table)
    started = time.monotonic()

    def callback(done: int) -> None:
        done = min(done, total)
        rate = done / max(time.monotonic() - started, 1e-9)
        report.update(done, f"{done:,}/{total:,} {unit}  {rate:,.0f} {unit}/s  {_duration((total - done) / rate)} left")

    with report.bar or contextlib.nullcontext():
        yield callback


def _unit(table: bool) -> str:
    return "rows" if table else "images"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
