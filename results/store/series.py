"""Values of a cell by round and by life, for intervals, speed-ups, the stop rule and drift. Pure.

Disturbed rounds are excluded if enough clean rounds are left for an interval; otherwise all rounds count. The row's grade
and its column `disturbed` report the disturbed rounds in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ...evidence import KINDS, Percentiles, Pooled
from ...loop import PHASES
from ..stats.intervals import LEAST_LIVES, LEAST_ROUNDS, LIFE, ROUND, Interval, Repeated, Unit, values_of_lives
from ..stats.percentiles import PERCENTILES, nearest_rank, percentile, samples_needed
from ..stats.tails import tail_interval
from .record import CellRecord

Values = Mapping[int, float]
NOTED = (50, 90, 99)


def disturbed(record: CellRecord) -> frozenset[int]:
    """Numbers of the disturbed rounds of `record`."""
    return record.disturbed


def counted(record: CellRecord, other: CellRecord | None = None, metric: str = "p50") -> list[int]:
    """Numbers of the rounds that count, in order: those without a disturbance, or all if too few would be left.

    `other`: a second record that must have measured the rounds too. `metric`: key of ROUND_METRICS, which they must have.
    """
    if other is not None and other is not record:
        return _counted(record, other, metric)
    with_rate = metric == "throughput"
    if with_rate not in record.rounds_that_count:
        record.rounds_that_count[with_rate] = _counted(record, record, metric)
    return record.rounds_that_count[with_rate]


def _counted(record: CellRecord, other: CellRecord, metric: str) -> list[int]:
    rounds = _measured(record, metric) & _measured(other, metric)
    clean = rounds - disturbed(record) - disturbed(other)
    of_rounds = _lives(record, other)
    lives = {of_rounds.get(number) for number in clean} if of_rounds else {None}
    enough = len(clean) >= LEAST_ROUNDS if None in lives else len(lives) >= LEAST_LIVES
    return sorted(clean if enough else rounds)


def _measured(record: CellRecord, metric: str) -> set[int]:
    """Rounds with a value of `metric`. `ValueError` where none of the rounds has the throughput that it must have: the file is
    damaged. Cells with cold caches have latency only."""
    if metric != "throughput" or not record.blocks:
        return set(record.blocks)
    rounds = {number for number, block in record.blocks.items() if block.throughput}
    if not rounds and not record.cell.latency_only:
        raise ValueError(f"no round of {record.cell.id} has a throughput")
    return rounds


def _lives(record: CellRecord, other: CellRecord | None = None) -> Mapping[int, int]:
    """Life of each round: that of `record`, else that of `other`. Empty if the processes of both last for the run."""
    if other is None or other is record:
        return record.lives_of_rounds
    return {**other.lives_of_rounds, **record.lives_of_rounds}


def by_life(values: Mapping[int, float], *records: CellRecord) -> Repeated:
    """Values of a figure of `records`, one for each life, from one value a round; one for each round without lives.

    The values of lives are those of `values_of_lives`, which cuts the rounds that a change of the machine's speed entered.
    """
    lives = rounds_by_life(values, *records)
    return Repeated(values_of_lives(list(lives.values())), LIFE) if lives else Repeated(list(values.values()))


def rounds_by_life(values: Mapping[int, float], *records: CellRecord) -> Mapping[int, list[float]]:
    """Values of the rounds of each life, from one value a round; empty where the processes last for the run."""
    by_number: dict[int, list[float]] = {}
    lives = _lives(*records)
    if not lives:
        return by_number
    for number, value in values.items():
        life = lives.get(number)
        if life is None:
            return {}
        by_number.setdefault(life, []).append(value)
    return by_number


def samples(record: CellRecord, kind: str) -> NDArray[np.int64]:
    """Durations of all calls in the rounds that count, int64 ns. `kind`: latency or end_to_end."""
    return np.concatenate([np.array([], np.int64), *_groups(record, kind)[0]])


def _groups(record: CellRecord, kind: str) -> tuple[list[NDArray[np.int64]], Unit]:
    """Durations of the calls of each life, or of each round where the record has no lives, in int64 ns."""
    by_unit: dict[tuple[int, bool], list[NDArray[np.int64]]] = {}
    for number in counted(record):
        life = record.blocks[number].life
        by_unit.setdefault((number, False) if life is None else (life, True), []).append(record.calls(number, kind))
    return [np.concatenate(parts) for parts in by_unit.values()], LIFE if any(lives for _, lives in by_unit) else ROUND


def pool(record: CellRecord) -> Pooled:
    """Percentiles of all calls in the rounds that count, from the samples."""
    rounds = tuple(counted(record))
    phases = [name for name in PHASES if any(name in (block.p50_ns or {}) for block in record.blocks.values())]
    return Pooled(rounds=rounds, kinds={kind: _percentiles(record, kind) for kind in (*KINDS, *phases)})


def _percentiles(record: CellRecord, kind: str) -> Percentiles:
    calls = samples(record, kind)
    p50, p90, p95, p99, p999 = (percentile(calls, which) for which in PERCENTILES)
    return Percentiles(
        samples=len(calls),
        p50_ns=p50,
        p90_ns=p90,
        p95_ns=p95,
        p99_ns=p99,
        p999_ns=p999,
        min_ns=float(calls.min()) if len(calls) else None,
        mean_ns=float(calls.mean()) if len(calls) else None,
        max_ns=float(calls.max()) if len(calls) else None,
        **(_tails(record) if kind == "latency" else {}),
    )


def _tails(record: CellRecord) -> dict[str, float | None]:
    """Ends of the intervals of p90 and p99; empty for too few lives or rounds. A percentile of too few calls has none."""
    groups, unit = _groups(record, "latency")
    if len(groups) < unit.least:
        return {}
    count = sum(map(len, groups))
    ends = {which: tail_interval(groups, which) for which in (90, 99) if count >= samples_needed(which)}
    return {f"p{which}_{name}_ns": end for which, pair in ends.items() for name, end in zip(("low", "high"), pair)}


def pooled(record: CellRecord) -> Pooled:
    """Percentiles as in `pool`; from the journal if it has them for the rounds that count."""
    stored = record.pooled
    fits = stored is not None and stored.rounds == tuple(counted(record))
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
    if metric not in record.by_round:
        value_of = ROUND_METRICS[metric]
        record.by_round[metric] = {number: value_of(record, number) for number in counted(record, metric=metric)}
    return record.by_round[metric]


def figures(record: CellRecord) -> Mapping[str, Repeated]:
    """MEDIANS (ns) and the throughput (items a second), with one value for each life or round that counts.

    A median that a round lacks is left out. Empty without rounds.
    """
    rounds = counted(record)
    kinds = {name: kind for name, kind in MEDIANS.items() if rounds and record.p50_ns(rounds[0], kind)}
    medians = {name: [record.p50_ns(number, kind) for number in rounds] for name, kind in kinds.items()}
    timed: dict[str, Values] = {
        name: {number: max(1.0, p50) for number, p50 in zip(rounds, p50s) if p50} for name, p50s in medians.items() if all(p50s)
    }
    if not record.cell.latency_only:
        timed["throughput"] = values(record, "throughput")
    return {name: by_life(by_round, record) for name, by_round in timed.items()} if rounds else {}


def repeated(record: CellRecord, metric: str) -> Repeated:
    """Values of `metric`, one for each life or round that counts."""
    if metric not in record.repeated:
        record.repeated[metric] = by_life(values(record, metric), record)
    return record.repeated[metric]


def interval(record: CellRecord, metric: str) -> Interval | None:
    """Interval of `metric`; None for too few lives or rounds."""
    return repeated(record, metric).interval


def ratios(base: CellRecord, new: CellRecord) -> Repeated:
    """Speed-up of `new` over `base`, by p50, in each life or round that both measured."""
    return paired(new, base, "p50")


def paired(base: CellRecord, new: CellRecord, metric: str) -> Repeated:
    """Ratio of `metric` of `new` to that of `base`, in each life or round that both measured and that counts."""
    value_of = ROUND_METRICS[metric]
    by_round = {number: value_of(new, number) / value_of(base, number) for number in counted(new, base, metric)}
    return by_life(by_round, new, base)


def stopping_interval(record: CellRecord, base: CellRecord | None, metric: str) -> tuple[str, Interval | None]:
    """Metric and interval of the stop rule and the grade: of the speed-up if there is a base cell, else of `metric`."""
    if base is None or base is record or not base.measured:
        return metric, interval(record, metric)
    return "speedup", ratios(base, record).interval
