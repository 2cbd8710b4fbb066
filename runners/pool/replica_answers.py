"""One answer made of the answers of a cell's replicas, by the kind of job. Pure.

A figure of the whole is the sum of the replicas where they add up (calls, memory, power), and else the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from ...evidence import Counts, Distance, Energy, GpuCounts, Opened, Rate, Verified, Warm
from ...spec import Device
from ..worker.jobs import (
    Close,
    CompareTimed,
    Done,
    Job,
    Open,
    Probe,
    Probed,
    ReadEnergy,
    StartCold,
    Started,
    TimedAnswer,
    TimedAnswers,
    TimedThroughput,
    TimeThroughput,
    Verify,
    WarmUp,
)
from ..worker.nvml import SLOWED

Each = Mapping[Device, Any]
Value = TypeVar("Value", int, float)


def _first(answers: Mapping[Device, Probed | Done]) -> Probed | Done:
    return next(iter(answers.values()))


def opened(answers: Mapping[Device, Opened]) -> Opened:
    """The first session, with the slowest opening. A session that differs from the first one adds a remark."""
    first, *others = answers.items()
    remarks = tuple(
        f"the replica on {device} differs from the one on {first[0]}: {names}"
        for device, other in others
        if (names := ", ".join(_differences(first[1], other)))
    )
    return replace(
        first[1],
        load_s=_highest(answer.load_s for answer in answers.values()),
        first_ms=_highest(answer.first_ms for answer in answers.values()),
        info=replace(first[1].info, remarks=(*first[1].info.remarks, *remarks)),
    )


def _differences(one: Opened, other: Opened) -> list[str]:
    """Differences between two sessions: the arithmetic, the engine, and settings, each with both values."""
    left, right = _facts(one), _facts(other)
    return [
        f"{name} {right.get(name)} instead of {left.get(name)}"
        for name in {**left, **right}
        if left.get(name) != right.get(name)
    ]


def _facts(item: Opened) -> dict[str, str | None]:
    return {"executed": item.info.executed, "engine": item.engine_sha256, **(item.info.settings or {})}


def verified(answers: Mapping[Device, Verified]) -> Verified:
    """The accuracy of the first, with the distance of the replica that is farthest from the reference."""
    first, *_ = answers.values()
    worst = min(answers.values(), key=lambda answer: (answer.diverged is None, answer.sqnr_db))
    distance = {item.name: getattr(worst, item.name) for item in fields(Distance) if item.name != "agreement"}
    return replace(first, **distance, diverged=worst.diverged, diverged_step=worst.diverged_step)


def warm(answers: Mapping[Device, Warm]) -> Warm:
    """The warm-up of the first, whose concurrency all have. `lanes` counts those of all replicas."""
    first, *_ = answers.values()
    devices = list(answers)
    where = f"{len(devices)} processes, one on each of {devices[0]} to {devices[-1]}, each with"
    return replace(
        first,
        lanes=sum(answer.lanes or 0 for answer in answers.values()),
        deploy=f"{where} {first.deploy}" if first.deploy else "",
        stationary=all(answer.stationary for answer in answers.values()),
        settled=all(answer.settled for answer in answers.values()),
    )


def throughput(answers: Mapping[Device, TimedThroughput]) -> TimedThroughput:
    """The rate of all replicas together, over the same time."""
    each = list(answers.values())
    return TimedThroughput(
        rate=_rate([answer.rate for answer in each]),
        noise=_noise(each),
        settled=all(answer.settled for answer in each),
        cpu_ns=sum(answer.cpu_ns for answer in each),
    )


def _rate(rates: Sequence[Rate]) -> Rate:
    longest = max(rate.took_ns for rate in rates)
    calls = sum(rate.calls * longest / rate.took_ns for rate in rates)
    lanes = sum(rate.lanes for rate in rates)
    return Rate(calls=calls, took_ns=longest, lanes=lanes, each=tuple(rate.calls_per_s for rate in rates))


def _noise(answers: Sequence[TimedThroughput]) -> Counts:
    first, each = answers[0].noise, [answer.noise for answer in answers]
    # The first process counts the other replicas as other processes.
    own_ns = sum(answer.cpu_ns for answer in answers[1:])
    gpus = tuple(counts.gpu for counts in each if counts.gpu)
    return replace(
        first,
        steal_ns=_highest(counts.steal_ns for counts in each),
        others_ns=None if first.others_ns is None else max(0, first.others_ns - own_ns),
        run_delay_ns=_highest(counts.run_delay_ns for counts in each),
        major_faults=_highest(counts.major_faults for counts in each),
        gpu=worst_gpu(gpus) if gpus else None,
        gpus=gpus,
    )


def worst_gpu(gpus: Sequence[GpuCounts]) -> GpuCounts:
    """The lowest clocks, the highest temperature, every cause of lower clocks, and the power of all together."""
    causes = [name for counts in gpus for name in counts.throttle or ()]
    reported = any(counts.throttle is not None for counts in gpus)
    powers = [counts.power_w for counts in gpus if counts.power_w is not None]
    return GpuCounts(
        sm_mhz=_lowest(counts.sm_mhz for counts in gpus),
        sm_begin_mhz=_lowest(counts.sm_begin_mhz for counts in gpus),
        memory_mhz=_lowest(counts.memory_mhz for counts in gpus),
        temperature_c=_highest(counts.temperature_c for counts in gpus),
        power_w=sum(powers) if len(powers) == len(gpus) else None,
        throttle=tuple(name for name in SLOWED if name in causes) if reported else None,
        others=_highest(counts.others for counts in gpus),
        reason=next((counts.reason for counts in gpus if counts.reason), None),
    )


def compared(answers: Mapping[Device, TimedAnswers]) -> TimedAnswers:
    """The answers of all replicas. Lanes are numbered over all of them, GPU after GPU."""
    numbered: list[TimedAnswer] = []
    for answer in answers.values():
        before: dict[str, int] = {}
        for each in numbered:
            before[each.part] = max(before.get(each.part, 0), each.lane)
        numbered += [replace(each, lane=each.lane + before.get(each.part, 0)) for each in answer.answers]
    return TimedAnswers(answers=tuple(numbered))


def energy(answers: Mapping[Device, Energy]) -> Energy:
    """Power of all GPUs together, over the items of all. The first reason of a missing figure stands for all."""
    each = list(answers.values())
    reasons = [(device, answer.reason) for device, answer in answers.items() if answer.reason]
    if reasons:
        device, reason = reasons[0]
        of_machine = len(reasons) == len(each) and len({text for _, text in reasons}) == 1
        return Energy(reason=reason if of_machine else f"on {device}: {reason}")
    power_w, items_per_s = (sum(getattr(answer, name) or 0 for answer in each) for name in ("power_w", "items_per_s"))
    return Energy(
        power_w=power_w,
        items_per_s=items_per_s,
        energy_mj=power_w / items_per_s * 1e3 if items_per_s else None,
        renewals=_lowest(answer.renewals for answer in each),
    )


def started(answers: Mapping[Device, Started]) -> Started:
    """The slowest start, and the memory of all processes."""
    first, *_ = each = list(answers.values())
    memory = {name: [getattr(answer, name) for answer in each] for name in ("peak_rss_mb", "device_mem_mb")}
    return replace(
        first,
        **{name: None if None in values else sum(values) for name, values in memory.items()},
        **{name: _highest(getattr(answer, name) for answer in each) for name in ("import_s", "load_s", "first_ms")},
        up_ns=max(answer.up_ns for answer in each),
        answered_ns=max(answer.answered_ns for answer in each),
    )


def _highest(values: Iterable[Value | None]) -> Value | None:
    return max((value for value in values if value is not None), default=None)


def _lowest(values: Iterable[Value | None]) -> Value | None:
    return min((value for value in values if value is not None), default=None)


COMBINED: Mapping[type[Job[Any]], Callable[[Each], Any]] = {
    Probe: _first,
    Open: opened,
    Verify: verified,
    WarmUp: warm,
    TimeThroughput: throughput,
    CompareTimed: compared,
    ReadEnergy: energy,
    StartCold: started,
    Close: _first,
}
"""Jobs that every replica gets, and the function that combines their answers."""
