"""Columns of a GPU's clocks: figures in cycles, and measurements that throttled clocks spoiled. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from ...store import clocks
from .. import gpu
from ..column import LESS, MORE, ONE_CALL, Column, timed
from ..row import Row


def _p50_cycles(row: Row) -> Scalar:
    return clocks.cycles(row.record, "p50").typical


def _bound(end: str) -> Callable[[Row], Scalar]:
    return lambda row: None if row.cycles is None else float(getattr(row.cycles, end))


def _throttled(row: Row) -> Scalar:
    return gpu.dropped(row.record)


def _end(end: str, side: str) -> Column:
    return timed(
        f"speedup_cycles_ci_{end}",
        _bound(end),
        unit="x",
        gpu=True,
        shown=False,
        absent="absent_baseline",
        definition=f"{side} end of the 95 % confidence interval of the speed-up in cycles.",
    )


COLUMNS = (
    timed(
        "p50_cycles",
        _p50_cycles,
        unit="cycles",
        title="p50 in cycles",
        gpu=True,
        shown=False,
        better=LESS,
        in_flight=ONE_CALL,
        definition="Cycles of the GPU's multiprocessors in a median call: the time of each round times its clock.",
    ),
    timed(
        "speedup_cycles",
        lambda row: row.cycle_ratios.typical,
        unit="x",
        title="speed-up in cycles",
        gpu=True,
        shown=False,
        better=MORE,
        absent="absent_baseline",
        definition="Speed-up by cycles instead of time, paired by round; only for two rows on GPUs.",
    ),
    _end("low", "Lower"),
    _end("high", "Upper"),
    timed(
        "gpu_throttled",
        _throttled,
        title="throttled",
        gpu=True,
        shown=False,
        definition="Number of measurements that were dropped and repeated, because the GPU's clocks were throttled.",
    ),
)
