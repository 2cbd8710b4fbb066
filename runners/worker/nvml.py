"""NVML's figures of a GPU: energy, clocks, memory, and the causes that slowed it during a measurement.

Standard library, and the package `nvidia-ml-py` (module `pynvml`) where it is installed; elsewhere
nvml_library.py calls the driver's library. Nothing here raises: a figure that NVML does not report is None, and
one reason explains it. Names and units are those of nvml.h: energy in mJ, power in mW, memory in bytes, clocks
in MHz.

CUDA's index selects a GPU. NVML numbers all GPUs by their place on the PCI bus. CUDA numbers the fastest
first unless CUDA_DEVICE_ORDER=PCI_BUS_ID, and shows only CUDA_VISIBLE_DEVICES, in that order. Workers
therefore run with PCI_BUS_ID (`environment`), and this module follows a list of visible GPUs, by number or
UUID. With another order and several GPUs a number is refused, because the evidence could describe another
GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from ...errors import one_line
from ...evidence import GpuCounts
from . import nvml_library, procfs

ORDER, PCI_ORDER, VISIBLE = "CUDA_DEVICE_ORDER", "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES"

# Causes of lower clocks (nvml.h, nvmlClocksEventReason*). The other bits mean an idle GPU, or clocks that a user set.
SLOWED: Mapping[str, int] = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
}


BASE_CLOCK = 0xFFFFFF01  # NVML_CLOCK_LIMIT_ID_TDP: the clock that the GPU keeps under any load


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Environment of a worker: `environ`, and CUDA's numbering equal to NVML's unless `environ` sets another."""
    return {ORDER: PCI_ORDER, **environ}


def _nvml() -> Any:
    """The package `nvidia-ml-py`, or without it the driver's library itself: a worker may have another Python."""
    try:
        import pynvml
    except ImportError:
        return nvml_library.load()
    pynvml.nvmlInit()
    return pynvml


class _Absent(Exception):
    """No GPU to query; the message is the whole reason."""


@dataclass
class _Query:
    """Runs queries: None for a query that fails, and the reason of the first failure."""

    reason: str | None = None

    def run(self, read: Callable[[], Any], what: str) -> Any:
        try:
            return read()
        except Exception as error:  # NVML is evidence only: its failure must not end the measurement
            reason = str(error) if isinstance(error, _Absent) else f"NVML does not report {what} ({one_line(error)})"
            self.reason = self.reason or reason
            return None


@dataclass(kw_only=True)
class Nvml:
    """NVML as this process sees it, loaded at the first query.

    `pid` is the querying process, and `proc` the folder of the process table.
    """

    load: Callable[[], Any] = _nvml
    environ: Mapping[str, str] = field(default_factory=lambda: environment(os.environ))
    pid: int = field(default_factory=os.getpid)
    proc: Path = procfs.PROC
    _devices: dict[int, Any] = field(default_factory=dict)

    def watch(self, index: int) -> Callable[[], GpuCounts]:
        """Read a GPU's counts now; the returned function reads them again, and combines both.

        Levels are those at the end, and the clock also that of now. `throttle` lists the causes of lower
        clocks at either end. `others` is the larger number of processes outside this run. `reason` explains
        missing figures.
        """
        first = self._look(index)
        return lambda: _both(first, self._look(index))

    def energy_mj(self, index: int) -> tuple[float | None, str | None]:
        """Energy of the board in mJ since the driver was loaded, at its last renewal; or None, and the
        reason."""
        query = _Query()
        return query.run(lambda: float(self._of("TotalEnergyConsumption", index)), "its energy"), query.reason

    def lock_clocks(self, index: int, mhz: int) -> str | None:
        """Lock the clock of the multiprocessors at `mhz`, or at the base clock for 0. Return the reason of a failure."""
        clock = mhz or BASE_CLOCK
        return self._act(lambda: self._library.nvmlDeviceSetGpuLockedClocks(self._device(index), clock, clock))

    def unlock_clocks(self, index: int) -> str | None:
        """Lift every lock of the clock, also one that another program set. Return the reason of a failure."""
        return self._act(lambda: self._library.nvmlDeviceResetGpuLockedClocks(self._device(index)))

    def _act(self, change: Callable[[], Any]) -> str | None:
        try:
            change()
        except Exception as error:  # the library raises its own classes
            return one_line(error)
        return None

    def memory_of(self, pid: int, index: int) -> float | None:
        """GPU memory of the process `pid` in MB: CUDA context, weights, activations and caches."""
        memory = _Query().run(lambda: [item.usedGpuMemory for item in self._processes(index) if item.pid == pid], "memory")
        return memory[0] / 1e6 if memory and memory[0] is not None else None

    def memory_free_mb(self, index: int) -> float | None:
        """Free GPU memory in MB."""
        free = _Query().run(lambda: self._of("MemoryInfo", index).free, "memory")
        return None if free is None else free / 1e6

    def describe(self, index: int) -> dict[str, Any]:
        """Facts of a GPU for the record; empty without a GPU."""
        query = _Query()
        if query.run(lambda: self._device(index), "the GPU") is None:
            return {}
        facts: dict[str, Callable[[], Any]] = {
            "name": lambda: self._of("Name", index),
            "driver": lambda: self._system("DriverVersion"),
            "memory_gb": lambda: round(self._of("MemoryInfo", index).total / 2**30, 1),
            "power_limit_w": lambda: self._of("EnforcedPowerLimit", index) / 1e3,
            "max_sm_mhz": lambda: self._of("MaxClockInfo", index, self._library.NVML_CLOCK_SM),
            "persistence": lambda: bool(self._of("PersistenceMode", index)),
            "mig": lambda: bool(self._of("MigMode", index)[0]),
        }
        return {name: query.run(read, name) for name, read in facts.items()}

    def describe_all(self) -> list[dict[str, Any]]:
        """Facts of every GPU that CUDA may use, by its index."""
        count = _Query().run(lambda: len(self._visible()), "the number of GPUs")
        return [facts for index in range(count or 0) if (facts := self.describe(index))]

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        """The library, or the reason that it is missing."""
        try:
            return self.load(), ""
        except ImportError:
            return None, "NVML is not available; run: pip install nvidia-ml-py"
        except Exception as error:  # no driver, or another version than the library
            return None, f"NVML is not available ({one_line(error)})"

    @property
    def _library(self) -> Any:
        library, reason = self._loaded
        if library is None:
            raise _Absent(reason)
        return library

    def _visible(self) -> Sequence[str]:
        """The GPUs in CUDA's order, each by NVML's number or a UUID. CUDA stops at the first invalid name."""
        count = self._library.nvmlDeviceGetCount()
        named = self.environ.get(VISIBLE)
        if named is None:
            return [str(number) for number in range(count)]
        return list(takewhile(lambda name: name and not name.startswith("-"), (text.strip() for text in named.split(","))))

    def _device(self, index: int) -> Any:
        """Handle of CUDA's GPU `index`."""
        if index not in self._devices:
            visible = self._visible()
            if index >= len(visible):
                raise _Absent(f"NVML shows no GPU {index} ({VISIBLE}={self.environ.get(VISIBLE, 'all')})")
            self._devices[index] = self._named(visible[index])
        return self._devices[index]

    def _named(self, name: str) -> Any:
        library = self._library
        count = library.nvmlDeviceGetCount()
        if name.isdecimal():
            if count > 1 and self.environ.get(ORDER) != PCI_ORDER:
                raise _Absent(f"{ORDER}={self.environ.get(ORDER)} can differ from NVML's order; set {ORDER}={PCI_ORDER}")
            return library.nvmlDeviceGetHandleByIndex(int(name))
        if name.startswith("MIG-"):
            return library.nvmlDeviceGetHandleByUUID(name)
        for device in (library.nvmlDeviceGetHandleByIndex(number) for number in range(count)):
            if library.nvmlDeviceGetUUID(device).startswith(name):  # CUDA accepts the beginning of a UUID
                return device
        raise _Absent(f"NVML shows no GPU {name}")

    def _of(self, query: str, index: int, *arguments: Any) -> Any:
        return getattr(self._library, f"nvmlDeviceGet{query}")(self._device(index), *arguments)

    def _system(self, query: str) -> Any:
        return getattr(self._library, f"nvmlSystemGet{query}")()

    def _look(self, index: int) -> GpuCounts:
        """Current levels, causes of lower clocks, and number of other processes."""
        query = _Query()
        return GpuCounts(
            sm_mhz=query.run(lambda: self._of("ClockInfo", index, self._library.NVML_CLOCK_SM), "its clock"),
            memory_mhz=query.run(lambda: self._of("ClockInfo", index, self._library.NVML_CLOCK_MEM), "its memory's clock"),
            temperature_c=query.run(
                lambda: self._of("Temperature", index, self._library.NVML_TEMPERATURE_GPU), "its temperature"
            ),
            power_w=query.run(lambda: self._of("PowerUsage", index) / 1e3, "its power"),
            throttle=query.run(lambda: tuple(self._throttle(index)), "the cause of its lower clocks"),
            others=query.run(lambda: self._others(index), "other processes on it"),
            reason=query.reason,
        )

    def _throttle(self, index: int) -> list[str]:
        """Causes of lower clocks. Drivers before 535 have only the query's older name."""
        bits = _Query().run(lambda: self._of("CurrentClocksEventReasons", index), "")
        bits = self._of("CurrentClocksThrottleReasons", index) if bits is None else bits
        return [name for name, bit in SLOWED.items() if bits & bit]

    def _processes(self, index: int) -> Sequence[Any]:
        """Processes with a context on the GPU, each with `pid` and `usedGpuMemory`."""
        processes: Sequence[Any] = self._of("ComputeRunningProcesses", index)
        return processes

    def _others(self, index: int) -> int:
        """Number of processes on the GPU outside this run: not this process, its parent or the parent's
        workers.

        `LookupError` if the list lacks this process: its numbers are then those of another PID namespace (a
        container's host).
        """
        pids = {item.pid for item in self._processes(index)}
        if self.pid not in pids:
            raise LookupError("its process numbers are those of another PID namespace")
        parent = self._parent(self.pid)
        return sum(pid not in (self.pid, parent) and (parent is None or self._parent(pid) != parent) for pid in pids)

    def _parent(self, pid: int) -> int | None:
        """Parent of `pid`: field 4 of /proc/PID/stat, after the name, which may contain anything (proc(5))."""
        fields = procfs.read_text(self.proc / str(pid) / "stat").rpartition(")")[2].split()
        return int(fields[1]) if len(fields) > 1 else None


def _both(first: GpuCounts, last: GpuCounts) -> GpuCounts:
    """Levels of the second reading, the clock of both, and the causes and processes of either."""
    slowed = [look.throttle for look in (first, last) if look.throttle is not None]
    return replace(
        last,
        sm_begin_mhz=first.sm_mhz,
        throttle=tuple(name for name in SLOWED if any(name in causes for causes in slowed)) if slowed else None,
        others=max((look.others for look in (first, last) if look.others is not None), default=None),
        reason=first.reason or last.reason,
    )
