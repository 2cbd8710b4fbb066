"""The NVIDIA driver's own library NVML, called without the package `nvidia-ml-py`. Standard library.

TensorRT, or a runtime of another Python, may live in an environment that lacks the package. The library itself comes with the
driver. Names, units and structures are those of nvml.h. Functions have the names that the package gives them, and raise
`NvmlError` with the library's own text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, TOO_SMALL, NO_FUNCTION = 0, 7, 13  # nvmlReturn_t
UNKNOWN = (1 << 64) - 1  # NVML_VALUE_NOT_AVAILABLE
TEXT_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE, the longest of the texts
SPARE = 8  # processes that may start between the question for their number and that for their list

NUMBERS: Mapping[str, Any] = {
    "nvmlDeviceGetTotalEnergyConsumption": ctypes.c_ulonglong,
    "nvmlDeviceGetClockInfo": ctypes.c_uint,
    "nvmlDeviceGetMaxClockInfo": ctypes.c_uint,
    "nvmlDeviceGetTemperature": ctypes.c_uint,
    "nvmlDeviceGetPowerUsage": ctypes.c_uint,
    "nvmlDeviceGetEnforcedPowerLimit": ctypes.c_uint,
    "nvmlDeviceGetPersistenceMode": ctypes.c_uint,
    "nvmlDeviceGetCurrentClocksEventReasons": ctypes.c_ulonglong,
    "nvmlDeviceGetCurrentClocksThrottleReasons": ctypes.c_ulonglong,
}
"""Queries that answer with one number, of this type."""

TEXTS = ("nvmlDeviceGetName", "nvmlDeviceGetUUID")
CHANGES = ("nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks")


class NvmlError(Exception):
    """A query that failed; the message is the library's."""


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of `nvmlDeviceGetComputeRunningProcesses_v3`."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("usedGpuMemory", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
    )


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProcess:
    """A process with a context on a GPU. `usedGpuMemory` in bytes; None where the driver does not report it."""

    pid: int
    usedGpuMemory: int | None


def load() -> NvmlLibrary:
    """Load and initialize the driver's library. Raises OSError without a driver, and `NvmlError`."""
    return NvmlLibrary(ctypes.CDLL(LIBRARY))


class NvmlLibrary:
    """The queries that this package uses, over `library`, the loaded library of the driver."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, library: Any) -> None:
        self._library = library
        self._library.nvmlErrorString.restype = ctypes.c_char_p
        self._call("nvmlInit_v2")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A query of NUMBERS, TEXTS or CHANGES."""
        if name in NUMBERS:
            return lambda *arguments: self._number(name, NUMBERS[name], *arguments)
        if name in TEXTS:
            return lambda *arguments: self._text(name, *arguments)
        if name in CHANGES:
            return lambda *arguments: self._call(name, *arguments)
        raise AttributeError(name)

    def nvmlDeviceGetCount(self) -> int:
        """Number of GPUs."""
        return int(self._number("nvmlDeviceGetCount_v2", ctypes.c_uint))

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """Handle of a GPU by its number on the PCI bus."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
        return handle

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        """Handle of a GPU, or of a part of one (MIG), by its UUID."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(uuid.encode()), ctypes.byref(handle))
        return handle

    def nvmlSystemGetDriverVersion(self) -> str:
        """Version of the driver."""
        return self._text("nvmlSystemGetDriverVersion")

    def nvmlDeviceGetMemoryInfo(self, device: Any) -> _Memory:
        """Memory of a GPU: `total`, `free` and `used` bytes."""
        memory = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return memory

    def nvmlDeviceGetMigMode(self, device: Any) -> tuple[int, int]:
        """Modes of MIG: the current one, and the one after the next restart."""
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        self._call("nvmlDeviceGetMigMode", device, ctypes.byref(current), ctypes.byref(pending))
        return current.value, pending.value

    def nvmlDeviceGetComputeRunningProcesses(self, device: Any) -> list[GpuProcess]:
        """Processes with a context on a GPU."""
        name, count = "nvmlDeviceGetComputeRunningProcesses_v3", ctypes.c_uint(0)
        if self._status(name, device, ctypes.byref(count), None) not in (SUCCESS, TOO_SMALL):
            self._call(name, device, ctypes.byref(count), None)
        count = ctypes.c_uint(count.value + SPARE)
        processes = (_Process * count.value)()
        self._call(name, device, ctypes.byref(count), processes)
        return [
            GpuProcess(pid=item.pid, usedGpuMemory=None if item.usedGpuMemory == UNKNOWN else item.usedGpuMemory)
            for item in processes[: count.value]
        ]

    def _number(self, name: str, kind: Any, *arguments: Any) -> Any:
        result = kind()
        self._call(name, *arguments, ctypes.byref(result))
        return result.value

    def _text(self, name: str, *arguments: Any) -> str:
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        self._call(name, *arguments, buffer, ctypes.c_uint(TEXT_BYTES))
        return buffer.value.decode(errors="replace")

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library. Raises `NvmlError` where it reports an error."""
        status = self._status(name, *arguments)
        if status != SUCCESS:
            raise NvmlError(self._library.nvmlErrorString(status).decode(errors="replace"))

    def _status(self, name: str, *arguments: Any) -> int:
        function = getattr(self._library, name, None)  # an older driver lacks newer functions
        # The header's integers are unsigned; ctypes would pass an int as a signed one.
        typed = (ctypes.c_uint(item) if isinstance(item, int) else item for item in arguments)
        return NO_FUNCTION if function is None else int(function(*typed))
