"""Rows of measurements: as a file to which rows are added and in which a run goes on, as text, and as ratios."""

import contextlib
import dataclasses
import json
import statistics
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from jflows.errors import DataError, InvalidValueError, RunError
from jflows.typing import Shape

OURS = "jflows"
NOISE = 0.20  # by which ratios may differ from one day to the next, relative to them: 15 % was seen, of splines
OTHER_SPEED = 1.5  # times: machines of one kind do not differ by as much, nor does one from hour to hour
Case = tuple[str, str, Shape, int, str]
"""Subject, what is timed, event shape, batch size and dtype."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement: one thing that is timed, of one library, in one run.

    Attributes:
      subject, what: the name in the suite, and "forward", "inverse", "log_prob", "gradient", "sample" and the like.
      event_shape, batch, dtype: of the data; `batch` is the first axis of x, and `event_shape` has all others.
      by, run: whose time it is, and in which run it was taken.
      calls: number of timings; `ms` is their median, `low_ms` and `high_ms` are their quartiles.
      session: which of the file's descriptions of a machine holds.
      elements_per_s: elements of x a second.
      compile_s: seconds of tracing, lowering and compilation, without any cache.
      planned_bytes: what XLA plans for arguments, results and temporaries.
      moved_bytes: arguments and results once, temporaries twice: the least that is read and written.
      gflop: 1e9 additions and multiplications in matrix products and convolutions.
      functions: number of values of elementary functions.
      product_share, memory_share, function_share, dispatch_share: of `ms`, the part that the products, the bytes, the
        functions and the call alone would take at the measured peaks of the machine.
      times_faster: median over pairs of calls of the time of this library over that of jflows; None for jflows.
    """

    subject: str
    what: str
    event_shape: Shape
    batch: int
    dtype: str
    by: str
    run: int
    calls: int
    ms: float
    low_ms: float
    high_ms: float
    session: int = 0
    elements_per_s: float | None = None
    compile_s: float | None = None
    planned_bytes: int | None = None
    moved_bytes: int | None = None
    gflop: float | None = None
    functions: int | None = None
    product_share: float | None = None
    memory_share: float | None = None
    function_share: float | None = None
    dispatch_share: float | None = None
    times_faster: float | None = None

    @property
    def case(self) -> Case:
        """What is measured, whoever does it."""
        return self.subject, self.what, self.event_shape, self.batch, self.dtype

    @property
    def key(self) -> tuple[Case, str, int]:
        """What no two rows of a file share."""
        return self.case, self.by, self.run

    @property
    def shares(self) -> dict[str, float]:
        """The share of the time that each resource of the machine would take alone."""
        found = {
            "matrix products": self.product_share,
            "memory": self.memory_share,
            "elementary functions": self.function_share,
            "calling a program": self.dispatch_share,
        }
        return {name: share for name, share in found.items() if share is not None}

    @property
    def bound(self) -> tuple[str, float]:
        """The resource with the largest share, and this share: the time cannot fall below it."""
        return max(self.shares.items(), key=lambda pair: pair[1], default=("", 0.0))

    def to_json(self) -> dict[str, Any]:
        """The fields that are known."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The row of what `to_json` gives."""
        return cls(**{**fields, "event_shape": tuple(fields["event_shape"])})


class Rows(tuple[Row, ...]):
    """Rows that print as a table."""

    def __str__(self) -> str:
        head = ("", "what", "ms", "quartiles", "elements/s", "compile s", "planned MB", "bound by", "share", "faster")
        lines = [head, *(_cells(row) for row in self)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    bound, share = row.bound
    known = lambda form, value: "" if value is None else form.format(value)
    name = row.subject if row.by == OURS else f"{row.subject} ({row.by})"
    return (
        name,
        row.what,
        f"{row.ms:.3g}",
        f"{row.low_ms:.3g}-{row.high_ms:.3g}",
        known("{:.3g}", row.elements_per_s),
        known("{:.2f}", row.compile_s),
        known("{:.3g}", None if row.planned_bytes is None else row.planned_bytes / 1e6),
        bound,
        known("{:.0%}", share or None),
        known("{:.2f}", row.times_faster),
    )


class Done(NamedTuple):
    """One subject in one run, of which nothing is left to measure beside these libraries."""

    subject: str
    event_shape: Shape
    batch: int
    dtype: str
    run: int
    libraries: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times faster jflows is than a library, over runs.

    Attributes:
      case, by: of the rows.
      runs: the median ratio of each run.
      session: that of the first row.
    """

    case: Case
    by: str
    runs: tuple[float, ...]
    session: int

    @property
    def median(self) -> float:
        """Over the runs."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> float:
        """The largest less the smallest ratio, relative to their median."""
        return (max(self.runs) - min(self.runs)) / self.median


def ratios(rows: Iterable[Row]) -> dict[tuple[Case, str], Ratio]:
    """The ratios of all rows that have one, over their runs."""
    found: dict[tuple[Case, str], list[Row]] = {}
    for row in rows:
        if row.times_faster is not None:
            found.setdefault((row.case, row.by), []).append(row)
    values = lambda each: tuple(row.times_faster for row in each if row.times_faster is not None)
    return {key: Ratio(*key, values(each), each[0].session) for key, each in found.items()}


def _times_faster(earlier: dict[str, Any], machine: dict[str, Any]) -> float:
    """The rate of matrix products beside an earlier one; 1 where they have no dtype in common."""
    before, now = (each.get("peaks", {}) for each in (earlier, machine))
    return next((now[dtype]["flops"] / before[dtype]["flops"] for dtype in now if dtype in before), 1.0)


def cores_of(machine: dict[str, Any]) -> str:
    """The device of a description, in words."""
    return f"{machine['cores']} core{'s' * (machine['cores'] != 1)} of {machine['kind']}"


class Results:
    """A file of JSON lines: descriptions of machines, rows, each with the number of its description, and what is done.

    Args:
      path: the file, which need not exist; its last line may be torn, as after a kill: it is not read, and taken off
        before rows are added.
      setting: the setting that names the file, for errors.
    Raises:
      DataError: if the file holds something else.
    """

    def __init__(self, path: Path, setting: str = "out"):
        self._setting = setting
        self.path, self.machines, self.rows, self._done = path, [], [], []
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            self._read(number, line)
        self._torn_from = len(whole.encode()) if whole != text else None
        self._known = {row.key for row in self.rows}

    machines: list[dict[str, Any]]
    rows: list[Row]
    _done: list[Done]

    def _read(self, number: int, line: str) -> None:
        try:
            fields = json.loads(line)
            if "platform" in fields:
                self.machines.append(fields)
            elif "libraries" in fields:
                made = {name: tuple(fields[name]) for name in ("event_shape", "libraries")}
                self._done.append(Done(**{**fields, **made}))
            else:
                self.rows.append(Row.from_json(fields))
        except (ValueError, TypeError, KeyError) as error:
            rule = "must be a file of rows that `jflows bench` has written"
            raise DataError(
                "bench", self._setting, rule, f"line {number} of {self.path}", "Name another file."
            ) from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the file for this process while rows are added.

        Raises:
          RunError: if another process holds the file, or it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a")
        except OSError as error:
            rule, got = "must be a file that can be written", f"{self.path} ({error.strerror})"
            raise RunError("bench", self._setting, rule, got, "Choose another.") from error
        with file:
            try:
                _lock(file)
            except BlockingIOError as error:
                rule = "must not be in use by another process"
                raise RunError("bench", self._setting, rule, str(self.path), "Wait for it, or stop it.") from error
            if self._torn_from is not None:
                file.truncate(self._torn_from)
                self._torn_from = None
            yield

    def begin(self, machine: dict[str, Any]) -> None:
        """Adds the description of the machine that the next rows are measured on; warns if it has another speed.

        Raises:
          InvalidValueError: if the file has rows of another device.
        """
        same = ("platform", "kind", "cores")
        for earlier in self.machines[-1:]:
            if any(earlier[name] != machine[name] for name in same):
                rule = f"must hold rows of this device only, which is {cores_of(machine)}"
                raise InvalidValueError("bench", "out", rule, f"rows of {cores_of(earlier)}", "Name another file.")
            faster = _times_faster(earlier, machine)
            if max(faster, 1 / faster) > OTHER_SPEED:
                told = f"on a machine that multiplies matrices {faster:.1f} times as fast as that of the last rows"
                warnings.warn(
                    f"bench: {self.path} goes on, {told}. Name another file to keep both apart.", stacklevel=2
                )
        self.machines.append(machine)
        self._append(machine)

    def __contains__(self, key: tuple[Case, str, int]) -> bool:
        return key in self._known

    def add(self, row: Row) -> None:
        """Writes a row at once, unless the file has it."""
        if row.key in self._known:
            return
        row = dataclasses.replace(row, session=len(self.machines) - 1)
        self._known.add(row.key)
        self.rows.append(row)
        self._append(row.to_json())

    def is_done(self, wanted: Done) -> bool:
        """Whether a subject was measured in a run, beside all the libraries that are wanted."""
        of_it = [set(each.libraries) for each in self._done if each[:-1] == wanted[:-1]]
        return any(set(wanted.libraries) <= libraries for libraries in of_it)

    def finish(self, done: Done) -> None:
        """Writes that nothing is left to measure of a subject in a run."""
        self._done.append(done)
        self._append(done._asdict())

    def _append(self, fields: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(fields) + "\n")


def _lock(file: IO[str]) -> None:
    """Locks a file until it is closed, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # not POSIX: unlocked
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def slower(found: Sequence[Row], committed: Sequence[Row]) -> list[str]:
    """What is slower than in committed rows, by more than their spread and at least `NOISE`, in sentences.

    Raises:
      InvalidValueError: if no ratio is in both.
    """
    ours, theirs = ratios(found), ratios(committed)
    shared = ours.keys() & theirs.keys()
    if not shared:
        rule = "must hold ratios of what is measured now, in the same sizes and beside the same library"
        raise InvalidValueError("bench", "check", rule, f"{len(theirs)} other ratios", "Measure them first.")
    sentences = []
    for key in sorted(shared, key=str):
        now, then = ours[key], theirs[key]
        allowed = max(NOISE, then.spread)
        if now.median < (1 - allowed) * then.median:
            subject, what, *_ = now.case
            sentences.append(
                f"{subject} {what} is {now.median:.2f} times as fast as {now.by}, and was {then.median:.2f} "
                f"times; {allowed:.0%} less is allowed."
            )
    return sentences
