"""Memory of this process, and counters of what disturbs a measurement, from Linux's /proc.

Standard library only. A counter that the system lacks is None: macOS has no /proc.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...evidence import Counts
from .clock import Clock

ReadCounters = Callable[[Clock], Counts]

PROC, CPUS = Path("/proc"), Path("/sys/devices/system/cpu")
BUSY, STEAL = (0, 1, 2, 5, 6), 7  # fields of /proc/stat: user, nice, system, irq, softirq; steal (proc(5))
GROWING = ("wall_ns", "steal_ns", "others_ns", "run_delay_ns", "involuntary_switches", "major_faults")


def read_text(path: Path) -> str:
    """Text of the file, stripped; empty if the file cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def peak_rss_mb() -> float:
    """Peak resident memory of this process, in MB.

    VmHWM starts anew with the program; `ru_maxrss` continues from the process that started it.
    """
    lines = read_text(PROC / "self/status").splitlines()
    kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    if kib is not None:
        return kib * 1024 / 1e6
    # KiB on Linux, bytes on macOS (getrusage(2) of each)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def counters(clock: Clock) -> Counts:
    """Counters of disturbances, in ns, and levels (all fields outside GROWING) at this moment.

    `others_ns` is the CPU time of other processes on the CPUs of this process. Without /proc, `others_ns`,
    `steal_ns` and `run_delay_ns` are None.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpus = _own_cpus()
    busy_ns, steal_ns = _cpu_times(cpus)
    return Counts(
        wall_ns=clock.now_ns(),
        cpus=len(cpus),
        steal_ns=steal_ns,
        others_ns=None if busy_ns is None else busy_ns - clock.cpu_ns(),
        run_delay_ns=_run_delay_ns(),
        involuntary_switches=usage.ru_nivcsw,
        major_faults=usage.ru_majflt,
        mhz=_mhz(cpus),
    )


def counters_of(pids: Sequence[int], clock: Clock) -> Counts:
    """Like `counters`, for the processes `pids` in place of this process. A process that has ended counts nothing."""
    cpus = _own_cpus()
    busy_ns, steal_ns = _cpu_times(cpus)
    threads = [line for pid in pids for line in _schedules(pid)]
    counted = busy_ns is not None
    return Counts(
        wall_ns=clock.now_ns(),
        cpus=len(cpus),
        steal_ns=steal_ns,
        others_ns=None if busy_ns is None else busy_ns - sum(cpu_ns for cpu_ns, _ in threads),
        run_delay_ns=sum(delay_ns for _, delay_ns in threads) if counted else None,
        involuntary_switches=None,
        major_faults=sum(_major_faults(pid) for pid in pids) if counted else None,
        mhz=_mhz(cpus),
    )


def cpu_ns_of(pids: Sequence[int]) -> int:
    """CPU time in ns that the living threads of `pids` have used; 0 without /proc."""
    return sum(cpu_ns for pid in pids for cpu_ns, _ in _schedules(pid))


def _schedules(pid: int) -> list[tuple[int, int]]:
    """CPU time and waiting time in ns of each living thread of `pid`."""
    try:
        texts = [read_text(thread / "schedstat").split() for thread in (PROC / str(pid) / "task").iterdir()]
    except OSError:
        return []
    return [(int(fields[0]), int(fields[1])) for fields in texts if len(fields) > 1]


def _major_faults(pid: int) -> int:
    """Pages that the process `pid` read from a disk (field 12 of proc(5)'s stat)."""
    # The name of the program, in parentheses, may contain spaces.
    fields = read_text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return int(fields[9]) if len(fields) > 9 else 0


def growth(before: Counts, after: Counts) -> Counts:
    """Differences of the counters between two readings, never negative, with the levels of the second.

    A counter that either reading lacks is None.
    """
    grown: dict[str, Any] = {name: _grown(getattr(before, name), getattr(after, name)) for name in GROWING}
    return replace(after, **grown)


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0, after - before)


def _own_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _cpu_times(cpus: list[int]) -> tuple[int | None, int | None]:
    """CPU time that `cpus` have spent, and time that a hypervisor stole; in ns, None without /proc/stat."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    names = {f"cpu{cpu}" for cpu in cpus}
    rows = [line.split() for line in read_text(PROC / "stat").splitlines()]
    times = [[int(field) for field in row[1:]] for row in rows if row and row[0] in names]
    if not times:
        return None, None
    busy = sum(fields[index] for fields in times for index in BUSY)
    return busy * tick_ns, sum(fields[STEAL] for fields in times if len(fields) > STEAL) * tick_ns


def _run_delay_ns() -> int | None:
    """Time in ns that living threads of this process waited for a CPU; None where the kernel does not count
    it."""
    try:
        texts = [read_text(thread / "schedstat") for thread in (PROC / "self/task").iterdir()]
    except OSError:
        return None
    return sum(int(fields[1]) for fields in map(str.split, texts) if len(fields) > 1)


def _mhz(cpus: list[int]) -> int | None:
    """Clock of the slowest of `cpus`, in MHz; None where the kernel does not report it."""
    texts = [read_text(CPUS / f"cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    return min((int(text) // 1000 for text in texts if text.isdecimal()), default=None)
