"""Findings on latency that depends on the array, or on the repetition of one array, for rows with `--inputs`. Pure.

Each effect is an interval over lives or rounds. It is a finding if the whole interval is beyond MARGIN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean

from ...evidence import ByArray
from ..stats.intervals import ALPHA, Interval, difference
from ..store import series
from ..store.record import CellRecord
from .findings import Finding

MARGIN = 0.01  # smaller effects do not matter, and the copy of another array causes some


def of_arrays(record: CellRecord) -> Iterator[Finding]:
    """Findings of a row whose calls got several arrays in turn; none for too few lives or rounds."""
    rounds = {number: block.by_array for number, block in record.blocks.items() if block.by_array}
    if not rounds:
        return
    repetition = _interval(record, {number: ratio for number, each in rounds.items() if (ratio := _repetition(each))}, ALPHA)
    if repetition and _matters(repetition):
        yield Finding.of("repetition", **_change(repetition))
    # One interval for each array: their error probabilities add up (Bonferroni).
    count = record.cell.inputs
    effects = {array: _interval(record, _effects(rounds, array), ALPHA / count) for array in range(count)}
    shown = {array: interval for array, interval in effects.items() if interval and _matters(interval)}
    if shown:
        array = max(shown, key=lambda array: abs(math.log(shown[array].middle)))
        yield Finding.of("array_dependent", array=array + 1, of=count, arrays=len(shown), **_change(shown[array]))


def _repetition(each: ByArray) -> float | None:
    """Latency of one array again and again, over that of the same array in turn with others."""
    in_turn = each.p50_ns[each.repeated] if each.repeated < len(each.p50_ns) else None
    return each.repeated_ns / in_turn if in_turn and each.repeated_ns > 0 else None


def _effects(rounds: Mapping[int, ByArray], array: int) -> dict[int, float]:
    """Latency of `array` over the geometric mean of the other arrays, by round."""
    effects = {}
    for number, each in rounds.items():
        logs = {index: math.log(ns) for index, ns in enumerate(each.p50_ns) if ns}
        own = logs.pop(array, None)
        if own is not None and logs:
            effects[number] = math.exp(own - fmean(logs.values()))
    return effects


def _interval(record: CellRecord, ratios: Mapping[int, float], alpha: float) -> Interval | None:
    """Interval of ratios by round, of the rounds that count; None for too few."""
    own = {number: ratios[number] for number in series.counted(record) if number in ratios}
    estimate = series.by_life(own, record).estimate if own else None
    return difference([estimate], [], alpha=alpha) if estimate else None


def _matters(interval: Interval) -> bool:
    return interval.low > 1 + MARGIN or interval.high < 1 - MARGIN


def _change(interval: Interval) -> dict[str, float]:
    """The figure and its interval as changes in per cent."""
    ends = {"change": interval.middle, "low": interval.low, "high": interval.high}
    return {name: 100 * (ratio - 1) for name, ratio in ends.items()}
