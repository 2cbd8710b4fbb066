"""The curve of latency over arrival rate, and the highest rate that a limit allows, read off it. NumPy and SciPy only.

Every limit is read off the same curve, made monotone, so that a higher limit never allows a lower rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ...evidence import LoadCurve, LoadPoint, UnderLoad
from ...spec import Load, Sweep
from ..store.noise import above
from ..store.record import CellRecord
from .findings import Finding

ENDLESS_NS = 1e15  # stands for a queue that grows without end

Point = tuple[float, float]  # items a second, and the percentile of the responses at it, in ns


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The highest `rate_per_s` within a limit; None where the lowest rate that was tried is over it. `at_least`: the highest
    that was tried is within it. `curve`: every rate and its latency, monotone."""

    rate_per_s: float | None
    at_least: bool
    curve: tuple[Point, ...]


def points(told: Sequence[LoadPoint], percentile: float) -> list[Point]:
    """Each rate with the median over its passes; an overloaded one is endless, one without this percentile left out."""
    found: dict[float, list[float]] = {}
    for item in told:
        value = ENDLESS_NS if item.overloaded else item.latency_ns.get(f"{percentile:g}")
        if value is not None:
            found.setdefault(item.rate_per_s, []).append(float(value))
    return [(rate, median(values)) for rate, values in sorted(found.items())]


def monotone(curve: Sequence[Point]) -> tuple[Point, ...]:
    """The nearest curve (least squares of logarithms) in which latency never falls with the rate."""
    from scipy.optimize import isotonic_regression

    fitted = isotonic_regression([math.log(latency) for _, latency in curve]).x
    return tuple((rate, math.exp(value)) for (rate, _), value in zip(curve, fitted))


def capacity(told: Sequence[LoadPoint], percentile: float, limit_ns: float) -> Capacity | None:
    """What `limit_ns` allows by the rates that were tried; between two of them by interpolation in the logarithm of latency,
    except towards one that was overloaded, which has no latency. None where no rate tells the percentile."""
    known = points(told, percentile)
    if not known:
        return None
    curve = monotone(known)
    held = [point for point in curve if point[1] <= limit_ns]
    if not held:
        return Capacity(rate_per_s=None, at_least=False, curve=curve)
    if len(held) == len(curve):
        return Capacity(rate_per_s=held[-1][0], at_least=True, curve=curve)
    return Capacity(rate_per_s=_between(held[-1], curve[len(held)], limit_ns), at_least=False, curve=curve)


def _between(low: Point, high: Point, limit_ns: float) -> float:
    if high[1] >= ENDLESS_NS / 2:
        return low[0]
    share = math.log(limit_ns / low[1]) / math.log(high[1] / low[1])
    return low[0] + share * (high[0] - low[0])


@dataclass(frozen=True, kw_only=True)
class Best:
    """The way of calling in parallel that allows most, and what is known of it."""

    way: LoadCurve
    capacity: Capacity


def best(told: UnderLoad | None, percentile: float, limit_ms: float) -> Best | None:
    """Of the ways in which a cell was loaded, the one that holds the limit at the highest rate."""
    found = [
        Best(way=way, capacity=known)
        for way in (told.ways if told else ())
        if (known := capacity(way.points, percentile, limit_ms * 1e6))
    ]
    return max(found, key=lambda item: item.capacity.rate_per_s or 0.0, default=None)


def limit_of(record: CellRecord, sweep: Sweep | None) -> Load | None:
    """The limit that counts for `record`: of its run's sweep, or else the one that it was loaded for; None without a curve."""
    return ((sweep and sweep.load) or record.load.asked) if record.load else None


def sustained(record: CellRecord, sweep: Sweep | None) -> Best | None:
    """Best way of calling within the limit of `limit_of`."""
    wanted = limit_of(record, sweep)
    return best(record.load, wanted.percentile, wanted.limit_ms) if wanted else None


def notes(record: CellRecord, sweep: Sweep | None) -> list[Finding]:
    """Why there is no rate, or that there may be a higher one; and what disturbed the rates that it rests on."""
    wanted, most = limit_of(record, sweep), sustained(record, sweep)
    if wanted is None:
        return []
    which = wanted.percentile
    if most is None:
        return [Finding.of("rate_untold", percentile=which)]
    dirty = {cause for point in most.way.points for cause in above("throughput", point.noise)}
    disturbed = [Finding.of("load_disturbed", causes=", ".join(sorted(dirty)))] if dirty else []
    if most.capacity.rate_per_s is None:
        rate, latency = most.capacity.curve[0]
        if latency >= ENDLESS_NS / 2:
            return [Finding.of("rate_queue", rate=rate), *disturbed]
        return [Finding.of("rate_latency", percentile=which, latency_ms=latency / 1e6, rate=rate), *disturbed]
    more = [Finding.of("rate_at_least", percentile=which)] if most.capacity.at_least else []
    return [*more, *disturbed]
