"""Files of runs: written in one move, so that no half-written file is ever found, and JSON that holds its checksum."""

import contextlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jflows.errors import RunError
from jflows.processes import together

CHECKSUM = "crc32"
"""The key under which a JSON file of a run holds the CRC-32 of the rest of it."""
MAX_DEPTH = 50  # of lists and objects in each other; a recipe has five


@contextlib.contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Gives a temporary path, which becomes `path` if the block ends well: a kill leaves the old file or the new one.

    Of many processes the first alone keeps the file; what others write is thrown away.

    Raises:
      RunError: if the file cannot be written (a full disk, no permission).
    """
    if not together.is_first():
        with tempfile.TemporaryDirectory() as place:
            yield Path(place) / path.name
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        fix = "Free some disk space or choose another place; nothing else was lost."
        raise RunError("write", str(path), "must be writable", error.strerror or str(error), fix) from error
    finally:
        with contextlib.suppress(OSError):  # a folder of the path may be a file
            partial.unlink(missing_ok=True)


def check_empty(where: str, out: Path) -> None:
    """Raises `RunError` unless a directory is not there yet, or holds nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(where, "out", "must be a directory that is empty or not there", str(out), "Choose another.")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, or replaces one, in one move; see `saving` for the errors."""
    with saving(path) as partial:
        partial.write_text(text)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes an object as JSON, with its checksum, in one move; see `saving` for the errors."""
    write_text(path, json.dumps({**content, CHECKSUM: crc32_of(content)}, indent=2) + "\n")


def read_json(where: str, argument: str, path: Path, *, fix: str, by_hand: bool = False) -> dict[str, Any]:
    """The object in a JSON file that `write_json` has written, without its checksum.

    Args:
      fix: what to do about a file that is damaged.
      by_hand: whether a file without a checksum is taken too, as one that was written by hand.
    Raises:
      FileNotFoundError, NotADirectoryError: if there is no such file.
      RunError: if it cannot be read, or does not match its checksum.
    """
    refused = lambda reason: RunError(where, argument, f"must have a readable {path.name}", f"{path} ({reason})", fix)
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise refused(" ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise refused("it holds no object")
    if depth_of(content) > MAX_DEPTH:
        raise refused(f"it is nested more than {MAX_DEPTH} deep")
    checksum = content.pop(CHECKSUM, None)
    if checksum is None and not by_hand:
        raise refused(f"it has no checksum, the key {CHECKSUM!r}")
    if checksum is not None and checksum != crc32_of(content):
        raise refused("it does not match its checksum: it is damaged, or was changed by hand")
    return content


def crc32_of(content: Any, after: int = 0) -> int:
    """The CRC-32 of plain values as JSON, whatever the order of keys; `after` is that of what comes before."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode(), after)


def depth_of(content: Any) -> int:
    """How deep lists and dictionaries are nested in each other, found without recursion."""
    depth, level = 0, [content]
    while level := [entry for entry in level if isinstance(entry, dict | list | tuple)]:
        depth += 1
        level = [entry for held in level for entry in (held.values() if isinstance(held, dict) else held)]
    return depth
