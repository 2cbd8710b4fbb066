"""The machine: its facts for run.json, its free memory, and the memory of a process. Imports psutil."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from ...devices import instruction_sets
from ...results.store.head import Gpu, Host
from ..worker.nvml import Nvml
from ..worker.procfs import read_text
from ..worker.threads import CGROUP, OWN_GROUP, cpu_quota, groups, usable_threads


def memory_free_mb(cgroup: Path = CGROUP, own: Path = OWN_GROUP) -> float:
    """Memory in MB that this process and its children can still use: the machine's free memory, within its control groups."""
    # cgroup v2, and then v1: its files have other names, and containers of older systems use them.
    limits = [(folder, "memory.max", "memory.current", "inactive_file") for folder in groups(cgroup, own)]
    limits.append((cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    left = [room for folder, most, used, cache in limits if (room := _room(folder, most, used, cache)) is not None]
    return float(min([psutil.virtual_memory().available, *left]) / 1e6)


def _room(folder: Path, most: str, used: str, cache: str) -> int | None:
    """Free bytes of one control group; None where it has no limit. Cached files that the kernel can drop count as free."""
    limit, current = read_text(folder / most), read_text(folder / used)
    if not (limit.isdecimal() and current.isdecimal()):
        return None
    lines = [line.split() for line in read_text(folder / "memory.stat").splitlines()]
    return int(limit) - int(current) + next((int(line[1]) for line in lines if line[0] == cache), 0)


def rss_mb(pid: int) -> float:
    """Resident memory in MB of the process `pid` and of the programs that it runs; 0 for a process that has ended."""
    # psutil finds children in a list of all processes, which takes milliseconds. Linux lists those of the main thread.
    children = read_text(Path(f"/proc/{pid}/task/{pid}/children")).split()
    try:
        own = float(psutil.Process(pid).memory_info().rss / 1e6)
    except psutil.Error:  # it ended between the check and the read
        own = 0.0
    return own + sum(rss_mb(int(child)) for child in children)


def describe(gpu: Nvml | None = None) -> Host:
    """Facts of this machine for run.json. `gpus`: those that NVML shows, in the order of CUDA's index."""
    return Host(
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        usable_threads=usable_threads(),
        cpu_quota=cpu_quota(),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        isa=instruction_sets(),
        os=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        python=platform.python_version(),
        gpus=tuple(Gpu(**facts) for facts in (gpu or Nvml()).describe_all()),
    )


def _cpuinfo(field: str) -> str:
    lines = read_text(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()
