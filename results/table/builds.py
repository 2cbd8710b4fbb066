"""Builds of a row: the p50 of each, their spread, and the findings about them. Pure.

A build is an engine, or a process of a runtime that chooses its kernels anew at every opening.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..store.builds import p50_of_builds, process_spread, spread
from ..store.record import CellRecord
from ..store.series import counted, rounds_by_life
from .findings import Finding


def build_count(record: CellRecord) -> int | None:
    """Number of builds that the row knows. None for a runtime that builds nothing."""
    built, searches = record.built or record.opened, record.opened is not None and record.opened.searches
    is_built = searches or (built is not None and built.build_s is not None)
    return max(len(p50_by_build(record)), 1) if is_built else None


def p50_by_build(record: CellRecord) -> dict[int, float]:
    """p50 of each build in ns: of each engine that was timed, or of each life of a runtime that searches. Empty without any."""
    if record.timed_builds:
        return p50_of_builds(record.timed_builds)
    return _p50_of_lives(record) if record.opened and record.opened.searches else {}


def _p50_of_lives(record: CellRecord) -> dict[int, float]:
    p50s_ns = {number: record.p50_ns(number, "latency") for number in counted(record)}
    lives = rounds_by_life({number: ns for number, ns in p50s_ns.items() if ns}, record)
    return dict(enumerate(map(median, lives.values())))


def spread_percent(record: CellRecord) -> float | None:
    """Difference of the slowest and the fastest build, in % of the middle one."""
    share = spread(p50_by_build(record))
    return None if share is None else 100 * share


def of_builds(record: CellRecord) -> Iterator[Finding]:
    """Findings on the spread of the builds, and on the file that keeps the engine."""
    p50_ms = [ns / 1e6 for ns in p50_by_build(record).values()]
    percent = spread_percent(record)
    if percent is not None:
        figures = {"builds": len(p50_ms), "spread": percent, "fastest_ms": min(p50_ms), "slowest_ms": max(p50_ms)}
        if record.timed_builds:
            yield Finding.of("builds", build=record.build, **figures)
        else:
            yield Finding.of("builds_of_lives", **figures)
    share = process_spread(record.timed_builds)
    if share is not None:
        yield Finding.of("builds_repeated", spread=100 * share)
    if record.kept_engine:
        yield Finding.of("engine_reused" if record.kept_engine.reused else "engine_kept", file=record.kept_engine.file)
