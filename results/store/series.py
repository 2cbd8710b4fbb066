"""One value a round, for intervals, speed-ups, the stop rule and drift. Pure.

Disturbed rounds are excluded if enough clean rounds are left for an interval; otherwise all rounds count. The row's grade
and its column `disturbed` report the disturbed rounds in both cases.
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
    """Numbers of the disturbed rounds of `record`."""
    return record.disturbed


def counted(rounds: Collection[int], *dirty: Collection[int]) -> list[int]:
    """Numbers of the rounds that count, in order: `rounds` without all `dirty`, or all `rounds` if too few would be left."""
    clean = sorted(set(rounds).difference(*dirty))
    return clean if len(clean) >= LEAST_ROUNDS else sorted(rounds)


def samples(record: CellRecord, kind: str) -> NDArray[np.int64]:
    """Durations of all calls in the rounds that count, int64 ns. `kind`: latency or end_to_end."""
    parts = [record.calls(number, kind) for number in counted(record.blocks, disturbed(record))]
    return np.concatenate(parts or [np.array([], np.int64)])


def pool(record: CellRecord) -> Pooled:
    """Percentiles of all calls in the rounds that count, from the samples."""
    rounds = tuple(counted(record.blocks, disturbed(record)))
    return Pooled(rounds=rounds, kinds={kind: _percentiles(samples(record, kind)) for kind in KINDS})


def _percentiles(calls: NDArray[np.int64]) -> Percentiles:
    p50, p90, p99 = (percentile(calls, which) for which in NOTED)
    return Percentiles(samples=len(calls), p50_ns=p50, p90_ns=p90, p99_ns=p99, p95_ns=percentile(calls, 95))


def pooled(record: CellRecord) -> Pooled:
    """Percentiles as in `pool`; from the journal if it has them for the rounds that count."""
    stored = record.pooled
    fits = stored is not None and stored.rounds == tuple(counted(record.blocks, disturbed(record)))
    return stored if stored is not None and fits else pool(record)


def _percentile(kind: str, which: float) -> Callable[[CellRecord, int], float]:
    # At least 1 ns: a clock with coarse steps can report 0, which has no logarithm and no ratio.
    return lambda record, number: max(1.0, nearest_rank(record.calls(number, kind), which))


def _median(kind: str) -> Callable[[CellRecord, int], float]:
    return lambda record, number: max(1.0, record.p50_ns(number, kind) or 0.0)


def _rate(record: CellRecord, number: int) -> float:
    """Items a second of a round. `ValueError` for a rate that is not finite or not above 0: the file is damaged."""
    throughput = record.blocks[number].throughput
    rate = record.cell.batch * throughput.calls_per_s if throughput else 0.0
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
    """Value of `metric` by round, for the rounds that count: times in ns, throughput in items a second."""
    value_of = ROUND_METRICS[metric]
    return {number: value_of(record, number) for number in counted(record.blocks, disturbed(record))}


def figures(record: CellRecord) -> Mapping[str, Sequence[float]]:
    """MEDIANS (ns) and the throughput (items a second), with one value for each round that counts.

    A median that a round lacks is left out. Empty without rounds.
    """
    rounds = counted(record.blocks, disturbed(record))
    medians = {name: [record.p50_ns(number, kind) for number in rounds] for name, kind in MEDIANS.items()}
    timed = {name: [max(1.0, p50) for p50 in p50s if p50] for name, p50s in medians.items() if all(p50s)}
    return {**timed, "throughput": [_rate(record, number) for number in rounds]} if rounds else {}


def interval(record: CellRecord, metric: str) -> Interval | None:
    """Interval of `metric`, with the round as the unit; None for too few rounds."""
    return log_interval(list(values(record, metric).values()))


def ratios(base: CellRecord, new: CellRecord) -> list[float]:
    """Speed-up of `new` over `base`, by p50, in each round that both measured."""
    return paired(new, base, "p50")


def paired(base: CellRecord, new: CellRecord, metric: str) -> list[float]:
    """Ratio of `metric` of `new` to that of `base`, in each round that both measured and that counts."""
    both = counted(set(base.blocks) & set(new.blocks), disturbed(base), disturbed(new))
    value_of = ROUND_METRICS[metric]
    return [value_of(new, number) / value_of(base, number) for number in both]


def stopping_interval(record: CellRecord, base: CellRecord | None, metric: str) -> tuple[str, Interval | None]:
    """Metric and interval of the stop rule and the grade: of the speed-up if there is a base cell, else of `metric`."""
    if base is None or base is record or not base.measured:
        return metric, interval(record, metric)
    return "speedup", log_interval(ratios(base, record))
