"""Columns of the spread of single calls: tails with their intervals, and the shortest, mean and longest call. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from ...stats.percentiles import samples_needed
from ..column import LESS, ONE_CALL, Column, timed
from ..findings import Finding
from ..row import Row
from .timing import median_bound, too_few_rounds, withheld


def _of_calls(name: str) -> Callable[[Row], Scalar]:
    """A figure in ms of `Percentiles`, of all single calls that count."""

    def value(row: Row) -> Scalar:
        ns: float | None = getattr(row.pooled.kinds["latency"], f"{name}_ns")
        return None if ns is None else ns / 1e6

    return value


def _no_bound(which: int, end: str) -> Callable[[Row], Finding]:
    """Reason for a missing end of a percentile's interval."""

    def absent(row: Row) -> Finding:
        calls = row.pooled.kinds["latency"]
        if calls.samples < samples_needed(which):
            return withheld(f"p{which}", which)(row)
        if end == "high" and getattr(calls, f"p{which}_low_ns") is not None:
            return Finding.of("absent_upper", column=f"p{which}_ci_high_ms", metric=f"p{which}")
        return too_few_rounds(f"p{which}_ci_{end}_ms")(row)

    return absent


def _tail_bounds(which: int) -> tuple[Column, Column]:
    low, high = (
        timed(
            f"p{which}_ci_{end}_ms",
            _of_calls(f"p{which}_{end}"),
            unit="ms",
            shown=False,
            absent=_no_bound(which, end),
            definition=f"{side} end of the 95 % confidence interval of p{which}, over lives (Woodruff).",
        )
        for end, side in (("low", "Lower"), ("high", "Upper"))
    )
    return low, high


def _spread(name: str, what: str) -> Column:
    return timed(
        f"{name}_ms",
        _of_calls(name),
        unit="ms",
        shown=False,
        absent="absent",
        in_flight=ONE_CALL,
        definition=f"{what} latency of the calls of all rounds that count.",
    )


COLUMNS = (
    *_tail_bounds(90),
    *_tail_bounds(99),
    timed(
        "p999_ms",
        _of_calls("p999"),
        unit="ms",
        shown=False,
        better=LESS,
        in_flight=ONE_CALL,
        absent=withheld("p99.9", 99.9),
        definition="Latency that 99.9 % of the calls do not exceed.",
    ),
    _spread("min", "Shortest"),
    _spread("mean", "Mean"),
    _spread("max", "Longest"),
    *(
        timed(
            f"e2e_p50_ci_{end}_ms",
            median_bound("end_to_end", lambda row: row.e2e_p50, end),
            unit="ms",
            shown=False,
            absent=too_few_rounds(f"e2e_p50_ci_{end}_ms"),
            definition=f"{side} end of the 95 % confidence interval of e2e_p50_ms.",
        )
        for end, side in (("low", "Lower"), ("high", "Upper"))
    ),
)
