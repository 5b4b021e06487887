"""`start_processes`: makes this process one of many that train, score or sample together.

Read next: `jflows/processes/roll_call.py`, which runs before JAX starts; `jflows/processes/together.py`.
"""

import os
import sys
import traceback
from collections import Counter
from typing import Any, NamedTuple

from jflows._version import __version__
from jflows.errors import InvalidValueError, RunError, check_positive
from jflows.processes.roll_call import WHERE, Card, answer_roll_call, call_roll, is_loopback

START_SECONDS = 60
"""How long processes wait for each other when they start."""
HEARTBEAT_SECONDS = 30
"""How long a process may be silent before JAX takes it for dead and ends all others."""
COORDINATOR, NUM_PROCESSES, PROCESS_INDEX = (f"JFLOWS_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS_INDEX"))
"""Names of variables of the environment, by which `jflows launch` tells its processes who they are."""
ENVIRONMENTS = "SLURM, Kubernetes, Cloud TPU, Open MPI, or `jflows launch`"


class Place(NamedTuple):
    """Which process of how many this is, and where process 0 listens.

    Attributes:
      local_devices: numbers of the devices of this machine that are for this process alone; None for all of them.
    """

    coordinator: str
    num_processes: int
    index: int
    local_devices: list[int] | None = None


def start_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_index: int | None = None,
    *,
    start_timeout: float = START_SECONDS,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> None:
    """Joins this process with others, on this machine or on several; to be called in each, before JAX computes.

    All of them then run the same program: `jflows.run`, `fit`, `evaluate`, scores and samples divide their work among
    the devices of all processes, and process 0 alone writes files. An error that ends one of them ends it at once,
    without waiting for the others.

    Args:
      coordinator: address of process 0, "host:port". None takes it, and what else is None, from the environment, which
        SLURM, Kubernetes, Cloud TPU, Open MPI and `jflows launch` set.
      num_processes: how many processes there are.
      process_index: which of them this one is, from 0 on.
      start_timeout: seconds after which a process gives up waiting for process 0, or process 0 for the others.
      heartbeat: seconds of silence after which a process counts as dead, and JAX ends the others.
    Raises:
      InvalidValueError: if the environment does not say what is left out, or a value is out of its range.
      RunError: if the others do not answer in time, have another version of jflows or jax or another number of devices,
        or JAX computes in this process already.
    """
    import jax

    check_positive(WHERE, "start_timeout", start_timeout)
    check_positive(WHERE, "heartbeat", heartbeat)
    if is_one_of_many():
        raise RunError(WHERE, "processes", "must be started once", "a second start", "Call it first in the program.")
    place = place_of(coordinator, num_processes, process_index, start_timeout)
    host, port = address_of(place.coordinator)
    card = Card(place.index, place.num_processes, {"jflows": __version__, "jax": jax.__version__})
    (answer_roll_call if place.index else call_roll)((host, port), card, start_timeout)
    options: dict[str, Any] = {"local_device_ids": place.local_devices, "cluster_detection_method": "deactivate"}
    if is_loopback(host):
        options["coordinator_bind_address"] = place.coordinator
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.num_processes,
            place.index,
            initialization_timeout=max(round(start_timeout), 1),
            heartbeat_timeout_seconds=heartbeat,
            **options,
        )
    except RuntimeError as error:
        fix = "Call start_processes before anything that computes."
        raise RunError(
            WHERE, "processes", "must be started before JAX is used", str(error).split(".")[0], fix
        ) from None
    if place.num_processes > 1:
        _end_at_errors()
    check_devices(Counter(device.process_index for device in jax.devices()))


def place_of(
    coordinator: str | None, num_processes: int | None, process_index: int | None, timeout: float = START_SECONDS
) -> Place:
    """Which process this is: as given, else as `jflows launch` says, else as JAX finds in the environment.

    Raises:
      InvalidValueError: if one of the three is missing.
    """
    given: Any = [coordinator, num_processes, process_index]
    if COORDINATOR in os.environ:
        told = (os.environ[COORDINATOR], int(os.environ[NUM_PROCESSES]), int(os.environ[PROCESS_INDEX]))
        given = [there if own is None else own for own, there in zip(given, told, strict=True)]
    found: Any = _detected(given, timeout) if None in given else (*given, None)
    for name, value in zip(("coordinator", "num_processes", "process_index"), found, strict=False):
        if value is None:
            rule = f"must be given where the environment does not tell it ({ENVIRONMENTS} do)"
            raise InvalidValueError(WHERE, name, rule, None)
    place = Place(*found)
    check_positive(WHERE, "num_processes", place.num_processes)
    if not 0 <= place.index < place.num_processes:
        rule = f"must be 0 to {place.num_processes - 1} of {place.num_processes} processes"
        raise InvalidValueError(WHERE, "process_index", rule, place.index)
    return place


def address_of(coordinator: str) -> tuple[str, int]:
    """Host and port of "host:port".

    Raises:
      InvalidValueError: if it is not written so.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        fix = "Write the address of process 0, such as 10.0.0.1:8476."
        raise InvalidValueError(WHERE, "coordinator", "must be a host and a port", repr(coordinator), fix)
    return host.strip("[]"), int(port)


def check_devices(counts: Counter[int]) -> None:
    """Raises `RunError` unless all processes have the same number of devices, given by the index of each."""
    other = next((index for index in sorted(counts) if counts[index] != counts[0]), None)
    if other is not None:
        got = f"{counts[0]} in process 0 and {counts[other]} in process {other}"
        fix = "Give all of them the same: rows of a batch are divided evenly."
        raise RunError(WHERE, "devices", "must be equally many in all processes", got, fix)


def _detected(given: list[Any], timeout: float) -> tuple[Any, ...]:
    """What the environment tells of coordinator, number, index and devices; None where it does not.

    The function is JAX's own and not public. `jax.distributed.initialize` calls it too, but does not tell what it
    found before it connects, which is when the roll call needs it.
    """
    from jax._src.clusters import ClusterEnv

    names = ("coordinator_address", "num_processes", "process_id")
    options: Any = dict(zip(names, given, strict=True)) | {"local_device_ids": None, "cluster_detection_method": None}
    return ClusterEnv.auto_detect_unset_distributed_params(**options, initialization_timeout=max(round(timeout), 1))


def _end_at_errors() -> None:
    """Ends this process at once after an uncaught error; else Python's exit would wait for the others, in vain."""
    previous = sys.excepthook

    def shown(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        try:
            previous(kind, error, trace)
        except Exception:  # a hook of the user's that fails too must not leave the others waiting for this process
            traceback.print_exc()
        leave(1)

    sys.excepthook = shown


def is_one_of_many() -> bool:
    """Whether this process has joined others; JAX is not loaded to find out."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def failed_together(error: RuntimeError) -> RunError | None:
    """One sentence for an error of a program that many processes run; None for other errors, and for one process.

    JAX raises the same error, in words of the network's library, when another process has gone, and when memory is
    short here: its first line is quoted, and not read.
    """
    if type(error).__name__ != "JaxRuntimeError" or not is_one_of_many():
        return None
    fix = "If another process has ended, look what ended it; `jflows train --resume` goes on from the last checkpoint."
    got = str(error).partition("\n")[0].rstrip(".")
    return RunError(WHERE, "processes", "must be able to compute together until the end", got, fix)


def leave(code: int) -> None:
    """Ends this process at once, without the barrier at which JAX lets all processes meet at their end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
