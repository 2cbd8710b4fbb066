"""Items that arrive at times of their own: who waits for what, the curve over rates, and which rates are tried."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import LoadCurve, LoadPoint, UnderLoad
from onnxbench.results.store.record import CellRecord
from onnxbench.results.table import load as curves
from onnxbench.runners.sweep import capacity
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.load import Queue, arrivals, serve
from onnxbench.spec import Concurrency, Load, Sweep

MS = 1_000_000
WANTED = Load(percentile=99, limit_ms=10)
QUICK = BUDGETS["quick"]


class Time:
    """A clock that moves when somebody sleeps or computes."""

    def __init__(self):
        self.ns = 0
        self.clock = Clock(now_ns=lambda: self.ns, sleep_s=self.sleep)

    def sleep(self, seconds):
        self.ns += math.ceil(seconds * 1e9)


class Lane:
    """A call takes `ms`; the third one takes `slow` more."""

    recurrence = rotation = None

    def __init__(self, time, ms, slow=0):
        self.time, self.ms, self.slow, self.calls, self.entered = time, ms, slow, 0, 0

    def enter(self):
        self.entered += 1

    def start(self):
        self.calls += 1

    def wait(self):
        self.time.ns += (self.ms + (self.slow if self.calls == 3 else 0)) * MS


def lane_of(start=lambda: None):
    """A lane whose calls take no time; `start` runs in each."""
    return SimpleNamespace(recurrence=None, rotation=None, enter=lambda: None, start=start, wait=lambda: None)


def served(due_ms, ms=4, batch=1, wait_ms=2, give_up_ms=1000, slow=0):
    time = Time()
    queue = Queue(due=np.array(due_ms) * MS, batch=batch, wait_ns=wait_ms * MS, give_up_ns=give_up_ms * MS)
    lane = Lane(time, ms, slow)
    return (serve([lane], queue, time.clock) / MS).tolist(), queue, lane


def test_a_response_lasts_from_when_its_item_was_due():
    assert served([0, 10, 20])[0] == [4, 4, 4]


def test_items_behind_a_slow_one_wait_for_it_and_none_is_left_out():
    responses, _, lane = served([0, 10, 20, 30, 40], slow=22)
    assert responses == [4, 4, 26, 20, 14]
    assert (lane.calls, lane.entered) == (5, 1)


def test_a_call_begins_when_it_is_full():
    responses, queue, _ = served([0, 1, 10, 11], batch=2)
    assert responses == [5, 4, 5, 4]
    assert queue.calls == 2


def test_a_call_that_does_not_fill_begins_when_its_first_item_has_waited():
    responses, queue, _ = served([0, 30, 31, 60], batch=3)
    assert responses == [6, 6, 5, 6]
    assert queue.calls == 3


def test_who_came_while_a_call_was_computed_goes_in_the_next_one_together():
    responses, queue, _ = served([0, 3, 4, 5, 6], batch=4, wait_ms=2)
    assert responses == [6, 7, 6, 5, 4]  # the first call begins at 2 ms and ends at 6
    assert queue.calls == 2


def test_without_batches_nobody_waits_for_others():
    assert served([0, 50], wait_ms=40)[0] == [4, 4]


def test_a_queue_that_grows_is_given_up():
    responses, queue, lane = served(list(range(100)), ms=10, give_up_ms=50)
    assert queue.given_up
    assert len(responses) == lane.calls < 10


def test_several_lanes_answer_every_item_once():
    sessions = [lane_of() for _ in range(4)]
    due = arrivals(500, 100_000, seed=1)
    queue = Queue(due=due + Clock().now_ns(), batch=3, wait_ns=MS // 10, give_up_ns=10**12)
    responses = serve(sessions, queue, Clock())
    assert len(responses) == 500
    assert (responses >= 0).all()


@pytest.mark.parametrize("lanes", [1, 3])
def test_what_a_call_raises_comes_out(lanes):
    def fail():
        raise RuntimeError("out of order")

    sessions = [lane_of(fail) for _ in range(lanes)]
    with pytest.raises(RuntimeError, match="out of order"):
        serve(sessions, Queue(due=np.zeros(9, np.int64), batch=1, wait_ns=0, give_up_ns=2**62), Clock())


def test_arrivals_are_a_poisson_process_at_exactly_the_rate():
    due = arrivals(20_000, 1000, seed=3)
    assert (np.diff(due) >= 0).all()
    assert due[-1] / 1e9 == pytest.approx(20, rel=1e-3)
    counts = np.histogram(due, bins=2000)[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)  # as of no other process with independent arrivals
    assert (arrivals(9, 10, seed=3) == arrivals(9, 10, seed=3)).all()
    assert (arrivals(9, 10, seed=4) != arrivals(9, 10, seed=3)).any()


def told(rate, p99_ms):
    """What a worker says of a rate; without a latency it was overloaded."""
    latency = {} if p99_ms is None else {"99": p99_ms * MS, "99.9": None}
    return LoadPoint(rate_per_s=rate, overloaded=p99_ms is None, latency_ns=latency, deploy="so")


def way(points, deploy="so"):
    return LoadCurve(points=tuple(told(*point) for point in points), concurrency=Concurrency(), deploy=deploy)


def allowed(points, limit_ms, percentile=99):
    return curves.capacity([told(*point) for point in points], percentile, limit_ms * MS)


RISING = [(100, 2), (200, 4), (300, 16), (400, None)]


@pytest.mark.parametrize(
    ("limit_ms", "rate", "at_least"),
    [(1, None, False), (2, 100, False), (4, 200, False), (8, 250, False), (16, 300, False), (1000, 300, False)],
)
def test_a_limit_is_read_off_the_curve(limit_ms, rate, at_least):
    found = allowed(RISING, limit_ms)
    assert (found.rate_per_s and round(found.rate_per_s, 6), found.at_least) == (rate, at_least)


def test_a_limit_that_every_rate_held_allows_at_least_the_highest():
    found = allowed(RISING[:3], 20)
    assert (found.rate_per_s, found.at_least) == (pytest.approx(300), True)


def test_passes_of_a_rate_count_by_their_median_and_noise_does_not_turn_the_curve():
    assert allowed([(100, 2), (100, 30), (100, 2), (200, 30)], 10).rate_per_s > 100
    curve = allowed([(100, 4), (200, 2), (300, 9)], 100).curve
    assert [latency / MS for _, latency in curve] == pytest.approx([8**0.5, 8**0.5, 9])


def test_a_percentile_that_nothing_tells_has_no_rate():
    assert allowed(RISING[:3], 10, percentile=99.9) is None
    assert curves.best(UnderLoad(asked=WANTED, ways=(way(RISING[:3]),)), 99.9, 10) is None
    assert curves.best(None, 99, 10) is None


LATENCIES = st.one_of(st.none(), st.floats(0.01, 1e4))


@given(st.lists(st.tuples(st.integers(1, 50), LATENCIES), min_size=1, max_size=12), st.floats(0.01, 1e4), st.floats(1, 10))
def test_a_higher_limit_never_allows_less(points, limit_ms, more):
    low, high = allowed(points, limit_ms), allowed(points, limit_ms * more)
    assert (high.rate_per_s or 0) >= (low.rate_per_s or 0) * (1 - 1e-9)
    latencies = [latency for _, latency in low.curve]
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(latencies))


def test_the_way_that_holds_the_limit_at_the_highest_rate_counts():
    slower = [(rate, 9 if rate == 200 else p99_ms) for rate, p99_ms in RISING]
    ways = (way(RISING, "a"), way(slower, "b"))
    assert curves.best(UnderLoad(asked=WANTED, ways=ways), 99, 4).load_curve.deploy == "a"
    assert curves.best(UnderLoad(asked=WANTED, ways=ways[::-1]), 99, 4).load_curve.deploy == "a"


def tried(p99_ms, top=100.0, budget=QUICK, wanted=WANTED):
    """The rates that a search tries on something whose p99 is `p99_ms(rate)`."""
    return [point.rate_per_s for point in capacity.find_capacity(lambda rate: told(rate, p99_ms(rate)), top, wanted, budget)]


def test_a_search_climbs_until_two_rates_are_over_the_limit_and_halves_between():
    assert tried(lambda rate: 5 if rate <= 50 else None) == [30, 60, 80, 45, 52.5]
    assert tried(lambda rate: 5) == [30, 60, 80, 100]
    assert tried(lambda rate: 50) == [30, 60, 15, 7.5]


def test_one_rate_that_was_over_the_limit_by_accident_does_not_end_a_search():
    assert tried(lambda rate: None if rate == 60 else 5) == [30, 60, 80, 100]


def test_the_rates_beside_the_answer_are_measured_again():
    budget = replace(QUICK, load_passes=3)
    assert tried(lambda rate: 5 if rate <= 50 else None, budget=budget)[5:] == [45, 52.5, 45, 52.5]


@pytest.mark.parametrize(
    ("rate", "batch", "items"),
    [(10_000, 1, 10_000), (500, 1, 736), (10, 1, 50), (0.01, 1, 1), (500, 600, 1200), (1e9, 1, 100_000)],
    ids=["as long as the budget", "as the percentile needs", "no longer than this", "at least one", "two batches", "enough"],
)
def test_how_many_items_arrive(rate, batch, items):
    assert capacity.item_count(rate, batch, WANTED, QUICK) == items


def record(cell, points, limit_ms=10.0):
    asked = Load(percentile=99, limit_ms=limit_ms)
    return CellRecord(cell=cell, folder=None, load=UnderLoad(asked=asked, ways=(way(points),)))


@pytest.mark.parametrize(
    ("points", "findings"),
    [
        (RISING, []),
        (RISING[:2], ["rate_at_least"]),
        ([(30, 12.5)], ["rate_latency"]),
        ([(30, None)], ["rate_queue"]),
        ([], ["rate_untold"]),
    ],
)
def test_why_there_is_no_rate_or_may_be_a_higher_one(make_cell, points, findings):
    told = curves.notes(record(make_cell(), points), None)
    assert [finding.kind for finding in told] == findings


def test_another_limit_is_read_off_the_same_curve(make_cell):
    found = record(make_cell(), RISING)
    asked = [Sweep(load=Load(percentile=99, limit_ms=limit)) for limit in (2, 4, 16)]
    assert [curves.sustained(found, sweep).capacity.rate_per_s for sweep in asked] == pytest.approx([100, 200, 300])
    assert curves.sustained(replace(found, load=None), asked[0]) is None
    assert curves.notes(replace(found, load=None), None) == []
