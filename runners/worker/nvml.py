"""What NVML tells of a GPU: its energy, clocks and memory, and what held it down or shared it while it was measured.

Standard library, and the package `nvidia-ml-py` (module `pynvml`) where it is installed: workers in other environments use
it. Nothing here raises; what is not told is None, and one reason says why. Names and units of the library are those of
nvml.h: energy in mJ, power in mW, memory in bytes, clocks in MHz.

A GPU is meant by CUDA's index. NVML numbers GPUs by their place on the PCI bus, and shows all of them; CUDA numbers the
fastest first unless CUDA_DEVICE_ORDER=PCI_BUS_ID, and shows those of CUDA_VISIBLE_DEVICES, in that order. So workers get that
order (`environment`), and a list of visible ones, by number or UUID, is followed. Where a user has set another order and
there are several GPUs, a number is not trusted, for the evidence could be another GPU's.
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
from . import procfs

ORDER, PCI_ORDER, VISIBLE = "CUDA_DEVICE_ORDER", "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES"

# Why clocks are lower than they could be (nvml.h, nvmlClocksEventReason*). The others say that nothing is to be done, or
# that somebody chose the clocks.
SLOWED: Mapping[str, int] = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
}


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker's environment is: `environ`, and CUDA numbers GPUs as NVML does unless that says otherwise."""
    return {ORDER: PCI_ORDER, **environ}


def _pynvml() -> Any:
    import pynvml

    pynvml.nvmlInit()
    return pynvml


class _Absent(Exception):
    """There is no such GPU to ask; the message is the whole reason."""


@dataclass
class _Told:
    """Takes answers to queries: None for those that fail, and why the first of them did."""

    reason: str | None = None

    def by(self, query: Callable[[], Any], what: str) -> Any:
        try:
            return query()
        except Exception as error:  # whatever is the matter there, the measurement goes on
            reason = str(error) if isinstance(error, _Absent) else f"NVML does not tell {what} ({one_line(error)})"
            self.reason = self.reason or reason
            return None


@dataclass(kw_only=True)
class Nvml:
    """NVML as this process sees it, loaded when it is first asked. `pid`: who asks; `proc`: where processes are found."""

    load: Callable[[], Any] = _pynvml
    environ: Mapping[str, str] = field(default_factory=lambda: environment(os.environ))
    pid: int = field(default_factory=os.getpid)
    proc: Path = procfs.PROC
    _devices: dict[int, Any] = field(default_factory=dict)

    def watch(self, index: int) -> Callable[[], GpuCounts]:
        """Look at a GPU; what is returned looks again, and says what was seen.

        Levels are those at the end; `throttle` has what held the clocks down at either end, and `others` the most
        processes that were not this run's. `reason` is there if something is not told.
        """
        first = self._look(index)
        return lambda: _both(first, self._look(index))

    def energy_mj(self, index: int) -> tuple[float | None, str | None]:
        """mJ that the board has used since the driver was loaded, as they were last renewed; or None, and why."""
        told = _Told()
        return told.by(lambda: float(self._of("TotalEnergyConsumption", index)), "its energy"), told.reason

    def memory_of(self, pid: int, index: int) -> float | None:
        """MB of the GPU's memory that the process `pid` holds: its CUDA context, weights, activations and caches."""
        found = _Told().by(lambda: [item.usedGpuMemory for item in self._processes(index) if item.pid == pid], "memory")
        return found[0] / 1e6 if found and found[0] is not None else None

    def memory_free_mb(self, index: int) -> float | None:
        """MB of the GPU's memory that nobody holds."""
        free = _Told().by(lambda: self._of("MemoryInfo", index).free, "memory")
        return None if free is None else free / 1e6

    def describe(self, index: int) -> dict[str, Any]:
        """Facts of a GPU for the record; empty where there is none to ask."""
        told = _Told()
        if told.by(lambda: self._device(index), "the GPU") is None:
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
        return {name: told.by(query, name) for name, query in facts.items()}

    def describe_all(self) -> list[dict[str, Any]]:
        """Facts of every GPU that CUDA may use, by its index."""
        count = _Told().by(lambda: len(self._visible()), "how many GPUs there are")
        return [facts for index in range(count or 0) if (facts := self.describe(index))]

    @cached_property
    def _loaded(self) -> tuple[Any, str]:
        """The library, or why there is none."""
        try:
            return self.load(), ""
        except ImportError:
            return None, "no NVML here: pip install nvidia-ml-py"
        except Exception as error:  # no driver, or one that does not fit
            return None, f"no NVML here: {one_line(error)}"

    @property
    def _library(self) -> Any:
        library, reason = self._loaded
        if library is None:
            raise _Absent(reason)
        return library

    def _visible(self) -> Sequence[str]:
        """The GPUs that CUDA numbers, in its order, each by NVML's number or a UUID. CUDA stops at the first that is none."""
        count = self._library.nvmlDeviceGetCount()
        named = self.environ.get(VISIBLE)
        if named is None:
            return [str(number) for number in range(count)]
        return list(takewhile(lambda name: name and not name.startswith("-"), (text.strip() for text in named.split(","))))

    def _device(self, index: int) -> Any:
        """The handle of CUDA's GPU `index`."""
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
                raise _Absent(f"{ORDER}={self.environ.get(ORDER)} may number GPUs otherwise than NVML: use {PCI_ORDER}")
            return library.nvmlDeviceGetHandleByIndex(int(name))
        if name.startswith("MIG-"):
            return library.nvmlDeviceGetHandleByUUID(name)
        for device in (library.nvmlDeviceGetHandleByIndex(number) for number in range(count)):
            if library.nvmlDeviceGetUUID(device).startswith(name):  # CUDA takes a UUID's beginning too
                return device
        raise _Absent(f"NVML shows no GPU {name}")

    def _of(self, query: str, index: int, *arguments: Any) -> Any:
        return getattr(self._library, f"nvmlDeviceGet{query}")(self._device(index), *arguments)

    def _system(self, query: str) -> Any:
        return getattr(self._library, f"nvmlSystemGet{query}")()

    def _look(self, index: int) -> GpuCounts:
        """Levels, what holds the clocks down, and who else is there, now."""
        told = _Told()
        return GpuCounts(
            sm_mhz=told.by(lambda: self._of("ClockInfo", index, self._library.NVML_CLOCK_SM), "its clock"),
            memory_mhz=told.by(lambda: self._of("ClockInfo", index, self._library.NVML_CLOCK_MEM), "its memory's clock"),
            temperature_c=told.by(
                lambda: self._of("Temperature", index, self._library.NVML_TEMPERATURE_GPU), "its temperature"
            ),
            power_w=told.by(lambda: self._of("PowerUsage", index) / 1e3, "its power"),
            throttle=told.by(lambda: tuple(self._throttle(index)), "what holds its clocks down"),
            others=told.by(lambda: self._others(index), "who else uses it"),
            reason=told.reason,
        )

    def _throttle(self, index: int) -> list[str]:
        """By the query's new name, or the one that drivers before 535 know."""
        bits = _Told().by(lambda: self._of("CurrentClocksEventReasons", index), "")
        bits = self._of("CurrentClocksThrottleReasons", index) if bits is None else bits
        return [name for name, bit in SLOWED.items() if bits & bit]

    def _processes(self, index: int) -> Sequence[Any]:
        """Those that hold a context on the GPU, each with `pid` and `usedGpuMemory`."""
        found: Sequence[Any] = self._of("ComputeRunningProcesses", index)
        return found

    def _others(self, index: int) -> int:
        """How many processes compute there that are not this run's: this one, its parent, and the parent's other workers.

        A process that measures is in the list itself. Where it is not, the list has the numbers of another PID namespace
        (a container's host), and tells nothing of who is who.
        """
        pids = {item.pid for item in self._processes(index)}
        if self.pid not in pids:
            raise LookupError("its process numbers are not those of here")
        parent = self._parent(self.pid)
        return sum(pid not in (self.pid, parent) and (parent is None or self._parent(pid) != parent) for pid in pids)

    def _parent(self, pid: int) -> int | None:
        """The parent of `pid`: field 4 of /proc/PID/stat, after the name, which may hold anything (proc(5))."""
        fields = procfs.read_text(self.proc / str(pid) / "stat").rpartition(")")[2].split()
        return int(fields[1]) if len(fields) > 1 else None


def _both(first: GpuCounts, last: GpuCounts) -> GpuCounts:
    """Both looks as one: levels of the second, and of the rest the findings of either."""
    slowed = [look.throttle for look in (first, last) if look.throttle is not None]
    return replace(
        last,
        throttle=tuple(name for name in SLOWED if any(name in found for found in slowed)) if slowed else None,
        others=max((look.others for look in (first, last) if look.others is not None), default=None),
        reason=first.reason or last.reason,
    )
