"""Worker that measures a call of Python in this process (`ob.measure`). NumPy only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ...errors import failure
from ...evidence import Counts
from ...loop import Times, split
from ..worker import measure, procfs
from ..worker.clock import Clock
from . import host
from .own_loop import OwnLoop

OwnCall = Callable[[], object]


class CallLoop(OwnLoop):
    """Worker that makes `call`, one after the other, between the visits of the other cells."""

    form = "call"

    def __init__(self, name: str, call: OwnCall, threads: int, clock: Clock) -> None:
        super().__init__(threads, clock)
        self._name, self._call = name, call

    def _is_ready(self) -> bool:
        return self._first_ms is not None

    def _start(self) -> None:
        self._note_first(self._calls(0))

    def _calls(self, least_ns: int, least_calls: int = 1) -> Times:
        """Calls for `least_ns`, and at least `least_calls`. Raises `RuntimeFailed` for an exception of the call."""
        times, now, call = Times(), self._clock.now_ns, self._call
        end = now() + least_ns
        before = after = 0
        try:
            while after < end or len(times.latency) < least_calls:
                split.clear()
                before = now()
                call()
                after = now()
                times.add(max(1, after - before), split)
        except Exception as error:  # a call of the user may raise anything
            raise failure(f"{self._name}: {type(error).__name__}", error) from error
        return times

    def _warm_up(self, least_ns: int, limit_ns: int) -> measure.WarmUpResult:
        return measure.until_stationary(
            lambda window_ns: np.array(self._calls(window_ns).latency, np.int64), self._clock.now_ns, least_ns, limit_ns
        )

    def _block(self, least_ns: int, least_calls: int) -> Times:
        self._calls(int(least_ns * measure.REWARM_SHARE))
        return self._calls(least_ns, least_calls)

    @contextmanager
    def _counted(self) -> Iterator[list[Counts]]:
        result: list[Counts] = []
        before = procfs.counters(self._clock)
        yield result
        result.append(procfs.growth(before, procfs.counters(self._clock)))

    def resident_mb(self) -> float:
        return host.rss_mb(os.getpid())

    def dismiss(self) -> None:
        """Do nothing: the call lives in this process."""
