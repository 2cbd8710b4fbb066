"""Handling of Ctrl-C and SIGTERM: the first signal ends the run after the current block, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """The user's request to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Handle signals while inside: the first sets `requested`, the second raises KeyboardInterrupt.

    Does nothing off the main thread.
    """
    stop = Stop()
    # signal.signal raises ValueError in any other thread.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_: int, __: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
