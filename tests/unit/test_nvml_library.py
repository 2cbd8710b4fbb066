"""NVML's library called without the package: a library that tests make up, whose functions fill what they are given."""

import ctypes

import pytest
from onnxbench.evidence import GpuCounts
from onnxbench.runners.worker import nvml_library
from onnxbench.runners.worker.nvml import Nvml
from onnxbench.runners.worker.nvml_library import NvmlError, NvmlLibrary

from .fake_nvml import FakeNvml, write_proc

NOT_SUPPORTED, TOO_SMALL, NO_FUNCTION = 3, 7, 13
TEXTS = {3: b"Not Supported", 13: b"Function Not Found"}
PID = 100


def filled(reference, value):
    """Write to where a `ctypes.byref` points."""
    reference._obj.value = value
    return 0


class ErrorString:
    """A function that a type of its result can be given to, as functions of ctypes have it."""

    restype = None

    def __call__(self, status):
        assert self.restype is ctypes.c_char_p
        return TEXTS[status]


class Driver:
    """Functions of the library. `failing`: the status of functions by their names. `absent`: those that it lacks."""

    def __init__(self, failing=None, absent=(), pids=(PID, 7)):
        self.failing, self.absent, self.pids, self.calls = failing or {}, absent, pids, []
        self.nvmlErrorString = ErrorString()

    def __getattr__(self, name):
        if name in self.absent or not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            return self.failing.get(name) or getattr(self, f"_{name.removeprefix('nvml')}")(*arguments)

        return call

    def _Init_v2(self):
        return 0

    def _DeviceGetCount_v2(self, count):
        return filled(count, 2)

    def _DeviceGetHandleByIndex_v2(self, index, handle):
        return filled(handle, 1000 + index.value)

    def _DeviceGetHandleByUUID(self, uuid, handle):
        return filled(handle, int(uuid.value.decode().removeprefix("MIG-")))

    def _DeviceGetTotalEnergyConsumption(self, device, energy):
        return filled(energy, 5_000_000_000 + device.value)

    def _DeviceGetClockInfo(self, device, which, clock):
        return filled(clock, {1: 1980, 2: 3201}[which.value])

    def _DeviceGetTemperature(self, device, sensor, celsius):
        return filled(celsius, 40 + sensor.value)

    def _DeviceGetPowerUsage(self, device, milliwatts):
        return filled(milliwatts, 120_500)

    def _DeviceGetCurrentClocksEventReasons(self, device, bits):
        return filled(bits, 0x4)

    def _DeviceGetCurrentClocksThrottleReasons(self, device, bits):
        return filled(bits, 0x8)

    def _DeviceGetMemoryInfo(self, device, memory):
        memory._obj.total, memory._obj.free, memory._obj.used = 150 << 30, 149 << 30, 1 << 30
        return 0

    def _DeviceGetMigMode(self, device, current, pending):
        return filled(current, 0) or filled(pending, 1)

    def _DeviceGetName(self, device, buffer, length):
        buffer.value = b"NVIDIA H200"
        return 0 if length.value == len(buffer) else TOO_SMALL

    def _SystemGetDriverVersion(self, buffer, length):
        buffer.value = b"580.1"
        return 0

    def _DeviceGetComputeRunningProcesses_v3(self, device, count, processes):
        if processes is None:
            return filled(count, len(self.pids)) or (TOO_SMALL if self.pids else 0)
        for place, pid in enumerate(self.pids):
            processes[place].pid = pid
            processes[place].usedGpuMemory = nvml_library.UNKNOWN if place else 512_000_000
        return filled(count, len(self.pids))

    def _DeviceSetGpuLockedClocks(self, device, low, high):
        self.locked = (device.value, low.value, high.value)
        return 0


def test_the_structures_are_those_of_the_header():
    assert (ctypes.sizeof(nvml_library._Process), ctypes.sizeof(nvml_library._Memory)) == (24, 24)
    assert nvml_library._Process.usedGpuMemory.offset == 8


def test_what_a_gpu_does_is_read_without_the_package(tmp_path):
    parents = write_proc(tmp_path, {PID: 10, 7: 1, 10: 1})
    nvml = Nvml(load=lambda: NvmlLibrary(Driver()), environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, pid=PID, proc=parents)
    assert nvml.watch(1)() == GpuCounts(
        sm_mhz=1980,
        sm_begin_mhz=1980,
        memory_mhz=3201,
        temperature_c=40,
        power_w=120.5,
        throttle=("sw_power_cap",),
        others=1,
    )
    assert nvml.energy_mj(1) == (5_000_001_001.0, None)
    assert (nvml.memory_of(PID, 0), nvml.memory_of(7, 0)) == (512, None)
    assert nvml.memory_free_mb(0) == pytest.approx((149 << 30) / 1e6)
    facts = nvml.describe_all()
    assert {(gpu["name"], gpu["driver"], gpu["memory_gb"], gpu["mig"]) for gpu in facts} == {
        ("NVIDIA H200", "580.1", 150, False)
    }
    assert len(facts) == 2


def test_it_has_every_query_that_the_other_library_has():
    driver = NvmlLibrary(Driver())
    names = [name for name in vars(FakeNvml) if name.startswith("_") and not name.startswith(("__", "_next"))]
    for name in names:
        query = "nvml" + name.removeprefix("_") if name.startswith("_System") else "nvmlDeviceGet" + name.removeprefix("_")
        assert callable(getattr(driver, query))


def test_an_error_has_the_librarys_own_words():
    failing = Driver({"nvmlDeviceGetTotalEnergyConsumption": NOT_SUPPORTED})
    nvml = Nvml(load=lambda: NvmlLibrary(failing), environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert nvml.energy_mj(0) == (None, "NVML does not report its energy (Not Supported)")
    with pytest.raises(NvmlError, match=r"^Not Supported$"):
        NvmlLibrary(Driver({"nvmlDeviceGetName": NOT_SUPPORTED})).nvmlDeviceGetName(None)


def test_an_older_driver_has_the_older_name_of_a_query(tmp_path):
    library = NvmlLibrary(Driver(absent=("nvmlDeviceGetCurrentClocksEventReasons",)))
    with pytest.raises(NvmlError, match=r"^Function Not Found$"):
        library.nvmlDeviceGetCurrentClocksEventReasons(library.nvmlDeviceGetHandleByIndex(0))
    assert Nvml(load=lambda: library, environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}).watch(0)().throttle == ("hw_slowdown",)


def test_a_gpu_without_processes_has_none():
    library = NvmlLibrary(Driver(pids=()))
    assert library.nvmlDeviceGetComputeRunningProcesses(library.nvmlDeviceGetHandleByIndex(0)) == []
    failing = NvmlLibrary(Driver({"nvmlDeviceGetComputeRunningProcesses_v3": NOT_SUPPORTED}))
    with pytest.raises(NvmlError, match=r"^Not Supported$"):
        failing.nvmlDeviceGetComputeRunningProcesses(None)


def test_a_part_of_a_gpu_and_a_lock_are_passed_on():
    driver = Driver()
    library = NvmlLibrary(driver)
    assert library.nvmlDeviceGetHandleByUUID("MIG-12").value == 12
    library.nvmlDeviceSetGpuLockedClocks(library.nvmlDeviceGetHandleByIndex(1), 1500, 0xFFFFFF01)
    assert driver.locked == (1001, 1500, 0xFFFFFF01)
    with pytest.raises(AttributeError):
        library.nvmlDeviceGetSerial  # noqa: B018


def test_without_a_driver_there_is_one_reason(monkeypatch):
    monkeypatch.setattr(nvml_library, "LIBRARY", "libno-such-library.so.9")
    _, reason = Nvml(load=nvml_library.load).energy_mj(0)
    assert reason.startswith("NVML is not available (libno-such-library.so.9")
