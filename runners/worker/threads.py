"""Number of threads that this process may use: its affinity mask and cgroup quota, not the machine's cores.

Standard library only.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from .procfs import read_text

CGROUP, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_threads(cgroup: Path = CGROUP) -> int:
    """Threads that can compute at once: the size of the affinity mask, cut to the CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return max(1, min(cores, math.floor(quota) if quota else cores))


def cpu_quota(cgroup: Path = CGROUP, own: Path = OWN_GROUP) -> float | None:
    """CPUs that the control groups allow this process, from the tightest group; None without a limit.

    cgroup v2 has `cpu.max` in the own group and the groups above it. v1 has `cpu.cfs_quota_us` in the mounted
    group.
    """
    texts = [read_text(folder / "cpu.max") for folder in groups(cgroup, own)]
    # `max` in cpu.max and -1 in cpu.cfs_quota_us mean no limit; neither is decimal.
    v1 = f"{read_text(cgroup / 'cpu/cpu.cfs_quota_us')} {read_text(cgroup / 'cpu/cpu.cfs_period_us')}"
    pairs = [text.split() for text in (*texts, v1)]
    numbers = [(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2 and all(part.isdecimal() for part in pair)]
    return min((quota / period for quota, period in numbers if quota and period), default=None)


def groups(cgroup: Path, own: Path) -> list[Path]:
    """Folders of the process's v2 group and of the groups above it."""
    line = next((line for line in read_text(own).splitlines() if line.startswith("0::/")), "0::/")
    path = Path(line.removeprefix("0::/"))
    return [cgroup / part for part in (path, *path.parents)]
