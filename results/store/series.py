"""One value a round: what intervals, speed-ups, the stop rule and drift are computed from. Pure.

Rounds whose blocks were disturbed do not count, as long as enough others are left for an interval; where they are not,
all count. The row's grade and its column `disturbed` tell of them either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...evidence import KINDS, Percentiles, Pooled
from ..stats.intervals import LEAST_ROUNDS, Interval, log_interval
from ..stats.percentiles import nearest_rank, percentile
from .record import CellRecord

Values = dict[int, float]
NOTED = (50, 90, 99)


def disturbed(record: CellRecord) -> frozenset[int]:
    """The rounds of `record` that something disturbed."""
    return record.disturbed


def counted(rounds: Collection[int], *dirty: Collection[int]) -> list[int]:
    """Those of `rounds`, in order, that are in none of `dirty`; all of them where too few would be left."""
    clean = sorted(set(rounds).difference(*dirty))
    return clean if len(clean) >= LEAST_ROUNDS else sorted(rounds)


def samples(record: CellRecord, kind: str) -> NDArray[np.int64]:
    """The times of all calls of the rounds that count, in ns. `kind`: latency or end_to_end."""
    parts = [record.calls(number, kind) for number in counted(record.blocks, disturbed(record))]
    return np.concatenate(parts or [np.array([], np.int64)])


def pool(record: CellRecord) -> Pooled:
    """Percentiles of the samples, of the rounds that count."""
    rounds = tuple(counted(record.blocks, disturbed(record)))
    return Pooled(rounds=rounds, kinds={kind: _percentiles(samples(record, kind)) for kind in KINDS})


def _percentiles(calls: NDArray[np.int64]) -> Percentiles:
    p50, p90, p99 = (percentile(calls, which) for which in NOTED)
    return Percentiles(samples=len(calls), p50_ns=p50, p90_ns=p90, p99_ns=p99)


def pooled(record: CellRecord) -> Pooled:
    """`pool`, without reading the samples where the journal has it for the rounds that count."""
    known = record.pooled
    fits = known is not None and known.rounds == tuple(counted(record.blocks, disturbed(record)))
    return known if known is not None and fits else pool(record)


def _percentile(kind: str, which: float) -> Callable[[CellRecord, int], float]:
    return lambda record, number: max(1.0, nearest_rank(record.calls(number, kind), which))  # no ratio of a clock's single step


def _median(kind: str) -> Callable[[CellRecord, int], float]:
    return lambda record, number: max(1.0, record.p50_ns(number, kind) or 0.0)


def _rate(record: CellRecord, number: int) -> float:
    """Items a second. `ValueError` where that is no number above 0, which no block's is."""
    told = record.blocks[number].throughput
    rate = record.cell.batch * told.calls_per_s if told else 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"round {number} of {record.cell.id} has a throughput of {rate:g} items a second")
    return rate


ROUND_METRICS: Mapping[str, Callable[[CellRecord, int], float]] = {
    "p50": _median("latency"),
    "p90": _percentile("latency", 90),
    "p99": _percentile("latency", 99),
    "e2e_p50": _median("end_to_end"),
    "throughput": _rate,
}


MEDIANS = {"p50": "latency", "e2e_p50": "end_to_end", "device_p50": "device"}


def values(record: CellRecord, metric: str) -> Values:
    """`metric` of each round that counts; times in ns, throughput in items a second."""
    of = ROUND_METRICS[metric]
    return {number: of(record, number) for number in counted(record.blocks, disturbed(record))}


def figures(record: CellRecord) -> Mapping[str, Sequence[float]]:
    """MEDIANS (ns) and the throughput (items a second) of each round that counts; nothing of what was not timed."""
    rounds = counted(record.blocks, disturbed(record))
    found = {name: [record.p50_ns(number, kind) for number in rounds] for name, kind in MEDIANS.items()}
    timed = {name: [max(1.0, p50) for p50 in p50s if p50] for name, p50s in found.items() if all(p50s)}
    return {**timed, "throughput": [_rate(record, number) for number in rounds]} if rounds else {}


def interval(record: CellRecord, metric: str) -> Interval | None:
    """The interval of `metric` with the round as the unit; None for too few rounds."""
    return log_interval(list(values(record, metric).values()))


def ratios(base: CellRecord, new: CellRecord) -> list[float]:
    """How many times faster `new` was than `base`, by p50, in each round that both measured."""
    return paired(new, base, "p50")


def paired(base: CellRecord, new: CellRecord, metric: str) -> list[float]:
    """`metric` of `new` over that of `base` in each round that both measured."""
    both = counted(set(base.blocks) & set(new.blocks), disturbed(base), disturbed(new))
    of = ROUND_METRICS[metric]
    return [of(new, number) / of(base, number) for number in both]


def asked_interval(record: CellRecord, base: CellRecord | None, metric: str) -> tuple[str, Interval | None]:
    """What the stop rule and the grade look at, and its name: the speed-up where there is another cell to compare with."""
    if base is None or base is record or not base.measured:
        return metric, interval(record, metric)
    return "speedup", log_interval(ratios(base, record))
