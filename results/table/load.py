"""Curve of latency over the rate of arrivals, and the highest rate within a limit. NumPy and SciPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from ...evidence import LoadCurve, LoadPoint, UnderLoad
from ...spec import Load, Sweep
from ..stats.crossing import Pass, crossing
from ..stats.intervals import Estimate, Interval, difference
from ..store.noise import above
from ..store.record import CellRecord
from .findings import Finding

ENDLESS_NS = 1e15  # latency of an overloaded rate: its queue grows without end, and the logarithm needs a number

Point = tuple[float, float]  # items a second, and the percentile of the responses at it, in ns


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Highest rate within a limit.

    `rate_per_s`: None if the lowest rate of the measurement is over the limit. `at_least`: the highest rate of the measurement
    is within the limit. `curve`: monotone latency of every rate.
    """

    rate_per_s: float | None
    at_least: bool
    curve: tuple[Point, ...]


def points(measured: Sequence[LoadPoint], percentile: float) -> list[Point]:
    """Rates with the median of the percentile over their passes, in ns.

    An overloaded pass counts as ENDLESS_NS, and a pass without this percentile does not count.
    """
    passes: dict[float, list[float]] = {}
    for item in measured:
        value = ENDLESS_NS if item.overloaded else item.latency_ns.get(f"{percentile:g}")
        if value is not None:
            passes.setdefault(item.rate_per_s, []).append(float(value))
    return [(rate, median(values)) for rate, values in sorted(passes.items())]


def monotone(curve: Sequence[Point]) -> tuple[Point, ...]:
    """Nearest curve in which latency never falls with the rate, by least squares of logarithms (isotonic regression)."""
    # every limit is read off this one curve, so a higher limit never allows a lower rate
    from scipy.optimize import isotonic_regression

    fitted = isotonic_regression([math.log(latency) for _, latency in curve]).x
    return tuple((rate, math.exp(value)) for (rate, _), value in zip(curve, fitted))


def capacity(measured: Sequence[LoadPoint], percentile: float, limit_ns: float) -> Capacity | None:
    """Capacity within `limit_ns`, interpolated between measured rates; None if no rate has the percentile."""
    rates = points(measured, percentile)
    if not rates:
        return None
    curve = monotone(rates)
    within = [point for point in curve if point[1] <= limit_ns]
    if not within:
        return Capacity(rate_per_s=None, at_least=False, curve=curve)
    if len(within) == len(curve):
        return Capacity(rate_per_s=within[-1][0], at_least=True, curve=curve)
    return Capacity(rate_per_s=_between(within[-1], curve[len(within)], limit_ns), at_least=False, curve=curve)


def _between(low: Point, high: Point, limit_ns: float) -> float:
    """Rate between two points, by interpolation in the logarithm of latency."""
    # an overloaded rate has no latency to interpolate to; half, because the regression may have averaged it
    if high[1] >= ENDLESS_NS / 2:
        return low[0]
    share = math.log(limit_ns / low[1]) / math.log(high[1] / low[1])
    return low[0] + share * (high[0] - low[0])


@dataclass(frozen=True, kw_only=True)
class Best:
    """Concurrency with the highest rate within a limit, as its measured curve (`load_curve`), and its capacity.

    `estimate`: of the rate on the log scale; None for another limit than that of the measurement, and for too few passes.
    """

    load_curve: LoadCurve
    capacity: Capacity
    estimate: Estimate | None = None

    @property
    def rate_per_s(self) -> float | None:
        """The rate: that of the passes if they give an estimate, else read off the curve."""
        return math.exp(self.estimate.mean) if self.estimate else self.capacity.rate_per_s

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the rate, from the passes."""
        return difference([self.estimate], []) if self.estimate else None


def best(measured: UnderLoad | None, percentile: float, limit_ms: float) -> Best | None:
    """Find the concurrency with the highest rate within the limit; None without a measured curve."""
    candidates = [
        Best(load_curve=curve, capacity=allowed)
        for curve in (measured.ways if measured else ())
        if (allowed := capacity(curve.points, percentile, limit_ms * 1e6))
    ]
    return max(candidates, key=lambda item: item.capacity.rate_per_s or 0.0, default=None)


def limit_of(record: CellRecord, sweep: Sweep | None) -> Load | None:
    """Limit for `record`: that of its run's sweep, or else that of its own measurement. None without a curve."""
    return ((sweep and sweep.load) or record.load.asked) if record.load else None


def sustained(record: CellRecord, sweep: Sweep | None) -> Best | None:
    """Best concurrency within the limit of `limit_of`."""
    limit = limit_of(record, sweep)
    most = best(record.load, limit.percentile, limit.limit_ms) if limit else None
    if most is None or limit is None or record.load is None:
        return None
    same = (limit.percentile, limit.limit_ms) == (record.load.asked.percentile, record.load.asked.limit_ms)
    return replace(most, estimate=_estimate(most, limit)) if same else most


def _estimate(most: Best, limit: Load) -> Estimate | None:
    """Estimate of the rate, from the share of late responses in each pass; None without a rate, or for too few passes."""
    if most.capacity.rate_per_s is None or most.capacity.at_least:
        return None
    passes = [Pass(item.rate_per_s, item.late, item.items) for item in most.load_curve.points if item.late is not None]
    return crossing(passes, 1 - limit.percentile / 100)


def notes(record: CellRecord, sweep: Sweep | None) -> list[Finding]:
    """Findings on a missing rate, a rate that may be higher, and disturbances of the measured rates."""
    limit, most = limit_of(record, sweep), sustained(record, sweep)
    if limit is None:
        return []
    which = limit.percentile
    if most is None:
        return [Finding.of("rate_untold", percentile=which)]
    dirty = {cause for point in most.load_curve.points for cause in above("throughput", point.noise)}
    disturbed = [Finding.of("load_disturbed", causes=", ".join(sorted(dirty)))] if dirty else []
    if most.capacity.rate_per_s is None:
        rate, latency = most.capacity.curve[0]
        if latency >= ENDLESS_NS / 2:
            return [Finding.of("rate_queue", rate=rate), *disturbed]
        return [Finding.of("rate_latency", percentile=which, latency_ms=latency / 1e6, rate=rate), *disturbed]
    more = [Finding.of("rate_at_least", percentile=which)] if most.capacity.at_least else []
    return [*more, *disturbed]
