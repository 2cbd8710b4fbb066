"""What machine this is, and how many threads are really ours: the affinity mask and the cgroup quota, not the cores."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from ..worker.nvml import Nvml
from ..worker.procfs import read

CGROUP, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_threads(cgroup: Path = CGROUP) -> int:
    """Threads that can compute at the same time: the affinity mask's size, cut to the cgroup's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return max(1, min(cores, math.floor(quota) if quota else cores))


def cpu_quota(cgroup: Path = CGROUP, own: Path = OWN_GROUP) -> float | None:
    """CPUs that the control groups of this process allow, the tightest of them; None for no limit.

    v2 has `cpu.max` in the own group and those above it; v1 has `cpu.cfs_quota_us` in the mounted one.
    """
    texts = [read(folder / "cpu.max") for folder in _groups(cgroup, own)]
    v1 = f"{read(cgroup / 'cpu/cpu.cfs_quota_us')} {read(cgroup / 'cpu/cpu.cfs_period_us')}"
    pairs = [text.split() for text in (*texts, v1)]
    numbers = [(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2 and all(part.isdecimal() for part in pair)]
    return min((quota / period for quota, period in numbers if quota and period), default=None)


def _groups(cgroup: Path, own: Path) -> list[Path]:
    """The process's v2 group and the ones above it, down from the mount point."""
    line = next((line for line in read(own).splitlines() if line.startswith("0::/")), "0::/")
    path = Path(line.removeprefix("0::/"))
    return [cgroup / part for part in (path, *path.parents)]


def memory_free_mb(cgroup: Path = CGROUP, own: Path = OWN_GROUP) -> float:
    """Memory that this process and its children could still take: the machine's, cut to what the control groups leave."""
    limits = [(folder, "memory.max", "memory.current", "inactive_file") for folder in _groups(cgroup, own)]
    limits.append((cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    left = [room for folder, most, used, cache in limits if (room := _room(folder, most, used, cache)) is not None]
    return float(min([psutil.virtual_memory().available, *left]) / 1e6)


def _room(folder: Path, most: str, used: str, cache: str) -> int | None:
    """Bytes that one control group leaves, counting files in the cache that it would give up; None for no limit."""
    limit, current = read(folder / most), read(folder / used)
    if not (limit.isdecimal() and current.isdecimal()):
        return None
    lines = [line.split() for line in read(folder / "memory.stat").splitlines()]
    return int(limit) - int(current) + next((int(line[1]) for line in lines if line[0] == cache), 0)


def rss_mb(pid: int) -> float:
    """What the process `pid` has resident now, in MB; 0 for one that is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss / 1e6)
    except psutil.Error:
        return 0.0


def describe(gpu: Nvml | None = None) -> dict[str, Any]:
    """Facts of this machine for the record; JSON data. `gpus`: those that NVML shows, by CUDA's index."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_threads": usable_threads(),
        "cpu_quota": cpu_quota(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "isa": _isa(),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "gpus": (gpu or Nvml()).describe_all(),
    }


def _cpuinfo(field: str) -> str:
    lines = read(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


INSTRUCTION_SETS = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)


def _isa() -> list[str]:
    """Instruction sets that decide which kernels a runtime picks."""
    flags = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    return [flag for flag in INSTRUCTION_SETS if flag in flags]
