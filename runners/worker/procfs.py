"""Memory of this process, and the counters that show what disturbed a measurement, as Linux reports them in /proc.

Standard library only: workers in other environments use it. A counter that the system does not have is None: macOS has no
/proc.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
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
    """The file's text without white space at its ends; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def peak_rss_mb() -> float:
    """The most memory that this process had resident, in MB.

    From VmHWM, which begins anew with the program; `ru_maxrss` would go on from the process that started it. That is in
    KiB on Linux and in bytes on macOS (getrusage(2) of each).
    """
    lines = read_text(PROC / "self/status").splitlines()
    kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    if kib is not None:
        return kib * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def counters(clock: Clock) -> Counts:
    """Counters that grow while something disturbs this process, and levels (all but GROWING) as they are now. Times in ns.

    `others_ns` is the CPU time of all other processes on the CPUs that this one may use. Without /proc it is None, and so
    are `steal_ns` and `run_delay_ns`.
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


def growth(before: Counts, after: Counts) -> Counts:
    """Growth between two looks: differences, never negative, and the levels of the second; None where not known."""
    grown: dict[str, Any] = {name: _grown(getattr(before, name), getattr(after, name)) for name in GROWING}
    return replace(after, **grown)


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0, after - before)


def _own_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _cpu_times(cpus: list[int]) -> tuple[int | None, int | None]:
    """CPU time that `cpus` have spent so far, and that a hypervisor took from them; in ns, None without /proc/stat."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    wanted = {f"cpu{cpu}" for cpu in cpus}
    rows = [line.split() for line in read_text(PROC / "stat").splitlines()]
    times = [[int(field) for field in row[1:]] for row in rows if row and row[0] in wanted]
    if not times:
        return None, None
    busy = sum(fields[index] for fields in times for index in BUSY)
    return busy * tick_ns, sum(fields[STEAL] for fields in times if len(fields) > STEAL) * tick_ns


def _run_delay_ns() -> int | None:
    """Time that living threads of this process were ready to run and waited for a CPU; None where nobody counts it."""
    try:
        texts = [read_text(thread / "schedstat") for thread in (PROC / "self/task").iterdir()]
    except OSError:
        return None
    return sum(int(fields[1]) for fields in map(str.split, texts) if len(fields) > 1)


def _mhz(cpus: list[int]) -> int | None:
    """The slowest of `cpus` as the kernel sees its clock; None where it does not say."""
    texts = [read_text(CPUS / f"cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in cpus]
    return min((int(text) // 1000 for text in texts if text.isdecimal()), default=None)
