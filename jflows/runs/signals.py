"""Handles SIGTERM as a request to stop, not as a failure: `fit` saves its state, and any other work is unwound."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM arrived outside of `fit`. It is not an `Exception`, so that no library catches it and goes on."""


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated` inside the block; outside the main thread it cannot, and does nothing."""
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
