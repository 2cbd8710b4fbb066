"""Processes that are stopped between their turns: which ones, when they go on, and what they wait for."""

from dataclasses import replace

import pytest
from onnxbench.backends.null import Null
from onnxbench.runners.worker.blocks import rest_before
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.serve import State

from .fake_worker import InProcess
from .groups import BUDGET, Works, active_of, measure

LIVES = replace(BUDGET, looks=(10,), life_rounds=5, rate_rounds=5)


class Stoppable(InProcess):
    """A worker that can be stopped, and goes on with its next job. `seen`: the jobs, and `pause`."""

    can_pause = True

    def __init__(self, *about, **how):
        super().__init__(*about, **how)
        self.seen = []

    def ask(self, job, timeout_s, on_report=None):
        self.seen.append((type(job).__name__, getattr(job, "rest", None)))
        return super().ask(job, timeout_s, on_report)

    def pause(self):
        self.seen.append(("pause", None))


def visits(worker):
    """What followed each part of a visit: the part, what it was asked, and the next thing that was seen."""
    return {(*one, other[0]) for one, other in zip(worker.seen, worker.seen[1:]) if one[0].startswith("Time")}


def measured(folder, *names, worker=Stoppable, budget=LIVES):
    works = Works()
    works.worker = worker
    return measure(folder, [active_of(name) for name in names], works, budget=budget)


def test_a_process_is_stopped_after_each_part_of_a_visit_and_does_not_rest(tmp_path):
    found = measured(tmp_path, "fp32/1", "bf16/1")
    of_lives = found.works.hired[2:]  # the first two compare answers and search the concurrency
    assert len(of_lives) == 2 * 2
    for worker in of_lives:
        assert visits(worker) == {("TimeLatency", False, "pause"), ("TimeThroughput", False, "pause")}
        assert worker.seen.count(("pause", None)) == 5 + 1


def test_a_process_that_cannot_be_stopped_rests(tmp_path):
    kept = type("Kept", (Stoppable,), {"can_pause": False, "pause": InProcess.pause})
    found = measured(tmp_path, "fp32/1", worker=kept)
    assert {rest for worker in found.works.hired for name, rest in worker.seen if name.startswith("Time")} == {True}


def test_a_process_of_a_gpu_is_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(Null, "device_kind", "cuda")
    works, active = Works(), active_of("fp32/1")
    works.worker = Stoppable
    planned = replace(active.planned, cell=replace(active.planned.cell, device="cuda:0"))
    found = measure(tmp_path, [replace(active, planned=planned)], works, budget=LIVES)
    seen = [what for worker in found.works.hired for what in worker.seen]
    assert {rest for name, rest in seen if name.startswith("Time")} == {True}
    assert ("pause", None) not in seen


def test_a_set_has_all_rounds_of_a_life_before_the_next_set(tmp_path):
    found = measured(tmp_path, "fp32/1", "bf16/1", "fp32/8", "bf16/8")
    timed = [name.partition("/")[2] for name in found.names("latency")]
    for life in (timed[:20], timed[20:]):
        assert life in (["1"] * 10 + ["8"] * 10, ["8"] * 10 + ["1"] * 10)
    assert [found.rounds(name) for name in found.cells] == [list(range(10))] * 4


def test_without_lives_each_round_has_all_sets(tmp_path):
    found = measured(tmp_path, "fp32/1", "fp32/8", budget=replace(BUDGET, looks=(3,)))
    timed = [name.partition("/")[2] for name in found.names("latency")]
    assert [set(timed[begin : begin + 2]) for begin in (0, 2, 4)] == [{"1", "8"}] * 3


@pytest.fixture
def worker(tmp_path):
    """A worker with two open cells, and the number of times that it slept."""
    slept = []
    state = State(clock=Clock(now_ns=iter(range(0, 10**9, 100)).__next__, cpu_ns=lambda: 0, sleep_s=slept.append))
    return state, slept


def test_a_cell_waits_for_the_threads_of_another_one_and_not_for_its_own(worker):
    state, slept = worker
    for key, waits in (("a", 0), ("a", 0), ("b", 1), ("b", 1)):
        rest_before(state, key)
        state.spinning = key
        assert len(slept) == waits
    rest_before(state, "b")
    assert (state.spinning, len(slept)) == ("", 1)


def test_a_block_beside_threads_that_are_never_idle_says_so(worker):
    state, _ = worker
    busy = iter(range(0, 10**12, 10**7))  # 10 ms of CPU time between two looks
    state.clock = replace(state.clock, cpu_ns=busy.__next__, now_ns=iter(range(0, 10**12, 10**7)).__next__)
    state.spinning = "a"
    assert rest_before(state, "b") is False
    assert rest_before(state, "b") is True
