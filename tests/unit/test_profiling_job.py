"""The worker's job of a profile: turns, uncounted calls, times over calls."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, pairwise
from types import SimpleNamespace

import pytest
from onnxbench.backends.profiling import Ran, Recorded, SessionProfiler
from onnxbench.backends.protocol import SessionInfo
from onnxbench.errors import RuntimeFailed, Unsupported
from onnxbench.profiles import Kernel, Links
from onnxbench.runners.worker import profiling
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import There
from onnxbench.runners.worker.profile_jobs import Profile
from onnxbench.runners.worker.serve import State

KERNELS = [(Kernel(node=name), Links(covers=(name,))) for name in ("conv", "relu")]


class Machine:
    """A clock that moves when a session computes, and what happened in order."""

    def __init__(self):
        self.ns, self.events = 0, []

    def now(self):
        return self.ns


class FakeSession:
    recurrence = rotation = precede = None
    info = SessionInfo(executed="fp32")

    def __init__(self, machine, name, us, profiler=None):
        self._machine, self._name, self._us, self._profiler = machine, name, us, profiler

    def enter(self):
        self._machine.events.append(f"enter {self._name}")

    def start(self):
        self._machine.ns += self._us * 1000
        self._machine.events.append(self._name)

    def wait(self):
        pass

    def close(self):
        self._machine.events.append(f"close {self._name}")

    def profiler(self, folder):
        if self._profiler is None:
            raise Unsupported("no kernels here")
        return self._profiler


class FakeProfiler(SessionProfiler):
    """Two kernels, the first of 60 us in the first two calls and of 10 us in all others."""

    def __init__(self, machine, lost=0):
        self.session, self._machine, self._lost, self._count = FakeSession(machine, "profiled", 30), machine, lost, 0

    @contextmanager
    def turn(self):
        self._machine.events.append("on")
        yield
        self._machine.events.append("off")

    def collect(self):
        self._count += 1

    def read(self):
        calls = [[Ran(0, 60_000 if place < 2 else 10_000, 500.0), Ran(1, 5_000, 700.0)] for place in range(self._count)]
        return Recorded(kernels=KERNELS, calls=calls[self._lost :], step_ns=1000, graph="own.onnx")


@pytest.fixture
def asked(tmp_path):
    """Answer to the job, and the machine on which it was done."""

    def ask(turns=3, lost=0, profiles=True):
        machine = Machine()
        state = State(clock=Clock(now_ns=machine.now, cpu_ns=lambda: 0, sleep_s=lambda _: machine.events.append("rest")))
        session = FakeSession(machine, "plain", 20, FakeProfiler(machine, lost) if profiles else None)
        state.open_cells["key"] = SimpleNamespace(session=session)
        job = Profile(key="key", folder=There(path=str(tmp_path / "own")), turns=turns, turn_ms=0.2)
        return profiling.profile(state, lambda _: None, job), machine

    return ask


def test_times_are_those_of_the_counted_calls(asked):
    calls, _ = asked()
    times = [(kernel.node, kernel.ns, kernel.begin_ns) for kernel in calls.kernels]
    assert times == [("conv", 10_000, 0), ("relu", 5_000, 200)]
    assert (calls.p50_ns, calls.profiled_p50_ns, calls.kernels_ns) == (20_000, 30_000, 15_000)
    assert (calls.graph, calls.step_ns, calls.links[0].covers) == ("own.onnx", 1000, ("conv",))


def test_calls_with_the_profiler_and_without_it_take_turns(asked):
    _, machine = asked(turns=2)
    made = [event for event in machine.events if event in ("plain", "profiled")]
    assert [event for event, _ in groupby(made)] == ["plain", *(("profiled", "plain") * 2), "profiled"]
    changes = pairwise(event for event, _ in groupby(event for event in machine.events if event in (*made, "rest")))
    # threads that spin after a turn take no CPU from the next one
    assert all("rest" in change for change in changes)
    assert machine.events[-1] == "close profiled"


def test_the_profiler_is_on_for_its_own_calls_alone(asked):
    _, machine = asked()
    on = False
    for event in machine.events:
        on = {"on": True, "off": False}.get(event, on)
        assert event not in ("plain", "profiled") or on is (event == "profiled")


def test_a_runtime_that_loses_calls_is_an_error(asked):
    with pytest.raises(RuntimeFailed, match="recorded"):
        asked(lost=1)


def test_a_runtime_without_times_says_so(asked):
    with pytest.raises(Unsupported, match="no kernels"):
        asked(profiles=False)


def test_the_time_of_a_kernel_is_the_mean_of_the_middle_half_of_all_calls():
    times = [1, 2, 3, 100, 2, 1, 2, 0]
    recorded = Recorded(kernels=KERNELS[:1], calls=[[Ran(0, ns)] for ns in times])
    (kernel,) = profiling.summary(recorded, recorded.calls).kernels
    assert (kernel.low_ns, kernel.ns, kernel.high_ns) == (1, 1.75, 2)
    assert kernel.begin_ns is None


def test_a_kernel_that_runs_several_times_in_a_call_has_the_sum():
    calls = [[Ran(0, 2.0, 5.0), Ran(0, 3.0, 9.0)]] * 4
    (kernel,) = profiling.summary(Recorded(kernels=KERNELS[:1], calls=calls), calls).kernels
    assert (kernel.ns, kernel.begin_ns) == (5.0, 0.0)


def test_no_calls_give_no_times():
    summary = profiling.summary(Recorded(kernels=KERNELS, calls=[]), [])
    assert (summary.kernels_ns, [kernel.ns for kernel in summary.kernels]) == (None, [0, 0])


def test_a_profile_may_go_on_in_several_jobs_and_has_then_the_times_of_each_turn(tmp_path):
    machine = Machine()
    state = State(clock=Clock(now_ns=machine.now, cpu_ns=lambda: 0, sleep_s=lambda _: None))
    state.open_cells["key"] = SimpleNamespace(session=FakeSession(machine, "plain", 20, FakeProfiler(machine)))
    job = Profile(key="key", folder=There(path=str(tmp_path / "own")), turns=1, turn_ms=0.2)
    for _ in range(2):
        unfinished = profiling.profile(state, lambda _: None, replace(job, goes_on=True))
        assert (unfinished.kernels, unfinished.calls) == ((), 0)
        machine.events.append("other work")
    assert "close profiled" not in machine.events
    calls = profiling.profile(state, lambda _: None, job)
    assert calls.turns_p50_ns == (20_000,) * 3
    assert [kernel.turns_ns for kernel in calls.kernels] == [(10_000,) * 3, (5_000,) * 3]
    assert (calls.p50_ns, calls.kernels_ns) == (20_000, 15_000)
    assert machine.events[-1] == "close profiled"
    assert state.profiles == {}


def test_a_profile_in_one_job_has_no_times_by_turn(asked):
    calls, _ = asked()
    assert (calls.turns_p50_ns, [kernel.turns_ns for kernel in calls.kernels]) == ((), [(), ()])


def test_a_kernel_has_its_duration_in_the_usual_call_beside_the_mean():
    calls = [[Ran(0, ns, 5.0)] for ns in (1.0, 2.0, 6.0, 7.0, 90.0)]
    (kernel,) = profiling.summary(Recorded(kernels=KERNELS[:1], calls=calls), calls).kernels
    assert (kernel.usual_ns, kernel.ns) == (6.0, 5.0)
