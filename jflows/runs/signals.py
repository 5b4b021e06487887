"""SIGTERM as a request to stop, not a failure: outside of `fit`, which saves, it unwinds what is at work."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM outside of `fit`. Not an `Exception`: no library may take it for a failure and go on."""


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`; outside the main thread, where no handler can be set, it stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
