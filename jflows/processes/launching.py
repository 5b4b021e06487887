"""`launch`: starts the processes of a run on this machine, and ends all of them when one dies.

Process 0 speaks for all. What the others print is dropped, but for the last lines on stderr of one that has died.
This module does not import JAX: the launcher is no part of the run.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

from jflows.processes.starting import COORDINATOR, NUM_PROCESSES, PROCESS_INDEX

POLL_SECONDS = 0.1
GRACE_SECONDS = 5  # for processes that are asked to end, which most cannot hear while they wait for one that is gone
LAST_LINES = 20
NOISE = b"[Gloo] Rank "  # the messages of CPU devices print it to stdout for every group of devices


class Ended(NamedTuple):
    """How the processes of a run ended.

    Attributes:
      code: the exit code: 0 if all ended well, else that of the first that did not, or 128 and its signal.
      message: which process died, and of what; "" if all ended well.
    """

    code: int
    message: str = ""


def launch(
    command: Sequence[str],
    num_processes: int,
    num_devices: int = 1,
    *,
    out: Callable[[bytes], object] | None = None,
    err: Callable[[bytes], object] | None = None,
) -> Ended:
    """Runs a command in several processes that find each other, until all have ended.

    SIGTERM is passed on to all of them. When one dies, the others are ended within seconds.

    Args:
      command: program and arguments, the same for all.
      num_processes: number of processes that are started.
      num_devices: devices of each: so many virtual ones of a CPU, or the next ones of the machine's GPUs.
      out: takes the lines that process 0 prints; None writes them to stdout.
      err: takes the last lines on stderr of another process that died; None writes them to stderr.
    """
    coordinator, started = f"127.0.0.1:{_free_port()}", []
    previous = _on_sigterm(lambda *_: _signal_all(started, signal.SIGTERM))
    with contextlib.ExitStack() as open_files:
        logs = [open_files.enter_context(tempfile.TemporaryFile()) for _ in range(num_processes)]
        open_files.callback(_on_sigterm, previous)
        open_files.callback(_end, started)
        for index, log in enumerate(logs):
            told = _environment(coordinator, num_processes, index, num_devices)
            pipes: dict[str, Any] = {"stderr": log, "stdout": subprocess.DEVNULL}
            pipes = pipes if index else {"stdout": subprocess.PIPE}
            started.append(subprocess.Popen(command, env={**os.environ, **told}, **pipes))
        printed = open_files.enter_context(started[0].stdout)
        speaker = threading.Thread(target=_pass_on, args=(printed, out or _write(sys.stdout)), daemon=True)
        speaker.start()
        died = _first_to_die(started)
        _end(started)
        speaker.join()
        if died is None:
            return Ended(0)
        if died:
            for line in _last_lines(logs[died]):
                (err or _write(sys.stderr))(line)
        return _ended(died, num_processes, started[died].returncode)


def _environment(coordinator: str, num_processes: int, index: int, num_devices: int) -> dict[str, str]:
    """What a process is told: who it is, and which devices are its own."""
    own = range(index * num_devices, (index + 1) * num_devices)
    return {
        COORDINATOR: coordinator,
        NUM_PROCESSES: str(num_processes),
        PROCESS_INDEX: str(index),
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "JAX_LOCAL_DEVICE_IDS": ",".join(map(str, own)),
    }


def _first_to_die(started: Sequence[subprocess.Popen]) -> int | None:
    """Waits for the first process that ends badly, and returns its index; None if all end well.

    Of several that are found dead at once, JAX has aborted those that lost another one.
    """
    while True:
        codes = [process.poll() for process in started]
        bad = [index for index, code in enumerate(codes) if code]
        if bad:
            return min(bad, key=lambda index: (_cause(codes[index]), index))
        if None not in codes:
            return None
        time.sleep(POLL_SECONDS)


def _cause(code: int | None) -> int:
    """Small for what is more likely the cause than the consequence: a signal, an error, JAX's abort."""
    if code == -signal.SIGABRT:
        return 2
    return 0 if code is not None and code < 0 else 1


def _ended(index: int, num_processes: int, code: int) -> Ended:
    if code < 0:
        how, code = f"was killed by {_name(-code)}", 128 - code
    else:
        how = f"ended with exit code {code}"
    others = "" if num_processes == 1 else "; the others were ended"
    return Ended(code, f"process {index} of {num_processes} {how}{others}.")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(started: Sequence[subprocess.Popen]) -> None:
    """Ends the processes that still run: by SIGTERM, and after a grace by SIGKILL."""
    _signal_all(started, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(process.poll() is None for process in started) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    _signal_all(started, signal.SIGKILL)
    for process in started:
        process.wait()


def _signal_all(started: Sequence[subprocess.Popen], number: signal.Signals) -> None:
    for process in started:
        if process.poll() is None:
            process.send_signal(number)


def _on_sigterm(action: Any) -> Any:
    """Sets what SIGTERM does, and returns what it did before; outside the main thread nothing changes."""
    is_main = threading.current_thread() is threading.main_thread()
    return signal.signal(signal.SIGTERM, action) if is_main else None


def _pass_on(lines: IO[bytes] | None, out: Callable[[bytes], object]) -> None:
    for line in lines or ():
        if not line.startswith(NOISE):
            out(line)


def _write(stream: IO[str]) -> Callable[[bytes], object]:
    def write(line: bytes) -> None:
        stream.write(line.decode(errors="replace"))
        stream.flush()

    return write


def _last_lines(log: IO[bytes]) -> list[bytes]:
    log.seek(0)
    return log.read().splitlines(keepends=True)[-LAST_LINES:]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
