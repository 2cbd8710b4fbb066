"""Columns of the work of a call, and of its distance from what the machine attains (--roof). Pure."""

from __future__ import annotations

from collections.abc import Callable

from ....axes import Scalar
from .. import roof
from ..column import Column, timed
from ..findings import Finding
from ..row import Row


def _percent(name: str) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        share: float | None = getattr(row.limits, name)
        return None if share is None else 100 * share

    return value


def _gflops(row: Row) -> Scalar:
    flops = row.record.work and row.record.work.layer_flops
    return flops / 1e9 if flops else None


def _rate(of: Callable[..., float | None]) -> Callable[[Row], Scalar]:
    def value(row: Row) -> Scalar:
        rate = of(row.record)
        return None if rate is None else rate / 1e9

    return value


def _absent(name: str) -> Callable[[Row], Finding]:
    """Return a function for the reason why a figure is missing: no --roof, operators that are not counted, or no roof."""

    def finding(row: Row) -> Finding:
        if row.record.work is None:
            return Finding.of("absent_roof", column=name)
        unknown = row.record.work.unknown
        reason = f"not counted: {unknown[0]}" if unknown else "no row of its roof on this device has figures"
        return Finding.of("absent_because", column=name, reason=reason)

    return finding


COLUMNS: tuple[Column, ...] = (
    timed(
        "gflops",
        _gflops,
        title="GFLOP",
        priority=13,
        absent=_absent("gflops"),
        definition="Nominal operations of one call, in 10⁹: two for each multiply-add of its convolutions, matrix products and"
        " recurrent layers.",
    ),
    timed(
        "gflops_per_s",
        _rate(roof.flops_per_s),
        title="GFLOP/s",
        priority=13,
        absent=_absent("gflops_per_s"),
        definition="Nominal operations a second of single calls, in 10⁹: gflops over p50.",
    ),
    timed(
        "of_roof",
        _percent("of_roof"),
        unit="%",
        title="of roof",
        priority=13,
        absent=_absent("of_roof"),
        definition="Least time of a call on this machine over its p50, in %: the median over rounds that measured both.",
    ),
    timed(
        "bound",
        lambda row: row.limits.bound,
        title="bound",
        number=False,
        priority=13,
        absent=_absent("bound"),
        definition="What limits the row: compute, memory or launch, whichever explains most of its time; overhead if each"
        " explains less than a third.",
    ),
    *(
        timed(
            f"bound_{name}",
            _percent(name),
            unit="%",
            shown=False,
            absent=_absent(f"bound_{name}"),
            definition=definition,
        )
        for name, definition in (
            ("compute", "Time of its operations at the rate of the best matrix product of its type, in % of p50."),
            (
                "memory",
                "Time of its weights, inputs and outputs at the rate of the best sum of arrays of that size, in % of p50.",
            ),
            ("launch", "Time of its kernels at the cost of a tiny one on the same runtime, in % of p50."),
        )
    ),
    timed(
        "gbytes_per_s",
        _rate(roof.bytes_per_s),
        title="GB/s",
        shown=False,
        absent=_absent("gbytes_per_s"),
        definition="Bytes of weights, inputs and outputs of one call, each once, over p50, in 10⁹ a second.",
    ),
)
