"""Flush of caches before a timed call: of the device by its session, else of the host by a large buffer. NumPy only.

The host's buffer is larger than the last-level caches of all sockets. One thread on each CPU that the process may use writes
and reads its part of it, since each core has caches of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Session
from . import measure
from .clock import Clock

Flush = Callable[[], None]

CPUS = Path("/sys/devices/system/cpu")
SHARE = 1.25  # of all last-level caches: they replace about the oldest lines, and other data share them
UNKNOWN_BYTES = 1 << 28  # where the system does not give the size of its caches
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
INSTRUCTIONS = "Instruction"


def host_bytes(root: Path = CPUS) -> int:
    """Size of the host's buffer: SHARE of the last-level caches of all sockets together."""
    levels: dict[int, int] = {}
    for level, size, _ in set(_caches(root)):
        levels[level] = levels.get(level, 0) + size
    last = levels[max(levels)] if levels else _configured_bytes()
    return int(SHARE * last) if last > 0 else UNKNOWN_BYTES


def _caches(root: Path) -> Iterator[tuple[int, int, str]]:
    """Level, size in bytes and CPUs of each cache of data. CPUs that share a cache give it several times."""
    for folder in root.glob("cpu[0-9]*/cache/index*"):
        try:
            level, size, kind, cpus = (
                (folder / name).read_text().strip() for name in ("level", "size", "type", "shared_cpu_list")
            )
            if kind != INSTRUCTIONS:
                yield int(level), int(size[:-1]) * UNITS[size[-1]] if size[-1] in UNITS else int(size), cpus
        except (OSError, ValueError):  # virtual machines and some ARM systems give a part of the files
            continue


def _configured_bytes() -> int:
    """Size of one last-level cache as the C library knows it; 0 where it does not."""
    try:
        return os.sysconf("SC_LEVEL3_CACHE_SIZE") or os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (ValueError, OSError):
        return 0


def usable_cpus() -> Sequence[int | None]:
    """CPUs that this process may use; None for each where the system binds no threads."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [None] * (os.cpu_count() or 1)


class HostFlush:
    """Buffer of `nbytes`, and a sleeping thread on each of `cpus`. A call adds 1 to every number of the buffer."""

    def __init__(self, nbytes: int, cpus: Sequence[int | None]) -> None:
        self.numbers: NDArray[np.int64] = np.zeros(nbytes // 8, np.int64)
        self._begin, self._end = (threading.Barrier(len(cpus) + 1) for _ in range(2))
        for cpu, part in zip(cpus, np.array_split(self.numbers, len(cpus))):
            threading.Thread(target=self._serve, args=(cpu, part), daemon=True).start()

    def _serve(self, cpu: int | None, part: NDArray[np.int64]) -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})  # of this thread alone
        while True:
            self._begin.wait()
            # A plain fill may bypass the caches, which the C library does for large blocks. Reading each number does not.
            np.add(part, 1, out=part)
            self._end.wait()

    def __call__(self) -> None:
        self._begin.wait()
        self._end.wait()


def flush_of(session: Session, host: Callable[[], HostFlush], clock: Clock) -> Flush:
    """Function that flushes the caches in which a call of `session` finds its data. `host`: gives the flush of the host.

    On the host it first waits until the threads of the runtime sleep. Threads that spin would take a CPU from the flush.
    """
    if session.flush_bytes():
        return session.flush
    flush = host()

    def settled() -> None:
        measure.settle(clock)
        flush()

    return settled


def describe(session: Session, nbytes: Callable[[], int] = host_bytes) -> str:
    """Size and place of the buffer that flushes the caches, for `settings`."""
    on_device = session.flush_bytes()
    place: Any = "GPU" if on_device else f"host, {len(usable_cpus())} CPUs"
    return f"{(on_device or nbytes()) / 1e6:.0f} MB ({place})"
