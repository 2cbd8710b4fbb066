"""Change of the rate under load between two sides, from the passes of one run a side, or from several runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import geometric_mean

from ...spec import Load
from ..stats.intervals import Estimate, difference, of_runs
from ..store.record import CellRecord
from .change import FEW_PASSES, FEW_RUNS, OTHER_HOST, OTHER_LIMITS, Change
from .metrics import Metric
from .pairs import Pair, Records
from .sides import Sides


def loaded(pair: Pair, metric: Metric, sides: Sides) -> Change | None:
    """Change of the highest rate within the limit; None if a side has no rate.

    A control is not divided out: a rate within a limit is not proportional to the speed of the machine.
    """
    rates = [sides.shown(records, metric) for records in (pair.base, pair.new)]
    if not all(rates):
        return None
    base, new = (geometric_mean(side) for side in rates)
    change = Change(pair, metric, base, new, effect=new / base, method="runs" if sides.several else "one run")
    if len({_limit(record) for side in (pair.base, pair.new) for record in side.values()}) > 1:
        return change._replace(reason=OTHER_LIMITS)
    if not sides.match.same_host:
        return change._replace(reason=OTHER_HOST)
    estimates = [_estimate(records, side, sides) for records, side in zip((pair.base, pair.new), rates)]
    if not all(estimates):
        return change._replace(reason=FEW_RUNS if sides.several else FEW_PASSES)
    of_base, of_new = ([item] for item in estimates if item)
    interval = difference(of_new, of_base)
    return change._replace(effect=interval.middle, ends=(interval.low, interval.high), p=interval.p)


def _estimate(records: Records, rates: Sequence[float], sides: Sides) -> Estimate | None:
    """Estimate of the rate of one side: over its runs if a side has several, else over the passes of its run."""
    if sides.several:
        return of_runs(rates)
    sustained = sides.row(next(iter(records.values()))).sustained
    return sustained.estimate if sustained else None


def _limit(record: CellRecord) -> Load | None:
    return replace(record.load.asked, max_batch=None) if record.load else None  # it selects cells, and limits none
