"""Search for the highest request rate at which a cell keeps its latency limit. Standard library and the package's own.

The search starts low. It tries shares of the measured throughput until two rates in a row break the limit. Then it halves the
gap, and repeats the two rates beside the answer. An overloaded rate ends early, and therefore costs little time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...budgets import Budget
from ...evidence import LoadCurve, LoadPoint, UnderLoad
from ...results.stats.percentiles import samples_needed
from ...results.table.load import ENDLESS_NS, capacity
from ...spec import Concurrency, Load
from ..worker.jobs import ApplyLoad
from .cells import ActiveCell, RunContext

SHARES = (0.3, 0.6, 0.8, 1.0)
SAMPLE_FACTOR = 2  # times the samples that the percentile needs: items in one queue are not independent
MAX_ITEMS = 100_000  # more items make the percentile no more precise
MAX_LENGTHS = 5  # times the budget's length, for low rates at which the items need longer to arrive
GIVE_UP = 20.0  # a rate is overloaded when an item waits this many limits, and at least GIVE_UP_MS
GIVE_UP_MS = 250.0

Ask = Callable[[ApplyLoad], LoadPoint]
Measure = Callable[[float], LoadPoint]


def measure_under_load(active: ActiveCell, run: RunContext, ask: Ask) -> UnderLoad:
    """Measure the cell under load: one curve for each concurrency.

    Tries the concurrency with the best throughput, then one call in flight with all threads. Skips the second where its
    throughput is below the rate that the first keeps. `ask` sends a job to the cell's worker. Raises ValueError for a cell
    without a round.
    """
    load, latency, throughput = run.sweep.load, active.latency, active.throughput
    if load is None or latency is None or throughput is None:
        raise ValueError("the sweep has no load, or the cell has no round")
    batch, best = active.planned.cell.batch, active.concurrency or Concurrency()
    single = Concurrency(threads=active.planned.cell.settings.threads)
    # Two concurrencies that are equal become one entry, and are measured once.
    tops = {best: batch * throughput.rate.calls_per_s, single: batch / float(latency.p50_ns["latency"] or 1) * 1e9}
    curves: list[LoadCurve] = []
    best_rate = 0.0
    for concurrency, top in tops.items():
        if top <= best_rate:
            continue
        points = find_capacity(_measure(active, run, ask, concurrency, load), top, load, run.sweep.budget)
        curves.append(LoadCurve(concurrency=concurrency, deploy=points[0].deploy, points=tuple(points)))
        highest = capacity(points, load.percentile, load.limit_ms * 1e6)
        best_rate = max(best_rate, (highest and highest.rate_per_s) or 0.0)
    return UnderLoad(asked=load, ways=tuple(curves))


def _measure(active: ActiveCell, run: RunContext, ask: Ask, concurrency: Concurrency, load: Load) -> Measure:
    """Return a function that loads the cell at one rate, in items a second. Each call draws new arrivals."""
    budget = run.sweep.budget
    seeds = iter(range(run.sweep.seed, run.sweep.seed + 10_000))
    batch = active.planned.cell.batch

    def measure(rate: float) -> LoadPoint:
        run.check_stop()
        job = ApplyLoad(
            key=active.slot,
            rate_per_s=rate,
            items=item_count(rate, batch, load, budget),
            seed=next(seeds),
            wait_ms=load.max_wait_ms,
            give_up_ms=max(GIVE_UP * load.limit_ms, GIVE_UP_MS),
            limit_ms=load.limit_ms,
            concurrency=concurrency,
        )
        return ask(job)

    return measure


def item_count(rate: float, batch: int, load: Load, budget: Budget) -> int:
    """Number of items to send: enough for the percentile and for the budget's time, up to MAX_LENGTHS times that time."""
    least = SAMPLE_FACTOR * max(samples_needed(load.percentile), batch)
    return max(1, math.ceil(min(max(least, rate * budget.load_s), rate * budget.load_s * MAX_LENGTHS, MAX_ITEMS)))


def time_range_s(budget: Budget) -> tuple[float, float]:
    """Least and most seconds that the search of one cell takes, without overloaded rates."""
    rates = len(SHARES) + budget.load_halvings + 2 * (budget.load_passes - 1)
    return len(SHARES) * budget.load_s, 2 * rates * budget.load_s * MAX_LENGTHS


def find_capacity(measure: Measure, top: float, load: Load, budget: Budget) -> list[LoadPoint]:
    """Points of every rate that the search tries, up to `top` items a second. `measure` loads the cell at one rate."""
    points: list[LoadPoint] = []

    def holds(rate: float) -> bool:
        points.append(measure(rate))
        # The latency of an overloaded rate grows as long as the rate lasts: it is endless, whatever was measured.
        latency_ns = ENDLESS_NS if points[-1].overloaded else points[-1].latency_ns.get(f"{load.percentile:g}")
        return latency_ns is not None and latency_ns <= load.limit_ms * 1e6

    low, high = _climb(holds, top)
    if high is None:
        return points
    for _ in range(budget.load_halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    for _ in range(budget.load_passes - 1):
        for rate in filter(None, (low, high)):
            holds(rate)
    return points


def _climb(holds: Callable[[float], bool], top: float) -> tuple[float, float | None]:
    """Highest rate within the limit, 0 without one; and the lowest rate above it that breaks the limit, None without one."""
    low, high = 0.0, None
    for share in SHARES:
        if holds(share * top):
            low, high = share * top, None
        elif high is not None:
            return low, high
        else:
            high = share * top
    return low, high
