"""What NVML tells, with a library that tests make up: no GPU, some of its queries failing, several GPUs, others' processes."""

import json

import pytest
from onnxbench.evidence import GpuCounts
from onnxbench.runners.worker.nvml import SLOWED, Nvml, environment
from onnxbench.spec import from_wire, to_wire

from .fake_nvml import PID, FakeNvml, process, write_proc

PCI = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
THREE = ("GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333")
MISSING = "NVML is not available; run: pip install nvidia-ml-py"


def absent():
    raise ModuleNotFoundError("No module named 'pynvml'")


@pytest.fixture
def nvml(tmp_path):
    """NVML on a fake library; this process is PID, a worker of 10, which has another one, 101."""
    parents = write_proc(tmp_path, {PID: 10, 101: 10, 10: 1, 200: 1, 201: 200})

    def make(library=None, environ=PCI, load=None):
        return Nvml(load=load or (lambda: library or FakeNvml()), environ=environ, pid=PID, proc=parents)

    return make


def counted(found):
    return found.watch(0)()


def test_what_was_seen_is_json(nvml):
    found = counted(nvml())
    assert from_wire(GpuCounts, json.loads(json.dumps(to_wire(found), allow_nan=False))) == found
    assert found == GpuCounts(
        sm_mhz=1755, sm_begin_mhz=1755, memory_mhz=2619, temperature_c=60, power_w=350.5, throttle=(), others=0
    )


def test_levels_are_those_of_the_end(nvml):
    library = FakeNvml()
    library.celsius = [60, 71]
    assert counted(nvml(library)).temperature_c == 71


def test_energy_is_what_the_counter_says_in_mj(nvml):
    found = nvml(FakeNvml(step_mj=500))
    assert [found.energy_mj(0), found.energy_mj(0)] == [(7500.0, None), (8000.0, None)]


def test_energy_that_cannot_be_read_has_a_reason(nvml):
    assert nvml(load=absent).energy_mj(0) == (None, MISSING)
    failing = nvml(FakeNvml(failing=("TotalEnergyConsumption",)))
    assert failing.energy_mj(0) == (None, "NVML does not report its energy (Not Supported)")


def test_to_watch_reads_no_energy(nvml):
    library = FakeNvml()
    counted(nvml(library))
    assert "TotalEnergyConsumption" not in [query[0] for query in library.asked]


@pytest.mark.parametrize(("bits", "names"), [(0x4, ("sw_power_cap",)), (0x48, ("hw_slowdown", "hw_thermal_slowdown"))])
def test_what_held_the_clocks_down_at_either_end_is_told(nvml, bits, names):
    library = FakeNvml()
    for library.bits in ([bits, 0], [0, bits], [bits, bits]):
        assert counted(nvml(library)).throttle == names


@pytest.mark.parametrize("bit", [0x1, 0x2, 0x10, 0x100])
def test_idleness_and_clocks_that_somebody_chose_do_not_slow_down(nvml, bit):
    library = FakeNvml()
    library.bits = [bit]
    assert counted(nvml(library)).throttle == ()


def test_every_reason_that_slows_down_has_its_bit(nvml):
    library = FakeNvml()
    library.bits = [0xFFFF]
    assert counted(nvml(library)).throttle == tuple(SLOWED)
    assert list(SLOWED.values()) == [0x4, 0x8, 0x20, 0x40, 0x80]


def test_an_older_driver_tells_the_reasons_by_their_older_name(nvml):
    library = FakeNvml(failing=("CurrentClocksEventReasons",))
    library.bits = [0x20]
    found = counted(nvml(library))
    assert (found.throttle, found.reason) == (("sw_thermal_slowdown",), None)


@pytest.mark.parametrize(
    ("pids", "others"),
    [([PID], 0), ([PID, 10], 0), ([PID, 101, 10], 0), ([PID, 200], 1), ([PID, 201, 200, 101], 2), ([PID, 999], 1)],
)
def test_other_processes_are_those_that_are_not_of_this_run(nvml, pids, others):
    """Neither this one, nor its parent, nor that one's other children; one that cannot be seen is another user's."""
    library = FakeNvml()
    library.processes = [[process(pid) for pid in pids]]
    assert counted(nvml(library)).others == others


def test_the_most_others_of_both_looks_count(nvml):
    library = FakeNvml()
    library.processes = [[process(PID), process(200)], [process(PID)]]
    assert counted(nvml(library)).others == 1
    library.processes = [[process(PID)], [process(PID), process(200), process(201)]]
    assert counted(nvml(library)).others == 2


@pytest.mark.parametrize("pids", [[], [4711, 4712]])
def test_a_list_without_this_process_tells_nothing_of_others(nvml, pids):
    library = FakeNvml()
    library.processes = [[process(pid) for pid in pids]]
    found = counted(nvml(library))
    assert found.others is None
    assert "PID namespace" in found.reason


def test_without_the_library_nothing_is_known_and_one_reason_is(nvml):
    found = nvml(load=absent)
    assert counted(found) == GpuCounts(reason=MISSING)
    assert (found.memory_free_mb(0), found.memory_of(PID, 0), found.describe(0), found.describe_all()) == (None, None, {}, [])


def test_without_a_driver_the_librarys_words_are_the_reason(nvml):
    def no_driver():
        raise RuntimeError("Driver Not Loaded")

    assert counted(nvml(load=no_driver)).reason == "NVML is not available (Driver Not Loaded)"


def test_the_library_is_loaded_once_and_not_before_it_is_asked():
    loads = []
    found = Nvml(load=lambda: loads.append(1) or FakeNvml(), environ=PCI, pid=PID)
    assert loads == []
    counted(found)
    found.describe_all()
    assert loads == [1]


@pytest.mark.parametrize(
    ("query", "figures", "reason"),
    [
        ("ClockInfo", ["sm_mhz", "sm_begin_mhz", "memory_mhz"], "its clock"),
        ("Temperature", ["temperature_c"], "its temperature"),
        ("PowerUsage", ["power_w"], "its power"),
        ("ComputeRunningProcesses", ["others"], "other processes on it"),
    ],
)
def test_a_query_that_fails_costs_its_own_figure_alone(nvml, query, figures, reason):
    found = counted(nvml(FakeNvml(failing=(query,))))
    assert [name for name, value in to_wire(found).items() if value is None] == figures
    assert found.reason == f"NVML does not report {reason} (Not Supported)"


def test_reasons_that_cannot_be_read_are_not_taken_for_none(nvml):
    found = counted(nvml(FakeNvml(failing=("CurrentClocksEventReasons", "CurrentClocksThrottleReasons"))))
    assert found.throttle is None
    assert "clocks (Not Supported)" in found.reason


@pytest.mark.parametrize(
    ("visible", "free_mb"),
    [
        (None, [1500, 3000, 4500, None]),
        ("2,0", [4500, 1500, None, None]),
        (" 1 ", [3000, None, None, None]),
        ("GPU-cccc3333,GPU-aaaa1111", [4500, 1500, None, None]),
        ("GPU-bbbb", [3000, None, None, None]),
        ("GPU-dddd", [None, None, None, None]),
        ("1,-1,2", [3000, None, None, None]),
        ("", [None, None, None, None]),
        ("7", [None, None, None, None]),
    ],
)
def test_a_gpu_is_meant_by_cudas_index(nvml, visible, free_mb):
    found = nvml(FakeNvml(THREE), environ=PCI if visible is None else {**PCI, "CUDA_VISIBLE_DEVICES": visible})
    assert [found.memory_free_mb(index) for index in range(4)] == free_mb


def test_a_part_of_a_gpu_is_asked_by_its_own_uuid(nvml):
    library = FakeNvml(THREE)
    counted(nvml(library, environ={**PCI, "CUDA_VISIBLE_DEVICES": "MIG-1234"}))
    assert {query[1] for query in library.asked if len(query) > 1} == {"MIG-1234"}


@pytest.mark.parametrize("environ", [{}, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}])
def test_where_cuda_may_number_gpus_otherwise_a_number_is_not_trusted(nvml, environ):
    assert nvml(FakeNvml(THREE), environ=environ).memory_free_mb(0) is None
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in counted(nvml(FakeNvml(THREE), environ=environ)).reason
    assert nvml(FakeNvml(THREE[:1]), environ=environ).memory_free_mb(0) == 1500
    assert nvml(FakeNvml(THREE), environ={**environ, "CUDA_VISIBLE_DEVICES": "GPU-bbbb2222"}).memory_free_mb(0) == 3000


def test_a_workers_cuda_numbers_gpus_as_nvml_does_unless_the_user_says_otherwise():
    assert environment({"PATH": "/bin"}) == {"PATH": "/bin", **PCI}
    assert environment({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) == {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert environment(Nvml().environ) == Nvml().environ


def test_a_gpu_that_is_not_there_is_the_reason(nvml):
    found = nvml(FakeNvml(), environ={**PCI, "CUDA_VISIBLE_DEVICES": ""})
    assert counted(found).reason == "NVML shows no GPU 0 (CUDA_VISIBLE_DEVICES=)"


def test_memory_is_told_by_process_in_mb(nvml):
    library = FakeNvml()
    library.processes = [[process(PID, 512_000_000), process(101, 3_000_000), process(200)]]
    found = nvml(library)
    assert [found.memory_of(pid, 0) for pid in (PID, 101, 200, 999)] == [512, 3, None, None]


def test_a_gpu_is_described_in_json(nvml):
    found = nvml(FakeNvml(failing=("PersistenceMode",))).describe_all()
    assert json.loads(json.dumps(found)) == found
    assert found == [
        {
            **{"name": "GPU 0", "driver": "580.1", "memory_gb": 80.0, "power_limit_w": 700.0, "max_sm_mhz": 1980},
            **{"persistence": None, "mig": False},
        }
    ]


def test_gpus_are_described_as_cuda_numbers_them(nvml):
    found = nvml(FakeNvml(THREE), environ={**PCI, "CUDA_VISIBLE_DEVICES": "2,1"})
    assert [gpu["name"] for gpu in found.describe_all()] == ["GPU 2", "GPU 1"]
