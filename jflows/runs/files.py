"""`saving`: writes a file in one move, so that no half-written file is ever found in its place."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from jflows.errors import RunError


@contextlib.contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Gives a temporary path, which becomes `path` if the block ends well: a kill leaves the old file or the new one.

    Raises:
      RunError: if the file cannot be written (a full disk, no permission).
    """
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


def write_text(path: Path, text: str) -> None:
    """Writes a text file, or replaces one, in one move; see `saving` for the errors."""
    with saving(path) as partial:
        partial.write_text(text)
