"""metrics.jsonl: one line per logging interval, each with a checksum of itself and of all lines before it.

A kill may leave the last line incomplete, which is passed over; any other line that does not match its checksum is
damaged, and an error. Weights and scores never come from this file: checkpoints hold what they need.
"""

import json
from pathlib import Path
from typing import Any

from jflows.errors import RunError, path_of
from jflows.runs.files import CHECKSUM, crc32_of

FILE = "metrics.jsonl"
Entry = dict[str, float]


def read_metrics(run: str | Path) -> list[Entry]:
    """The entries of a run's metrics.jsonl, without a last line that a kill has left incomplete.

    Raises:
      RunError: if the file is missing, or a line of it is damaged.
    """
    return read_lines(path_of("read_metrics", "run", run) / FILE)[0]


def read_lines(path: Path) -> tuple[list[Entry], int]:
    """The entries of a file, and the checksum of the last one, after which the next line is written."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        fix = "Restore it, or write an empty file of this name to go on without the curve so far."
        raise RunError("read_metrics", "run", f"must have a {FILE}", str(path.parent), fix) from None
    except OSError as error:
        raise RunError("read_metrics", "run", f"must have a readable {FILE}", f"{path} ({error.strerror})") from error
    entries, after = [], 0
    lines = text.split(b"\n")
    for number, line in enumerate(lines, 1):
        last = number == len(lines)
        if last and b"}" not in line:  # empty, or what a kill has left of it
            break
        try:
            entry, after = _entry(line, after)
        except (ValueError, RecursionError) as error:
            fix = f"Restore the file, or cut it off before line {number} to go on without the curve from there."
            raise RunError("read_metrics", "run", f"must have a readable {FILE}", f"{path} ({error})", fix) from error
        entries.append(entry)
    return entries, after


def line_of(entry: Entry, after: int) -> tuple[str, int]:
    """An entry as a line, and its checksum, given that of the line before (0 for the first line)."""
    checksum = crc32_of(json.loads(json.dumps(entry)), after)
    return json.dumps({**entry, CHECKSUM: checksum}) + "\n", checksum


def _entry(line: bytes, after: int) -> tuple[Entry, int]:
    """The entry in a line, and its checksum.

    Raises:
      ValueError: if the line is damaged.
    """
    number_of = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    try:
        entry: Any = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise ValueError(f"a line is not JSON: {line[:40]!r}") from None
    if not isinstance(entry, dict) or not all(map(number_of, entry.values())) or type(entry.get("step")) is not int:
        raise ValueError(f"a line is no object of numbers with a step: {line[:40]!r}")
    checksum = entry.pop(CHECKSUM, None)
    if checksum != crc32_of(entry, after):
        raise ValueError(f"the line of step {entry['step']} does not match its checksum, or lines before it are gone")
    return entry, checksum
