"""The interval of the rate under load, on queues whose true capacity is known, and its way into rows and comparisons."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import LoadCurve, LoadPoint, UnderLoad
from onnxbench.results.compare.compare import compare
from onnxbench.results.recommend.candidates import Request
from onnxbench.results.recommend.objective import OBJECTIVES
from onnxbench.results.recommend.recommend import decide
from onnxbench.results.stats.crossing import Pass, crossing, repeats
from onnxbench.results.stats.percentiles import quantiles
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.results.table import load as curves
from onnxbench.results.table import table
from onnxbench.runners.sweep import capacity
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.load import LEAD_SHARE, Queue, arrivals, serve
from onnxbench.spec import Concurrency, Load, to_wire
from scipy.special import stdtrit

SERVICE_S = 1e-3
MS = 10**6
NUMBERS = itertools.count()


def responses(due_ns, service_ns):
    """Response times of a server that takes items in their order (Lindley's recursion), and their waits; a pass in each row."""
    done = np.cumsum(service_ns, axis=-1)
    ends = done + np.maximum.accumulate(due_ns - (done - service_ns), axis=-1)
    return ends - due_ns, ends - service_ns - due_ns


class Server:
    """A server with random service times (M/M/1), loaded as `bench infer` loads a cell."""

    def __init__(self, limit_ms, budget, seed):
        self.load, self.budget = Load(percentile=99, limit_ms=limit_ms), budget
        self.rng = np.random.default_rng(seed)

    def answer(self, rate, count=1):
        """`count` passes at a rate: whether the queue was given up, the responses that count, and the share of late ones."""
        items = capacity.item_count(rate, 1, self.load, self.budget)
        due = np.sort(self.rng.uniform(0, items / rate * 1e9, (count, items)))  # as load.arrivals
        took, waits = responses(due, self.rng.exponential(SERVICE_S * 1e9, (count, items)))
        over = np.maximum.accumulate(waits > max(capacity.GIVE_UP * self.load.limit_ms, capacity.GIVE_UP_MS) * MS, axis=1)
        lead = int(items * LEAD_SHARE)
        late = (took > self.load.limit_ms * MS) | over
        return over[:, -1], took[:, lead:], late[:, lead:].mean(axis=1)

    def measure(self, rate):
        over, took, late = self.answer(rate)
        latency = {} if over[0] else quantiles(took[0].astype(np.int64))
        return LoadPoint(
            rate_per_s=rate, overloaded=bool(over[0]), items=took.shape[1], latency_ns=latency, late=float(late[0])
        )

    def true_capacity(self):
        """Rate at which 1 % of the responses are late on average, in passes of this length."""
        low, high = 100.0, 1 / SERVICE_S
        for _ in range(10):
            middle = (low + high) / 2
            passes = 200 if high - low > 100 else 2000  # far from the capacity few passes decide
            low, high = (middle, high) if self.answer(middle, passes)[2].mean() <= 0.01 else (low, middle)
        return (low + high) / 2

    def record(self, cell):
        points = capacity.find_capacity(self.measure, 1 / SERVICE_S, self.load, self.budget)
        way = LoadCurve(points=tuple(points), concurrency=Concurrency())
        return CellRecord(cell=cell, folder=None, load=UnderLoad(asked=self.load, ways=(way,)))


def test_a_lane_answers_like_the_queue_of_the_theory():
    now = [0]

    class Session:
        recurrence = rotation = None

        def enter(self):
            pass

        def start(self):
            pass

        def wait(self):
            now[0] += int(SERVICE_S * 1e9)

    def sleep(seconds):
        now[0] += math.ceil(seconds * 1e9)

    due = arrivals(400, 700.0, 1)
    clock = Clock(now_ns=lambda: now[0], sleep_s=sleep)
    answered = serve([Session()], Queue(due=due, batch=1, wait_ns=0, give_up_ns=10**12), clock)
    expected, _ = responses(due.astype(float), np.full(len(due), SERVICE_S * 1e9))
    assert answered == pytest.approx(expected, abs=2 * len(due))


COUNT = 200


def covered(budget, limit_ms):
    """Share of the simulated searches whose interval covers the true capacity; 0 if a tenth of them has no interval."""
    true_per_s = Server(limit_ms, BUDGETS[budget], 0).true_capacity()
    records = [Server(limit_ms, BUDGETS[budget], seed).record(None) for seed in range(1, COUNT + 1)]
    bounds = [best.interval for record in records if (best := curves.sustained(record, None)) and best.interval]
    hits = sum(item.low <= true_per_s <= item.high for item in bounds)
    return hits / len(bounds) if len(bounds) > 0.9 * COUNT else 0.0


def test_the_interval_covers_the_true_capacity():
    shares = {case: covered(*case) for case in (("normal", 8), ("normal", 20), ("thorough", 8), ("thorough", 20))}
    assert min(shares.values()) >= 0.9, shares


def test_long_passes_have_the_capacity_of_the_theory():
    server = Server(8.0, replace(BUDGETS["normal"], load_s=200), 1)
    server.answer, answer = lambda rate, _: answer(rate, 20), server.answer
    assert server.true_capacity() == pytest.approx(1 / SERVICE_S - math.log(100) / 8e-3, rel=0.03)  # responses are exponential


def passes(rate, *, repeated=4, spread=0.1, slope=12.0):
    """Passes at rates around `rate`, at which 1 % of the responses are late; the two nearest ones are repeated."""

    def late(step, shift):
        return 1 / (1 + math.exp(-(math.log(0.01 / 0.99) + slope * step + shift)))

    search = [Pass(rate * math.exp(step), late(step, 0.0), 2000) for step in (-0.6, -0.2, 0.3, 0.05, -0.05)]
    shifts = [spread * (-1) ** number for number in range(repeated)]
    return [*search, *(Pass(rate * math.exp(step), late(step, shift), 2000) for shift in shifts for step in (-0.05, 0.05))]


def test_the_crossing_is_where_the_share_is_reached():
    found = crossing(passes(500.0), 0.01)
    assert math.exp(found.mean) == pytest.approx(500, rel=0.02)
    assert found.freedom == 3
    assert 0 < found.error < 0.1


def test_passes_that_scatter_more_have_a_wider_interval():
    assert crossing(passes(500.0, spread=0.8), 0.01).error > 2 * crossing(passes(500.0, spread=0.1), 0.01).error


def test_the_first_passes_count_for_the_growth_alone():
    found = repeats(passes(500.0, repeated=2))
    assert [round(item.rate) for item in found] == [476, 526] * 2


@pytest.mark.parametrize(
    "given",
    [
        passes(500.0, repeated=2),  # four repeats are too few
        passes(500.0, slope=-12.0),
        [Pass(500.0, late, 2000) for late in (0.0, 0.01, 0.02, 0.01, 0.0)],  # one rate alone
        [Pass(rate, 0.0, 2000) for rate in (400.0, 450.0, 400.0, 450.0, 400.0, 450.0)],  # never late
        [Pass(rate, 1.0, 2000) for rate in (400.0, 450.0, 400.0, 450.0, 400.0, 450.0)],  # always late
        [],
    ],
)
def test_without_repeats_or_growth_there_is_no_crossing(given):
    assert crossing(given, 0.01) is None


def points_of(rate):
    return [
        LoadPoint(
            rate_per_s=item.rate, items=item.items, late=item.late, latency_ns={"99": 10 * MS * (item.late / 0.01) ** 0.2}
        )
        for item in passes(rate)
    ]


@pytest.fixture
def run(run_folder, make_cell):
    """Path of a run of cells under load, each with its capacity in items a second; None for passes without shares."""

    def of(*rates, limit_ms=10.0, backends=("ort-cpu", "openvino-cpu"), **head):
        cells = [make_cell(backend=name) for name, _ in zip(backends, rates)]
        folder = run_folder(*cells, name=f"run{next(NUMBERS)}", **head)
        for cell, rate in zip(cells, rates):
            points = points_of(abs(rate))
            points = [replace(point, late=None) for point in points] if rate < 0 else points
            way = LoadCurve(points=tuple(points), concurrency=Concurrency())
            folder.measured(cell, 2 * MS)
            folder.add("load", cell, **to_wire(UnderLoad(asked=Load(percentile=99, limit_ms=limit_ms), ways=(way,))))
        return folder.path

    return of


def test_a_row_has_the_rate_of_the_passes_with_its_interval(run):
    (row,) = table.build([read_run(run(500.0))], None).rows
    assert row["slo_rate_per_s"] == pytest.approx(500, rel=0.02)
    assert row["slo_rate_ci_low_per_s"] < row["slo_rate_per_s"] < row["slo_rate_ci_high_per_s"]


def test_a_row_of_passes_without_shares_has_the_rate_of_the_curve_alone(run):
    (row,) = table.build([read_run(run(-500.0))], None).rows
    assert row["slo_rate_per_s"] == pytest.approx(500, rel=0.1)
    assert (row["slo_rate_ci_low_per_s"], row["slo_rate_ci_high_per_s"]) == (None, None)


def test_another_limit_than_the_measured_one_has_no_interval(run, make_cell):
    record = read_run(run(500.0)).cells[0]
    assert curves.sustained(record, None).interval
    sweep = replace(read_run(run(500.0)).sweep, load=Load(percentile=99, limit_ms=9.0))
    assert curves.sustained(record, sweep).interval is None


def changed(base, new):
    sides = [[read_run(path) for path in (side if isinstance(side, list) else [side])] for side in (base, new)]
    return next(item for item in compare(*sides)[1] if item.metric.name == "slo_rate")


@pytest.mark.parametrize(
    ("rate", "verdict"), [(500.0, ("no difference shown", "inconclusive")), (400.0, ("worse",)), (650.0, ("better",))]
)
def test_compare_has_the_interval_of_the_passes_and_assumes_nothing(run, rate, verdict):
    change = changed(run(500.0), run(rate))
    assert change.verdict in verdict
    assert (change.method, change.effect) == ("one run", pytest.approx(rate / 500, rel=0.02))
    assert change.ends[0] < change.effect < change.ends[1]


def test_compare_of_other_limits_or_without_passes_is_inconclusive_and_says_why(run):
    found = [changed(run(500.0), other) for other in (run(400.0, limit_ms=9.0), run(-400.0))]
    assert [(item.verdict, item.ends, item.reason) for item in found] == [
        ("inconclusive", None, "other limits under load"),
        ("inconclusive", None, "too few passes under load"),
    ]


def test_several_runs_a_side_are_the_unit_of_the_rate_too(run):
    change = changed([run(rate) for rate in (499.0, 500.0, 501.0)], [run(rate) for rate in (399.0, 400.0, 401.0)])
    assert (change.method, change.verdict) == ("runs", "worse")


def test_half_of_a_students_interval_is_the_error_of_the_estimate():
    estimate = crossing(passes(500.0), 0.01)
    bounds = curves.Best(load_curve=None, capacity=None, estimate=estimate).interval
    assert math.log(bounds.high / bounds.low) / 2 == pytest.approx(stdtrit(3, 0.975) * estimate.error)


@pytest.mark.parametrize(
    ("rates", "basis", "shown"),
    [((500.0, 300.0), "unpaired", True), ((500.0, 495.0), "unpaired", False), ((-500.0, -300.0), "once", False)],
)
def test_a_recommendation_by_the_rate_has_the_intervals_of_both_rows(run, rates, basis, shown):
    decision = decide([read_run(run(*rates))], Request(objective=OBJECTIVES["slo_rate"], conditions=(), prices=()))
    assert (decision.pick.name.split()[0], decision.difference.basis) == ("ort-cpu", basis)
    assert decision.difference.shown == shown
    assert decision.difference.ratio == pytest.approx(rates[0] / rates[1], rel=0.02)
