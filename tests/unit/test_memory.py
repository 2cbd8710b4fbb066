"""When there is no room for another crew, on the machine and on a GPU."""

import math
from types import SimpleNamespace

import pytest
from onnxbench.backends.null import Null
from onnxbench.results.store import record
from onnxbench.runners.pool import host
from onnxbench.runners.pool.memory import Limits, Room

CREW = SimpleNamespace(resident_mb=lambda: 100.0)


class Free:
    """What is free on GPUs, look by look."""

    def __init__(self, *looks):
        self.looks, self.asked = list(looks), []

    def __call__(self, index):
        self.asked.append(index)
        return self.looks.pop(0)


def room(*looks, resident_mb=math.inf):
    free = Free(*looks)
    return Room(Limits(resident_mb=resident_mb, gpu_free_mb=free)), free


def test_the_first_crew_always_has_room():
    assert not room(0)[0].begin([], "cuda:0")
    assert not room(resident_mb=0)[0].begin([], "cpu")


@pytest.mark.parametrize(("free_mb", "full"), [(119.9, True), (120, False), (5000, False), (None, False)])
def test_a_gpu_is_full_when_less_than_a_fifth_more_than_a_crew_took_is_free(free_mb, full):
    found, _ = room(1000, 900, free_mb)
    found.begin([], "cuda:0")
    found.end(CREW)
    assert found.begin([], "cuda:0") is full


def test_the_largest_crew_so_far_is_the_measure():
    found, _ = room(1000, 700, 700, 690, 350, 359)
    for full in (False, False, True):
        assert found.begin([], "cuda") is full
        found.end(CREW)


@pytest.mark.parametrize("looks", [(None, 500, 1), (500, None, 1), (100, 900, 1)])
def test_what_a_crew_took_and_nobody_told_bounds_nothing(looks):
    found, _ = room(*looks)
    found.begin([], "cuda:0")
    found.end(CREW)
    assert not found.begin([], "cuda:0")


def test_the_gpu_of_the_crew_is_asked_and_for_a_cpu_none_is():
    found, free = room(900, 900)
    found.begin([], "cuda:3")
    found.end(None)
    found.begin([], "cpu")
    found.end(CREW)
    assert free.asked == [3, 3]


@pytest.mark.parametrize(("resident", "full"), [(1.5, True), (2.5, False)])
def test_what_is_resident_bounds_crews_on_any_device(resident, full):
    found, _ = room(9000, 9000, 9000, resident_mb=resident * CREW.resident_mb())
    found.begin([], "cuda:0")
    found.end(CREW)
    assert found.begin([CREW], "cuda:0") is full


def described(found):
    """A bench on a machine whose GPU is described as it really is done."""
    found.works.host = lambda: host.describe(found.works.gpu)
    return found


def test_a_run_on_a_gpu_describes_it_and_asks_what_is_free_there(bench, monkeypatch):
    monkeypatch.setattr(Null, "device_kind", "cuda")
    found = described(bench())
    found.infer(batches=(1,))
    assert set(found.states.values()) == {"ok"}
    assert [gpu.name for gpu in record.read_run(found.out).host.gpus] == ["GPU 0"]
    crews = len(found.rows)
    assert found.works.nvml.asked.count(("MemoryInfo", 0)) == 1 + 2 * crews  # for its size, and around each crew


def test_a_run_on_a_cpu_asks_no_gpu_what_is_free(bench):
    found = described(bench())
    found.infer(batches=(1,))
    assert found.works.nvml.asked.count(("MemoryInfo", 0)) == 1
