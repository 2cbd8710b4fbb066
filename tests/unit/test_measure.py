import gc
from itertools import chain, repeat

import numpy as np
import pytest
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.measure import (
    WarmUpResult,
    end_to_end,
    first_call,
    importing,
    latency,
    on_device,
    quiet,
    rewarm,
    settle,
    warm_up,
)


class FakeClock:
    """Time that passes only when somebody lets it."""

    def __init__(self):
        self.ns = 1000

    def now_ns(self):
        return self.ns


class FakeSession(Session):
    """A call takes the next of `calls_ns`: all but 1 ns of it in `start`, the last in `wait`."""

    info = SessionInfo(executed="fp32")

    def __init__(self, clock, calls_ns, *, transfer_ns=0):
        self.clock, self.transfer_ns, self.done = clock, transfer_ns, 0
        self.bound, self.entered = [], []
        self._calls_ns = iter(repeat(calls_ns) if isinstance(calls_ns, int) else chain(calls_ns, repeat(calls_ns[-1])))

    def enter(self):
        self.entered.append((self.done, len(self.bound), self.clock.ns))

    def bind(self, inputs):
        self.clock.ns += self.transfer_ns
        self.bound.append(inputs)

    def start(self):
        self.clock.ns += next(self._calls_ns) - 1

    def wait(self):
        self.clock.ns += 1
        self.done += 1

    def fetch(self):
        self.clock.ns += self.transfer_ns
        return {"logits": np.zeros((1, 10))}

    def fork(self):
        raise NotImplementedError


@pytest.fixture
def clock():
    return FakeClock()


def test_the_first_call_is_timed(clock):
    session = FakeSession(clock, [500, 10])
    assert first_call(session, clock.now_ns) == 500
    assert session.done == 1


def test_latency_is_a_call_without_transfers(clock):
    session = FakeSession(clock, 25, transfer_ns=1000)
    samples = latency(session, clock.now_ns, least_ns=100)
    assert samples.tolist() == [25, 25, 25, 25]
    assert (samples.dtype, session.bound) == (np.int64, [])


def test_latency_is_measured_until_the_time_has_passed(clock):
    assert latency(FakeSession(clock, [30, 50, 40]), clock.now_ns, least_ns=100).tolist() == [30, 50, 40]


@pytest.mark.parametrize("least_ns", [0, 1, 499])
def test_at_least_one_call_is_timed(clock, least_ns):
    assert latency(FakeSession(clock, 500), clock.now_ns, least_ns=least_ns).tolist() == [500]


def test_as_many_calls_are_timed_as_are_asked_for(clock):
    assert len(latency(FakeSession(clock, 500), clock.now_ns, least_ns=600, least_calls=4)) == 4
    assert len(latency(FakeSession(clock, 500), clock.now_ns, least_ns=3000, least_calls=4)) == 6
    assert len(end_to_end(FakeSession(clock, 500), {}, clock.now_ns, least_ns=600, least_calls=4)) == 4


def test_what_passes_between_calls_is_in_no_sample(clock):
    """Each look at this clock takes 7 ns, of which the first of a pair is over before the call begins."""

    def slow_now():
        clock.ns += 7
        return clock.ns

    assert latency(FakeSession(clock, 100), slow_now, least_ns=300).tolist() == [107, 107, 107]


def test_end_to_end_adds_the_transfers_both_ways(clock):
    session, inputs = FakeSession(clock, 25, transfer_ns=100), {"input": np.zeros(3)}
    samples = end_to_end(session, inputs, clock.now_ns, least_ns=400)
    assert samples.tolist() == [225, 225]
    assert [bound is inputs for bound in session.bound] == [True, True]


class Pinning(FakeSession):
    """Copies fastest from arrays of its own, and takes 10 000 ns to make those."""

    def pin(self, inputs):
        self.clock.ns += 10_000
        self.pinned = [*getattr(self, "pinned", []), {name: array.copy() for name, array in inputs.items()}]
        return self.pinned[-1]


def test_end_to_end_goes_from_where_a_device_copies_fastest_and_getting_there_is_in_no_sample(clock):
    session = Pinning(clock, 25, transfer_ns=100)
    assert end_to_end(session, {"input": np.zeros(3)}, clock.now_ns, least_ns=400).tolist() == [225, 225]
    assert len(session.pinned) == 1
    assert [bound is session.pinned[0] for bound in session.bound] == [True, True]


class Device(FakeSession):
    """A call takes 40 ns by our clock and 30 by the device's, or the device has none."""

    took = 30

    def device_ns(self):
        self.clock.ns += 40 if self.took else 0
        self.done += bool(self.took)
        return self.took


@pytest.mark.parametrize(("least_ns", "least_calls", "calls"), [(100, 1, 3), (0, 1, 1), (100, 5, 5), (0, 0, 0)])
def test_calls_by_the_devices_clock_are_made_until_the_time_has_passed_by_ours(clock, least_ns, least_calls, calls):
    samples = on_device(Device(clock, 40), clock.now_ns, least_ns=least_ns, least_calls=least_calls)
    assert (samples.tolist(), samples.dtype) == ([30] * calls, np.int64)


def test_without_a_clock_of_the_device_nothing_is_called_or_waited_for(clock):
    for session in (FakeSession(clock, 40), type("Timeless", (Device,), {"took": None})(clock, 40)):
        samples = on_device(session, clock.now_ns, least_ns=0, least_calls=5)
        assert (samples.tolist(), samples.dtype, session.done, clock.ns) == ([], np.int64, 0, 1000)


def test_a_stationary_series_is_warm_after_the_least_time(clock):
    found = warm_up(FakeSession(clock, 10), clock.now_ns, least_ns=500, limit_ns=5000)
    assert found == WarmUpResult(calls=50, took_ns=500, stationary=True)


def test_warm_up_goes_on_while_calls_get_faster(clock):
    session = FakeSession(clock, [400, 300, 200, 150, 100])
    found = warm_up(session, clock.now_ns, least_ns=500, limit_ns=5000)
    assert found == WarmUpResult(calls=9, took_ns=400 + 300 + 200 + 150 + 5 * 100, stationary=True)


def test_warm_up_gives_up_at_its_limit(clock):
    session = FakeSession(clock, [100, 200] * 50)
    found = warm_up(session, clock.now_ns, least_ns=500, limit_ns=1000)
    assert found == WarmUpResult(calls=7, took_ns=1000, stationary=False)


@pytest.mark.parametrize(("slow_ns", "stationary"), [(105, True), (106, False)])
def test_stationary_is_within_five_per_cent(clock, slow_ns, stationary):
    session = FakeSession(clock, [100, slow_ns] * 50)
    assert warm_up(session, clock.now_ns, least_ns=500, limit_ns=2000).stationary is stationary


def test_one_slow_call_in_a_window_does_not_make_it_unstationary(clock):
    session = FakeSession(clock, [10, 10, 10, 60] * 50)
    assert warm_up(session, clock.now_ns, least_ns=450, limit_ns=450).stationary


def test_a_call_longer_than_a_window_is_a_window(clock):
    found = warm_up(FakeSession(clock, 1000), clock.now_ns, least_ns=500, limit_ns=50_000)
    assert found == WarmUpResult(calls=5, took_ns=5000, stationary=True)


@pytest.mark.parametrize(
    "loop",
    [
        first_call,
        lambda session, now: latency(session, now, least_ns=100),
        lambda session, now: end_to_end(session, {}, now, least_ns=100),
        lambda session, now: on_device(session, now, least_ns=100),
        lambda session, now: rewarm(session, now, block_ns=1000),
    ],
    ids=["first call", "latency", "end to end", "device", "rewarm"],
)
def test_a_loop_enters_the_session_once_before_its_first_call(clock, loop):
    session = FakeSession(clock, 30, transfer_ns=10)
    loop(session, clock.now_ns)
    assert session.entered == [(0, 0, 1000)]


def test_a_warm_up_enters_before_it_calls(clock):
    session = FakeSession(clock, 30)
    warm_up(session, clock.now_ns, least_ns=500, limit_ns=5000)
    assert session.entered[0] == (0, 0, 1000)


def test_entering_is_in_no_sample(clock):
    class Slow(FakeSession):
        def enter(self):
            self.clock.ns += 10_000

    assert latency(Slow(clock, 25), clock.now_ns, least_ns=50).tolist() == [25, 25]
    assert end_to_end(Slow(clock, 25), {}, clock.now_ns, least_ns=50).tolist() == [25, 25]
    assert first_call(Slow(clock, 25), clock.now_ns) == 25


@pytest.mark.parametrize(("block_ms", "warm_ms"), [(1000, 100), (100, 10), (20, 10), (5, 5)])
def test_a_visit_begins_with_a_tenth_of_a_block_and_10_ms_in_blocks_that_are_longer(clock, block_ms, warm_ms):
    session = FakeSession(clock, 1_000_000)
    rewarm(session, clock.now_ns, block_ns=block_ms * 1_000_000)
    assert session.done == warm_ms


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_it_is_quiet(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with quiet():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_garbage_is_collected_again_after_an_error():
    with pytest.raises(ValueError, match="x"), quiet():
        raise ValueError("x")
    assert gc.isenabled()


def test_collections_neither_interrupt_an_import_nor_walk_what_it_makes():
    try:
        with importing():
            assert not gc.isenabled()
            made = [[]]
        assert gc.isenabled()
        assert not any(item is made for item in gc.get_objects())  # which lists the objects that a collection walks
    finally:
        gc.unfreeze()


def test_a_failed_import_leaves_collections_on():
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


class Process:
    """A process that uses all of a CPU until `busy_until_ns`, and whose time passes only in sleep."""

    def __init__(self, busy_until_ns):
        self.now, self.busy_until = 0, busy_until_ns
        self.clock = Clock(now_ns=lambda: self.now, cpu_ns=lambda: min(self.now, self.busy_until), sleep_s=self.sleep)

    def sleep(self, seconds):
        self.now += int(seconds * 1e9)


def test_a_worker_settles_when_its_threads_are_idle():
    process = Process(busy_until_ns=45_000_000)
    assert settle(process.clock)
    assert process.now == 60_000_000


def test_a_worker_that_never_rests_is_told_apart_after_a_second():
    process = Process(busy_until_ns=10**12)
    assert not settle(process.clock)
    assert process.now == 1_000_000_000
