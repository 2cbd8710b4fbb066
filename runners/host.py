"""What machine this is, and how many threads are really ours: the affinity mask and the cgroup quota, not the cores."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")


def usable_threads(cgroup: Path = CGROUP) -> int:
    """Threads that can compute at the same time: the affinity mask's size, cut to the cgroup's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return max(1, min(cores, math.floor(quota) if quota else cores))


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """CPUs that the control group allows, v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`); None for no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def describe() -> dict[str, Any]:
    """Facts of this machine for the record; JSON data."""
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
    }


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _isa() -> list[str]:
    """Instruction sets that decide which kernels a runtime picks."""
    flags = set(_cpuinfo("flags").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
    return [flag for flag in wanted if flag in flags]
