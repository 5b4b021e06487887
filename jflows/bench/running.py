"""A run of the suite: every subject beside every library that has it, again and again, until no row is missing."""

import contextlib
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import jax

from jflows.bench.beside import Worker
from jflows.bench.machine import description, milliseconds
from jflows.bench.measure import DTYPES, LEAST_ROUNDS, by_turns, compiled, programs, rated, row_of
from jflows.bench.results import OURS, Done, Results, Row
from jflows.bench.suite import Subject
from jflows.errors import check_choice, check_positive


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
      subjects: of `suite.chosen`, resized as wanted.
      pythons: for each other library the Python to run it by, see `beside.environments`.
      dtypes: of "float32", "float64" and "bfloat16"; PyTorch libraries are timed in each of them too.
      runs: how often all is measured, each time in new processes, compiled anew and in another order.
      calls: timings of each call in a run.
    """

    subjects: Sequence[Subject]
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dtypes: Sequence[str] = ("float32",)
    runs: int = 3
    calls: int = 15

    def __post_init__(self) -> None:
        for dtype in self.dtypes:
            check_choice("bench", "dtype", dtype, DTYPES)
        check_positive("bench", "runs", self.runs)
        check_positive("bench", "calls", self.calls)


def run(plan: Plan, results: Results, show: Callable[[Row], None] = lambda row: None) -> None:
    """Measures what is not in the results, and adds it row by row.

    Args:
      show: is called with each new row.
    Raises:
      InvalidValueError: if the results are of another device.
      RunError: if the process of a library ends, or another process adds to the same results.
    """
    with results.held():
        for number in range(plan.runs):
            missing = [(each, about) for each, about in _cases(plan, number) if not results.is_done(about)]
            if missing:
                _measure(plan, missing, results, show)


def _measure(
    plan: Plan, missing: Sequence[tuple[Subject, Done]], results: Results, show: Callable[[Row], None]
) -> None:
    """One run of what is missing."""
    with _workers(plan.pythons) as workers:
        versions = {name: each.versions for name, each in workers.items()}
        results.begin(description(plan.dtypes, versions))
        for subject, about in missing:
            for row in _rows(subject, about, workers, plan.calls):
                if row.key not in results:
                    results.add(row)
                    show(results.rows[-1])
            results.finish(about)


def _cases(plan: Plan, number: int) -> Iterator[tuple[Subject, Done]]:
    """What one run of a plan consists of; subjects whose packages are not installed are left out."""
    for subject in plan.subjects:
        if subject.requires is None or find_spec(subject.requires) is not None:
            for dtype in plan.dtypes:
                about = (subject.name, tuple(subject.event_shape), subject.batch, dtype, number)
                yield subject, Done(*about, tuple(plan.pythons))


@contextlib.contextmanager
def _workers(pythons: Mapping[str, str]) -> Iterator[dict[str, Worker]]:
    platform = jax.devices()[0].platform
    with contextlib.ExitStack() as stack:
        found = {}
        for name, python in pythons.items():
            found[name] = Worker(name, python, platform)
            stack.callback(found[name].close)
        yield found


def _rows(subject: Subject, case: Done, workers: Mapping[str, Worker], calls: int) -> Iterator[Row]:
    """The rows of one subject in one run, of jflows and of the libraries that have it."""
    shape, dtype = (case.batch, *case.event_shape), case.dtype
    able = {name: worker.prepare(case.subject, shape, dtype, subject.sizes) for name, worker in workers.items()}
    about: Any = {name: value for name, value in case._asdict().items() if name != "libraries"}
    with jax.enable_x64(dtype == "float64"):
        for what, program in programs(subject.make(case.event_shape), shape, dtype, subject.draw).items():
            call, facts = compiled(program)
            by_whom = {OURS: functools.partial(milliseconds, call)}
            for name, worker in workers.items():
                if what in able[name]:
                    by_whom[name] = functools.partial(worker.milliseconds, what)
            times = by_turns(by_whom, max(calls, LEAST_ROUNDS), case.run)
            for name, own in times.items():
                row = row_of(own, what=what, by=name, **about)
                faster = statistics.median(other / ours for other, ours in zip(own, times[OURS], strict=True))
                ratio = float(f"{faster:.4g}")
                yield rated(row, facts) if name == OURS else dataclasses.replace(row, times_faster=ratio)
