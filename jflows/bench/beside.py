"""Other libraries: where they are installed, and the processes in which they are timed."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jflows.errors import InvalidValueError, MissingPackageError, RunError, check_choice, path_of

LIBRARIES = ("distrax", "flowjax", "bijx", "nflows", "zuko", "normflows")
"""Each has a worker in `others/`."""
OTHERS = Path(__file__).parent / "others"
EXTRA = "pip install 'jflows-flax[bench]' brings all of them; or name an environment that has it by {python}."


def environments(libraries: Sequence[str] | None, pythons: Mapping[str, str]) -> dict[str, str]:
    """The Python of each library that is to be timed.

    Args:
      libraries: names; None takes those of `pythons`, and those that are installed in this environment.
      pythons: paths of Pythons of other environments, by the names of libraries.
    Raises:
      InvalidValueError: if a library is unknown, or a path is no file.
      MissingPackageError: if a library is not installed here and has no path.
    """
    for name in (*(libraries or ()), *pythons):
        check_choice("bench", "library", name, LIBRARIES)
    if libraries is None:
        libraries = [name for name in LIBRARIES if name in pythons or find_spec(name) is not None]
    found = {}
    for name in libraries:
        if name in pythons:
            path = path_of("bench", "python", pythons[name])
            if not path.is_file():
                rule = "must be LIBRARY=PATH with the path of a Python"
                raise InvalidValueError("bench", "python", rule, repr(f"{name}={path}"), "Check the path.")
            found[name] = str(path)
        elif find_spec(name) is None:
            rule = f"must be installed to be timed, and {name} is not"
            raise MissingPackageError("bench", "library", rule, fix=EXTRA)
        else:
            found[name] = sys.executable
    return found


class Worker:
    """A library in a process of its own, which answers one request at a time.

    Args:
      library: one of `LIBRARIES`.
      python: a Python of an environment that has the library.
      platform: of JAX's device here, which the library is to use too.
    Raises:
      RunError: if the process ends, with the last line that it wrote.
    """

    def __init__(self, library: str, python: str, platform: str):
        self.name, self._platform = library, platform
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        # Both processes use one GPU: neither may take all of its memory at once.
        own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | ({"JAX_PLATFORMS": "cpu"} if platform == "cpu" else {})
        script = OTHERS / f"{library}_worker.py"
        pipe: Any = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self._process = subprocess.Popen([python, str(script)], env={**os.environ, **own}, **pipe)
        self.versions: dict[str, str] = self._ask(do="versions")

    def prepare(self, subject: str, shape: Sequence[int], dtype: str, sizes: Mapping[str, float]) -> list[str]:
        """Builds the model of a subject; returns what can be timed of it, nothing if the library has none."""
        about = dict(subject=subject, shape=list(shape), dtype=dtype, sizes=dict(sizes), platform=self._platform)
        return self._ask(do="prepare", **about)

    def milliseconds(self, what: str, count: int) -> float:
        """Mean time of `count` calls one after the other."""
        return self._ask(do="time", what=what, count=count)

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            said = [line for line in self._errors.read().splitlines() if line.strip()]
            self.close()
            rule = f"must run in its environment, and its process ended at {request['do']} {request.get('subject', '')}"
            got = said[-1] if said else f"exit code {self._process.returncode}"
            raise RunError("bench", "library", f"{self.name} {rule.strip()}", got, "Time others by {library}.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.communicate()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
