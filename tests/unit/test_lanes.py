import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.errors import RuntimeFailed, Unsupported
from onnxbench.runners.worker.lanes import Length, Rate, Trial, search, throughput
from onnxbench.spec import Concurrency


class FakeClock(threading.local):
    """Time that passes only when somebody lets it; each thread has its own, all beginning at 1000 ns."""

    def __init__(self):
        self.ns = 1000

    def now_ns(self):
        return self.ns


class FakeSession(Session):
    """A call takes `call_ns`, in `start`."""

    info = SessionInfo(executed="fp32")

    def __init__(self, clock, call_ns):
        self.clock, self.call_ns, self.done, self.entered, self.callers = clock, call_ns, 0, [], set()

    def enter(self):
        self.entered.append(threading.get_ident())

    def start(self):
        self.callers.add(threading.get_ident())
        self.clock.ns += self.call_ns

    def wait(self):
        self.done += 1

    def bind(self, inputs): ...

    def fetch(self): ...

    def fork(self): ...


class Device:
    """Computes one call after the other, `call_ns` each, while the host goes on."""

    def __init__(self, call_ns):
        self.call_ns, self.free_at, self.in_flight, self.seen = call_ns, 0, 0, []


class RingSession(FakeSession):
    """A lane of a device: `start` takes `host_ns` and returns, `wait` lasts until the device has done it."""

    asynchronous = True

    def __init__(self, clock, device, host_ns=0):
        super().__init__(clock, host_ns)
        self.device, self.ready_at, self.started = device, None, 0

    def start(self):
        super().start()
        assert self.ready_at is None
        self.started += 1
        self.device.in_flight += 1
        self.ready_at = self.device.free_at = max(self.clock.ns, self.device.free_at) + self.device.call_ns

    def wait(self):
        assert self.ready_at is not None
        super().wait()
        self.device.seen.append(self.device.in_flight)
        self.device.in_flight -= 1
        self.clock.ns, self.ready_at = max(self.clock.ns, self.ready_at), None


@pytest.fixture
def clock():
    return FakeClock()


def ring(clock, lanes, call_ns=100, host_ns=0):
    device = Device(call_ns)
    return device, [RingSession(clock, device, host_ns) for _ in range(lanes)]


def test_throughput_of_one_lane_is_calls_over_their_time(clock):
    rate = throughput([FakeSession(clock, 30)], clock.now_ns, Length(least_ns=100))
    assert rate == Rate(calls=4, took_ns=120, lanes=1)
    assert rate.calls_per_s == pytest.approx(4 / 120e-9)


@pytest.mark.parametrize("least_ns", [0, 1, 499])
def test_each_lane_makes_a_call_at_least(clock, least_ns):
    assert throughput([FakeSession(clock, 500)], clock.now_ns, Length(least_ns=least_ns)).calls == 1
    assert throughput([FakeSession(clock, 500)] * 2, clock.now_ns, Length(least_ns=least_ns)).calls == 2
    assert throughput(ring(clock, 2, 500)[1], clock.now_ns, Length(least_ns=least_ns)).calls == 2


def test_calls_of_the_lead_are_made_and_not_counted(clock):
    one, two = FakeSession(clock, 10), [FakeSession(clock, 10), FakeSession(clock, 10)]
    assert throughput([one], clock.now_ns, Length(least_ns=100, lead_ns=50)).calls == 10
    assert throughput(two, clock.now_ns, Length(least_ns=100, lead_ns=50)).calls == 20
    assert one.done == 15
    assert all(session.done >= 15 for session in two)
    lanes = ring(clock, 2)[1]
    assert throughput(lanes, clock.now_ns, Length(least_ns=1000, lead_ns=400)).calls == 10
    assert lanes[0].done == 1 + 2 + 5


def test_lanes_add_up(clock):
    sessions = [FakeSession(clock, 10), FakeSession(clock, 20)]
    assert throughput(sessions, clock.now_ns, Length(least_ns=100)) == Rate(calls=15, took_ns=100, lanes=2)


def test_a_lane_that_ended_earlier_counts_at_its_own_rate(clock):
    """10 calls in 100 ns are 12 in the 120 ns that the other lane takes for 4."""
    sessions = [FakeSession(clock, 10), FakeSession(clock, 30)]
    assert throughput(sessions, clock.now_ns, Length(least_ns=100)) == Rate(calls=16, took_ns=120, lanes=2)


def test_the_rate_of_few_calls_is_not_rounded(clock):
    """One call in 1000 ns beside one in 400 ns are 3.5 calls in 1000 ns."""
    rate = throughput([FakeSession(clock, 1000), FakeSession(clock, 400)], clock.now_ns, Length(least_ns=300))
    assert rate.calls_per_s == pytest.approx(1e9 / 1000 + 1e9 / 400)


def test_a_lane_that_has_counted_goes_on_uncounted_until_all_have(clock):
    """The second lane's call ends only when the first has made more than the ten calls that it counts."""
    enough = threading.Event()

    class First(FakeSession):
        def wait(self):
            super().wait()
            if self.done > 10:
                enough.set()

    class Second(FakeSession):
        def wait(self):
            super().wait()
            assert enough.wait(timeout=20)

    assert throughput([First(clock, 10), Second(clock, 100)], clock.now_ns, Length(least_ns=100)).calls == 11


@pytest.mark.parametrize("at", ["enter", "start", "wait"])
def test_what_goes_wrong_in_a_lane_goes_wrong_for_all(clock, at):
    def fail():
        raise RuntimeFailed("out of memory")

    broken = FakeSession(clock, 10)
    setattr(broken, at, fail)
    with pytest.raises(RuntimeFailed, match="out of memory"):
        throughput([FakeSession(clock, 10), broken], clock.now_ns, Length(least_ns=100))


def test_a_lane_is_entered_by_the_thread_that_calls_it(clock):
    sessions = [FakeSession(clock, 10), FakeSession(clock, 10), FakeSession(clock, 10)]
    throughput(sessions, clock.now_ns, Length(least_ns=100))
    assert all(session.callers == set(session.entered) for session in sessions)
    assert all(len(session.entered) == 1 for session in sessions)


def test_lanes_whose_calls_return_at_once_share_one_thread(clock):
    _, sessions = ring(clock, 3)
    throughput(sessions, clock.now_ns, Length(least_ns=1000))
    assert {ident for session in sessions for ident in (*session.callers, *session.entered)} == {threading.get_ident()}


@pytest.mark.parametrize(("lanes", "turn_ns"), [(1, 140), (2, 200), (3, 300)])
def test_a_second_lane_hides_the_hosts_work_behind_the_devices(clock, lanes, turn_ns):
    """A call is 40 ns of the host and 100 ns of the device."""
    rate = throughput(ring(clock, lanes, 100, 40)[1], clock.now_ns, Length(least_ns=10 * turn_ns))
    assert rate.calls_per_s == pytest.approx(lanes / turn_ns * 1e9)


@given(
    lanes=st.integers(1, 5),
    call_ns=st.integers(1, 300),
    host_ns=st.integers(0, 300),
    least_ns=st.integers(0, 3000),
    lead_ns=st.integers(0, 500),
)
def test_only_whole_turns_with_all_lanes_in_flight_count(lanes, call_ns, host_ns, least_ns, lead_ns):
    clock = FakeClock()
    device, sessions = ring(clock, lanes, call_ns, host_ns)
    rate = throughput(sessions, clock.now_ns, Length(least_ns=least_ns, lead_ns=lead_ns))
    turns = rate.calls // lanes
    assert (rate.calls, rate.lanes) == (turns * lanes, lanes)
    assert (rate.took_ns >= least_ns, turns >= 1) == (True, True)
    assert device.seen[: 1 + rate.calls] == [lanes] * (1 + rate.calls)


@given(lanes=st.integers(1, 5), least_ns=st.integers(0, 3000))
def test_every_call_that_was_started_is_waited_for(lanes, least_ns):
    clock = FakeClock()
    device, sessions = ring(clock, lanes)
    rate = throughput(sessions, clock.now_ns, Length(least_ns=least_ns))
    assert device.in_flight == 0
    assert [(session.started, session.done) for session in sessions] == [(1 + rate.calls // lanes,) * 2] * lanes


ONE, TWO, FOUR, EIGHT = (Concurrency(lanes=lanes) for lanes in (1, 2, 4, 8))


class Workshop:
    """Opens candidates whose calls take as long as was scripted: always, or in each of their trials."""

    def __init__(self, clock, script):
        self.clock, self.opened = clock, []
        self._script = {candidate: iter(ns) if isinstance(ns, list) else ns for candidate, ns in script.items()}

    def __call__(self, candidate):
        self.opened.append(candidate)
        ns = self._script[candidate]
        if isinstance(ns, Exception):
            raise ns
        return [FakeSession(self.clock, ns if isinstance(ns, int) else next(ns))]


def found(script, least_ns=100_000, passes=5, **limit):
    clock = FakeClock()
    workshop = Workshop(clock, script)
    trial = Trial(length=Length(least_ns=least_ns), passes=passes, rest=lambda: workshop.opened.append(None), **limit)
    rates = search(list(script), workshop, clock.now_ns, trial=trial)
    return rates, workshop


@given(speeds=st.permutations(range(7)), count=st.integers(1, 7))
def test_the_fastest_candidate_is_found_and_comes_last(speeds, count):
    script = {Concurrency(lanes=lanes): 100 + 2 * speed for lanes, speed in enumerate(speeds[:count], 1)}
    rates, _ = found(script)
    assert list(rates)[-1] == min(script, key=script.get)
    assert rates.keys() == script.keys()


def test_each_candidates_rate_is_told():
    rates, _ = found({ONE: 1000, TWO: 500, FOUR: 250})
    assert {candidate: round(rate) for candidate, rate in rates.items()} == {ONE: 10**6, TWO: 2 * 10**6, FOUR: 4 * 10**6}


def test_who_is_far_behind_after_three_passes_is_left_out():
    _, workshop = found({ONE: 100, TWO: 110, FOUR: 120, EIGHT: 130}, least_ns=10_000)
    assert [way for way in workshop.opened if way] == [*[ONE, TWO, FOUR, EIGHT] * 3, *[ONE, TWO] * 2]


def test_before_a_candidate_is_tried_the_one_before_is_idle():
    _, workshop = found({ONE: 100, TWO: 105}, passes=2)
    assert workshop.opened == [ONE, None, TWO, None] * 2


@pytest.mark.parametrize(("limit_ns", "passes"), [(1, 1), (30_000, 2), (10**9, 5)])
def test_no_pass_begins_after_the_time_of_the_search(limit_ns, passes):
    rates, workshop = found({ONE: 10_000, TWO: 10_500}, least_ns=100, limit_ns=limit_ns)
    assert [way for way in workshop.opened if way] == [ONE, TWO] * passes
    assert list(rates)[-1] == ONE


def test_a_single_candidate_is_not_tried():
    rates, workshop = found({TWO: 100})
    assert (list(rates), workshop.opened) == ([TWO], [])


@pytest.mark.parametrize(("slow", "fast"), [(Unsupported("no streams"), 100), (RuntimeFailed("out of memory"), 5000)])
def test_a_candidate_that_cannot_be_opened_is_passed_over(slow, fast):
    rates, _ = found({ONE: slow, TWO: fast, FOUR: slow})
    assert list(rates)[-1] == TWO
    assert (rates[ONE], rates[FOUR]) == (0, 0)


def test_a_candidate_that_fails_while_it_is_tried_is_passed_over(clock):
    class Broken(FakeSession):
        def start(self):
            raise ValueError("out of memory")  # in a runtime's own words

    rates = search(
        [ONE, TWO],
        lambda candidate: [(FakeSession, Broken)[candidate == TWO](clock, 10)],
        clock.now_ns,
        trial=Trial(length=Length(least_ns=100), passes=1, rest=int),
    )
    assert list(rates) == [TWO, ONE]


def test_where_none_can_be_opened_the_first_one_is_left_to_say_why():
    rates, _ = found({ONE: RuntimeFailed("no"), TWO: RuntimeFailed("no"), FOUR: RuntimeFailed("no")})
    assert (list(rates)[-1], set(rates.values())) == (ONE, {0})


@pytest.mark.parametrize(
    ("two_ns", "best"),
    [(1000, ONE), (1009, ONE), (992, ONE), (989, TWO), (900, TWO)],
)
def test_of_two_within_one_per_cent_the_one_with_fewer_lanes_is_taken(two_ns, best):
    assert list(found({ONE: 1000, TWO: two_ns}, least_ns=10**6)[0])[-1] == best
    assert list(found({TWO: two_ns, ONE: 1000}, least_ns=10**6)[0])[-1] == best


@pytest.mark.parametrize("disturbed", range(5))
def test_one_disturbed_try_does_not_decide(disturbed):
    two = [100] * 5
    two[disturbed] = 900
    rates, _ = found({ONE: [200] * 5, TWO: two, FOUR: [150] * 5})
    assert list(rates)[-1] == TWO
    assert rates[TWO] == pytest.approx(1e9 / 100)


def test_a_pass_in_which_the_machine_is_slow_does_not_decide():
    """Each is the only one to be tried at full speed once, and what counts is who is faster in the same pass."""
    rates, _ = found({ONE: [200, 100, 400, 200, 400], TWO: [180, 90, 360, 180, 360]})
    assert list(rates)[-1] == TWO
