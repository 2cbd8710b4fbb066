"""At which arrival rates a cell is loaded, to find the highest that holds its limit. Standard library and the package's own.

From below: shares of the throughput that was measured until two in a row are over the limit, then halving between, then the
two beside the answer again. An overloaded rate is given up early, so that it costs little.
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
ITEMS = 2  # as many as the percentile needs at least: items in one queue are not independent
MOST_ITEMS = 100_000  # more of them tell no more
LONGEST = 5  # times the budget's length, for rates at which so many items take long
GIVE_UP = 20.0  # limits that an item may have waited, and GIVE_UP_MS at least
GIVE_UP_MS = 250.0

Ask = Callable[[ApplyLoad], LoadPoint]
Measure = Callable[[float], LoadPoint]


def loaded(active: ActiveCell, run: RunContext, ask: Ask) -> UnderLoad:
    """What is known of the cell under load: each way of calling in parallel with the points of its curve.

    The way with the best throughput, and one call in flight with all threads, unless its throughput is less than the rate that
    the first way holds.
    """
    wanted, latency, throughput = run.sweep.load, active.latency, active.throughput
    if wanted is None or latency is None or throughput is None:
        raise ValueError("no load was asked for, or the cell has no round")
    batch, chosen = active.planned.cell.batch, active.concurrency or Concurrency()
    single = Concurrency(threads=active.planned.cell.settings.threads)
    tops = {chosen: batch * throughput.rate.calls_per_s, single: batch / float(latency.p50_ns["latency"] or 1) * 1e9}
    ways: list[LoadCurve] = []
    held = 0.0
    for how, top in tops.items():
        if top <= held:
            continue
        points = search(_measure(active, run, ask, how, wanted), top, wanted, run.sweep.budget)
        ways.append(LoadCurve(concurrency=how, deploy=points[0].deploy, points=tuple(points)))
        known = capacity(points, wanted.percentile, wanted.limit_ms * 1e6)
        held = max(held, (known and known.rate_per_s) or 0.0)
    return UnderLoad(asked=wanted, ways=tuple(ways))


def _measure(active: ActiveCell, run: RunContext, ask: Ask, how: Concurrency, wanted: Load) -> Measure:
    """Loads the cell at one rate; another draw of arrivals each time."""
    budget = run.sweep.budget
    drawn = iter(range(run.sweep.seed, run.sweep.seed + 10_000))
    batch = active.planned.cell.batch

    def measure(rate: float) -> LoadPoint:
        run.check_stop()
        job = ApplyLoad(
            key=active.slot,
            rate_per_s=rate,
            items=items(rate, batch, wanted, budget),
            seed=next(drawn),
            wait_ms=wanted.max_wait_ms,
            give_up_ms=max(GIVE_UP * wanted.limit_ms, GIVE_UP_MS),
            concurrency=how,
        )
        return ask(job)

    return measure


def items(rate: float, batch: int, wanted: Load, budget: Budget) -> int:
    """How many items arrive: enough for the percentile and the budget's time, but no longer than LONGEST times that."""
    least = ITEMS * max(samples_needed(wanted.percentile), batch)
    return max(1, math.ceil(min(max(least, rate * budget.load_s), rate * budget.load_s * LONGEST, MOST_ITEMS)))


def seconds(budget: Budget) -> tuple[float, float]:
    """The least and the most time that a cell's search takes, overloaded rates not counted."""
    rates = len(SHARES) + budget.load_halvings + 2 * (budget.load_passes - 1)
    return len(SHARES) * budget.load_s, 2 * rates * budget.load_s * LONGEST


def search(measure: Measure, top: float, wanted: Load, budget: Budget) -> list[LoadPoint]:
    """Every rate that was tried up to `top` (items a second), with what `measure` said of it."""
    found: list[LoadPoint] = []

    def holds(rate: float) -> bool:
        found.append(measure(rate))
        told = ENDLESS_NS if found[-1].overloaded else found[-1].latency_ns.get(f"{wanted.percentile:g}")
        return told is not None and told <= wanted.limit_ms * 1e6

    low, high = _climb(holds, top)
    if high is None:
        return found
    for _ in range(budget.load_halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    for _ in range(budget.load_passes - 1):
        for rate in filter(None, (low, high)):
            holds(rate)
    return found


def _climb(holds: Callable[[float], bool], top: float) -> tuple[float, float | None]:
    """The highest rate that held (0 where none did), and the lowest above it that did not (None where the last one held)."""
    low, high = 0.0, None
    for share in SHARES:
        if holds(share * top):
            low, high = share * top, None
        elif high is not None:
            return low, high
        else:
            high = share * top
    return low, high
