"""The roll call: every process calls process 0 before JAX starts, so that what is wrong is said in a sentence.

JAX ends a process without a Python error when its coordinator does not answer, or when a process is missing; and
processes of different versions wait for each other for ever. So process 0 listens at the coordinator's address first,
takes a card from every other process, compares them, and answers each with the verdict: go on, or the same error.
"""

import dataclasses
import json
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jflows.errors import RunError

WHERE = "start_processes"
PAUSE = 0.2  # seconds between two attempts to reach process 0
MOST_BYTES = 4096  # of a card or a verdict
READ_SECONDS = 5.0  # for one who has called to say who it is


@dataclasses.dataclass(frozen=True)
class Card:
    """What a process says of itself.

    Attributes:
      index: which process it is.
      num_processes: how many it takes part with.
      versions: what must be equal in all processes, such as {"jflows": "1.0.0"}.
    """

    index: int
    num_processes: int
    versions: Mapping[str, str]


def answer_roll_call(address: tuple[str, int], card: Card, timeout: float) -> None:
    """Calls process 0 at `address`, and returns once it has heard of all processes.

    Raises:
      RunError: if it does not answer within `timeout` seconds, and 5 more if it has taken the call, which are for what
        it says of others; or if it says what is wrong.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(address, timeout=max(deadline - time.monotonic(), PAUSE)) as line:
                _send(line, dataclasses.asdict(card))
                line.settimeout(max(deadline - time.monotonic(), 0) + READ_SECONDS)
                verdict = _receive(line)
        except (OSError, ValueError):  # not there yet, or another service
            time.sleep(PAUSE)
            continue
        if verdict:
            raise RunError(WHERE, tuple(verdict["settings"]), verdict["rule"], verdict["got"], verdict["fix"])
        return
    got = f"no answer at {address[0]}:{address[1]} for process {card.index}"
    fix = "Check that process 0 runs, and that its machine can be reached at this address; or raise {start_timeout}."
    raise RunError(WHERE, "coordinator", f"must answer within {timeout:g} s", got, fix)


def call_roll(address: tuple[str, int], card: Card, timeout: float) -> None:
    """Waits in process 0 for the cards of all others, and tells them the verdict.

    Raises:
      RunError: if the port is in use, a process is missing after `timeout` seconds, or their cards do not agree.
    """
    deadline, lines, cards = time.monotonic() + timeout, [], {0: card}
    try:
        server = _listening(address)
    except OSError as error:
        got, fix = f"{address[0]}:{address[1]} ({error.strerror or error})", "Choose another port."
        raise RunError(WHERE, "coordinator", "must be an address at which process 0 can listen", got, fix) from error
    problem = None
    with server:
        while problem is None and len(cards) < card.num_processes and time.monotonic() < deadline:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            heard = _heard(server)
            if heard is not None:
                called, line = heard
                lines.append(line)
                problem = _problem(called, card, cards)
                cards[called.index] = called
        problem = problem or _missing(cards, card.num_processes, timeout)
        for line in lines:
            _tell(line, problem)
    if problem is not None:
        raise problem


def _heard(server: socket.socket) -> tuple[Card, socket.socket] | None:
    """The next who calls, and the line to it; None at the end of the time, or if it is a stranger."""
    try:
        line, _ = server.accept()
    except TimeoutError:
        return None
    try:
        line.settimeout(READ_SECONDS)
        return Card(**_receive(line)), line
    except (OSError, ValueError, TypeError):
        line.close()
        return None


def _problem(called: Card, own: Card, cards: Mapping[int, Card]) -> RunError | None:
    """What is wrong with the card of a process, if anything."""
    name = f"process {called.index}"
    if called.num_processes != own.num_processes:
        got = f"{own.num_processes} in process 0 and {called.num_processes} in {name}"
        return RunError(WHERE, "num_processes", "must be the same in all processes", got)
    if not 0 < called.index < own.num_processes or called.index in cards:
        got, fix = f"a second {name}", f"Number them 0 to {own.num_processes - 1}, each once."
        return RunError(WHERE, "process_index", "must be another one in each process", got, fix)
    for what, version in own.versions.items():
        if called.versions.get(what) != version:
            got = f"{version} in process 0 and {called.versions.get(what)} in {name}"
            return RunError(WHERE, what, "must have the same version in all processes", got, "Install the same.")
    return None


def _missing(cards: Mapping[int, Card], num_processes: int, timeout: float) -> RunError | None:
    left = [str(index) for index in range(num_processes) if index not in cards]
    if not left:
        return None
    rule, got = f"must all call within {timeout:g} s", f"no call of process {', '.join(left)} of {num_processes}"
    fix = "Look why they did not start, check that they can reach {coordinator}, or raise {start_timeout}."
    return RunError(WHERE, "processes", rule, got, fix)


def _listening(address: tuple[str, int]) -> socket.socket:
    """A socket that listens at the port of `address`: on this machine alone for a loopback address, else on all."""
    host, port = address
    if is_loopback(host):
        return socket.create_server((host, port))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine alone."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _tell(line: socket.socket, problem: RunError | None) -> None:
    """Sends the verdict and waits for the other side to hang up first, so that the port is free at once."""
    with line:
        try:
            fields = ("settings", "rule", "got", "fix")
            _send(line, {} if problem is None else {name: getattr(problem, name) for name in fields})
            line.recv(1)
        except OSError:  # it has gone: JAX will miss it
            return


def _send(line: socket.socket, content: Mapping[str, Any]) -> None:
    line.sendall(json.dumps(content).encode() + b"\n")


def _receive(line: socket.socket) -> dict[str, Any]:
    """The object that the other side sends as one line.

    Raises:
      ValueError: if it sends anything else.
    """
    content = json.loads(b"".join(_parts(line)))
    if not isinstance(content, dict):
        raise ValueError("no object")
    return content


def _parts(line: socket.socket) -> Iterator[bytes]:
    size = 0
    while size < MOST_BYTES:
        part = line.recv(MOST_BYTES)
        size += len(part)
        yield part
        if not part or part.endswith(b"\n"):
            return
