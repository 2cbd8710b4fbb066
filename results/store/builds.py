"""Figures of several builds of one cell: the p50 of each, the middle one, and their spread. Standard library and evidence only.

Engines of one file differ, because the builder times kernels and chooses the fastest each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from ...evidence import Built, TimedBuild


def p50_of_builds(timed: Sequence[TimedBuild]) -> dict[int, float]:
    """p50 in ns of each build, by its number: the mean of its processes on the log scale. A repeated turn counts once."""
    return {build: math.exp(fmean(map(math.log, turns.values()))) for build, turns in sorted(_p50_of_turns(timed).items())}


def _p50_of_turns(timed: Sequence[TimedBuild]) -> dict[int, dict[int, float]]:
    """p50 in ns of each process of each build, by the numbers of build and turn: the median of its blocks on the log scale."""
    turns: dict[int, dict[int, float]] = {}
    for event in timed:
        turns.setdefault(event.build, {})[event.turn] = math.exp(median(map(math.log, event.p50_ns)))
    return turns


def middle_build(timed: Sequence[TimedBuild]) -> int | None:
    """Number of the build whose p50 is the median; of two, the slower. None without a timed build."""
    p50_ns = p50_of_builds(timed)
    return sorted(p50_ns, key=lambda build: (p50_ns[build], build))[len(p50_ns) // 2] if p50_ns else None


def measured_build(built: Sequence[Built], timed: Sequence[TimedBuild]) -> Built | None:
    """The build that was measured: the middle one, or the last where none was timed. None without a build."""
    builds, middle = {event.build: event for event in built}, middle_build(timed)
    return builds[middle] if middle in builds else (built[-1] if built else None)


def process_spread(timed: Sequence[TimedBuild]) -> float | None:
    """Largest difference of two processes of one build, as a share of the faster. None if no build has two processes."""
    turns = [list(values.values()) for values in _p50_of_turns(timed).values()]
    return max((max(values) / min(values) - 1 for values in turns if len(values) > 1), default=None)


def spread(p50_ns: Mapping[int, float]) -> float | None:
    """Difference of the slowest and the fastest build, as a share of the middle one. None for fewer than two builds."""
    ordered = sorted(p50_ns.values())
    return (ordered[-1] - ordered[0]) / ordered[len(ordered) // 2] if len(ordered) > 1 else None
