"""The package's only source of time. Callers receive a Clock, and tests pass their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Functions that read the time.

    `now_ns`: monotonic nanoseconds, for intervals only. `wall_s`: seconds since 1970, for records only.
    `cpu_ns`: nanoseconds of CPU time used by all threads of this process. `sleep_s`: sleep for a number of
    seconds.
    """

    now_ns: Callable[[], int] = time.perf_counter_ns
    wall_s: Callable[[], float] = time.time
    cpu_ns: Callable[[], int] = time.process_time_ns
    sleep_s: Callable[[float], None] = time.sleep

    def since_s(self, begin_ns: int) -> float:
        """Seconds since `begin_ns`, a value of `now_ns`."""
        return (self.now_ns() - begin_ns) / 1e9

    def stamp(self) -> str:
        """Current UTC time as a name that sorts, `20260131-235959-123`."""
        now = datetime.fromtimestamp(self.wall_s(), tz=timezone.utc)
        return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03}"
